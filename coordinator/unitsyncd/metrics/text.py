"""Metrics as values, and as text in the format of Prometheus, version 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Sample(NamedTuple):
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


class Family(NamedTuple):
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[Sample]


class Histogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        """*bounds*: the largest value of each bucket but the last, in ascending order."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def samples(self) -> Iterator[Sample]:
        total = 0
        bounds = [*map(_number, self._bounds), "+Inf"]
        for bound, total in zip(bounds, accumulate(self._counts), strict=True):
            yield Sample(total, (("le", bound),), "_bucket")
        yield Sample(self._sum, suffix="_sum")
        yield Sample(total, suffix="_count")


def one(value: float) -> list[Sample]:
    return [Sample(value)]


def by_label(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [Sample(value, ((label, named),)) for named, value in values.items()]


def render(families: Iterable[Family]) -> str:
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in sample.labels)
        braces = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{sample.suffix}{braces} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
