"""What was run of a plan in this startup, so that the next ``up`` knows what has changed.

Each plan has a file beside the coordinator's socket, with lines for its units; the last one for a
unit counts. If it is lost, a unit that has completed counts as unchanged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs
from msgspec.structs import replace

from unitsync.plan.model import Plan, UnitPlan

_FOLDER: Final = "plans"


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    epoch: str = ""
    plan: str = ""
    """Only in the first line: the file of the plan."""
    unit: str = ""
    digest: str = ""
    after: list[str] = []


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Line).decode


def record_file(folder: str, plan: Path) -> str:
    """Where the record of *plan* is. What belongs to it has the same name and more."""
    return os.path.join(folder, _FOLDER, hashlib.sha256(os.fsencode(plan)).hexdigest()[:16])


class Record:
    """The record of the plan *path*, in *folder*, for the state with this *epoch*."""

    def __init__(self, folder: str, path: Path, epoch: str) -> None:
        self._file = record_file(folder, path)
        self._path = path
        self._epoch = epoch
        self._units = {
            line.unit: line for line in _lines(self._file) if line.unit and line.epoch == epoch
        }

    def has_changed(self, unit: UnitPlan) -> bool:
        """Whether *unit* was another command, or the like, when it was last started."""
        before = self._units.get(unit.name)
        return before is not None and before.digest not in ("", digest(unit))

    def no_longer(self, plan: Plan) -> Mapping[str, list[str]]:
        """For each unit, the prerequisites that it had and does not have any more."""
        gone = {}
        for name, line in self._units.items():
            if name not in plan.units:
                continue
            now = {_edge(edge) for edge in plan.units[name].after}
            if left := [edge.partition(" ")[0] for edge in line.after if edge not in now]:
                gone[name] = left
        return gone

    def declared(self, plan: Plan) -> None:
        """The edges of *plan* are about to be declared."""
        for unit in plan.units.values():
            after = [_edge(edge) for edge in unit.after]
            before = self._units.get(unit.name, _Line(self._epoch, unit=unit.name))
            self._units[unit.name] = replace(before, after=after)
        lines = [_Line(self._epoch, plan=str(self._path)), *self._units.values()]
        os.makedirs(os.path.dirname(self._file), mode=0o700, exist_ok=True)
        new = f"{self._file}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"".join(_encode(line) + b"\n" for line in lines))
        os.replace(new, self._file)

    def started(self, unit: UnitPlan) -> None:
        """*unit* was started, as it is now."""
        line = replace(self._units[unit.name], digest=digest(unit))
        if line != self._units[unit.name]:
            self._units[unit.name] = line
            with open(self._file, "ab", buffering=0) as file:
                file.write(_encode(line) + b"\n")


def plan_of(folder: str, unit: str, epoch: str) -> Path | None:
    """The plan whose ``up`` has last started *unit* in the state with this *epoch*."""
    try:
        files = sorted(Path(folder, _FOLDER).iterdir(), key=lambda file: -file.stat().st_mtime)
    except OSError:
        return None
    for file in files:
        lines = _lines(str(file))
        if any(line.unit == unit and line.epoch == epoch for line in lines):
            return Path(next((line.plan for line in lines if line.plan), ""))
    return None


def _lines(file: str) -> list[_Line]:
    try:
        with open(file, "rb") as source:
            content = source.read()
    except OSError:
        return []
    lines = []
    for line in content.split(b"\n"):
        try:
            lines.append(_decode(line))
        except msgspec.DecodeError:  # cut off, as by a full disk
            continue
    return lines


def _edge(edge: object) -> str:
    return f"{edge.unit} {edge.requires} {edge.optional}"  # type: ignore[attr-defined]


def digest(unit: UnitPlan) -> str:
    """Of everything that makes a run of *unit* another one. What it waits for does not."""
    said = structs.asdict(unit)
    for field in ("after", "source"):
        del said[field]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]
