"""Results: one line of JSON per series of samples, with the machine they come from.

A file in bench/results/ holds one run of the suite. Lines are only ever appended. Each is
complete in itself, so files may be joined or split as you like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.machine import Machine

SCHEMA: Final = 1
RESULTS: Final = Path(__file__).parent / "results"
UNITSYNC: Final = "unitsync"


class NoSuchResults(Exception):
    """Its text is shown to the user unchanged."""


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """Samples of one thing, measured one way."""

    run: str
    """When the run began (UTC), and at which commit. All lines of one run have the same."""
    at: str
    scenario: str
    case: str
    measure: str
    """What a sample is, such as "CPU of the server per request"."""
    unit: str
    """``s``, ``1/s``, ``bytes``, or nothing for a plain number."""
    subject: str
    """What was measured: unitsync, or something to compare it with."""
    samples: list[float]
    base: str = ""
    """The subject that this one is compared with. The two took their samples alternately:
    those with the same index were taken at about the same time."""
    higher_is_better: bool = False
    note: str = ""
    """What to know about this run, such as what could not be measured."""
    quick: bool = False
    """Too few samples to be quoted."""
    schema: int = SCHEMA
    machine: Machine | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same in every run for the same thing."""
        return (self.scenario, self.case, self.measure, self.subject)


class Recorder:
    """Collects the series of one scenario. Nothing is saved before ``write``: half a run
    must not replace a whole one."""

    def __init__(
        self, path: Path, run: str, scenario: str, machine: Machine, *, quick: bool
    ) -> None:
        self._path = path
        self._run = run
        self._scenario = scenario
        self._machine = machine
        self._quick = quick
        self.note = ""
        """Saved with each series that is added from now on."""
        self._series: list[Series] = []

    def add(
        self,
        case: str,
        measure: str,
        unit: str,
        samples: Sequence[float],
        *,
        subject: str = UNITSYNC,
        base: str = "",
        higher_is_better: bool = False,
    ) -> None:
        if not samples:
            raise ValueError(f"no samples of {measure} for {case}")
        series = Series(
            run=self._run,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            scenario=self._scenario,
            case=case,
            measure=measure,
            unit=unit,
            subject=subject,
            samples=[float(f"{sample:.6g}") for sample in samples],
            base=base,
            higher_is_better=higher_is_better,
            note=self.note,
            quick=self._quick,
            machine=self._machine,
        )
        self._series.append(series)

    def write(self) -> None:
        """Append all to the file."""
        lines = b"".join(msgspec.json.encode(series) + b"\n" for series in self._series)
        with self._path.open("ab") as file:
            file.write(lines)


def read(path: Path) -> list[Series]:
    """The series in *path*. If several lines have the same key, the last one counts. Raises
    NoSuchResults if the file does not hold results."""
    decode = msgspec.json.Decoder(Series).decode
    found: dict[tuple[str, str, str, str], Series] = {}
    try:
        for line in path.read_bytes().splitlines():
            series = decode(line)
            found[series.key] = series
    except OSError as exc:
        raise NoSuchResults(f"{path}: {exc.strerror}") from None
    except msgspec.MsgspecError as exc:
        raise NoSuchResults(f"{path}: not a file of results: {exc}") from None
    return list(found.values())


def files() -> list[Path]:
    """All files of results, oldest first: their names begin with the time."""
    return sorted(RESULTS.glob("*.jsonl"))


def find(name: str) -> Path:
    """The file that *name* means: a path, ``newest``, ``previous``, or a part of a file
    name such as a commit (the newest of those that match). Raises NoSuchResults."""
    if Path(name).is_file():
        return Path(name)
    known = files()
    back = {"newest": 1, "previous": 2}.get(name)
    matching = known if back else [path for path in known if name in path.name]
    if len(matching) < (back or 1):
        raise NoSuchResults(f"no results match {name!r}; there are {len(known)} in {RESULTS.name}/")
    return matching[-(back or 1)]


def newest(paths: Iterable[Path] | None = None) -> list[Series]:
    """For each scenario, the series of its newest run that was not quick."""
    found: dict[str, list[Series]] = {}
    for path in files() if paths is None else paths:
        by_scenario: dict[str, list[Series]] = {}
        for series in read(path):
            if not series.quick:
                by_scenario.setdefault(series.scenario, []).append(series)
        found.update(by_scenario)
    return [series for name in sorted(found) for series in found[name]]
