"""From samples to figures: medians, their spread, ratios."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

_RESAMPLES: Final = 1000


class Ratio(NamedTuple):
    """Median divided by median, and the range that 95 of 100 resamplings are in."""

    value: float
    low: float
    high: float
    resampled: tuple[float, ...]


def quantile(samples: Sequence[float], share: float) -> float:
    """Interpolated between the two nearest samples. *share* is 0 to 1."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(upper: Sequence[float], lower: Sequence[float], *, side_by_side: bool) -> Ratio:
    """The ratio of the medians. Samples taken *side_by_side* (same index, same moment) are
    resampled together. So disturbances that affected both do not widen the spread."""
    value = _divided(statistics.median(upper), statistics.median(lower))
    # Seeded with the samples, so that the same samples always give the same figures.
    chance = random.Random(repr((list(upper), list(lower))))
    ratios = []
    together = side_by_side and len(upper) == len(lower)
    for _ in range(_RESAMPLES):
        above = chance.choices(range(len(upper)), k=len(upper))
        below = above if together else chance.choices(range(len(lower)), k=len(lower))
        ratios.append(
            _divided(
                statistics.median([upper[index] for index in above]),
                statistics.median([lower[index] for index in below]),
            )
        )
    return _with_spread(value, ratios)


def divided(upper: Ratio, lower: Ratio) -> Ratio:
    """One ratio divided by another. The two come from different runs."""
    pairs = zip(upper.resampled, lower.resampled, strict=True)
    return _with_spread(_divided(upper.value, lower.value), [_divided(*pair) for pair in pairs])


def _with_spread(value: float, resampled: Sequence[float]) -> Ratio:
    low, high = quantile(resampled, 0.025), quantile(resampled, 0.975)
    return Ratio(value, low, high, tuple(resampled))


def _divided(upper: float, lower: float) -> float:
    return upper / lower if lower else float("nan")


_SCALES: Final = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "bytes")),
}


def shown(value: float, unit: str) -> str:
    """*value* for people, with three significant digits: ``12.3 ms``."""
    if unit not in _SCALES:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{text}{unit.removeprefix('1') if unit.startswith('1/') else unit}"
    scales = _SCALES[unit]
    scale, name = next((one for one in scales if abs(value) >= one[0]), scales[-1])
    return f"{_three(value / scale)} {name}"


def shown_ratio(value: Ratio) -> tuple[str, str]:
    """The ratio, and its spread."""
    return _three(value.value), f"{_three(value.low)} to {_three(value.high)}"


def _three(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
