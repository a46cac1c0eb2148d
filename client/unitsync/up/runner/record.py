"""What was run of a plan in this startup, so that the next ``up`` knows what has changed.

Each plan has a file beside the coordinator's socket, with lines for its units; the last one for a
unit counts. If it is lost, units that have completed are run again.

The socket's folder can belong to another user than us (under sudo). So no links in it are followed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs
from msgspec.structs import replace

from unitsync.names.patterns import is_pattern
from unitsync.plan.model import Edge, Plan, UnitPlan
from unitsync.up.runner.declaring import all_declared

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


def lock(folder: str, plan: Path) -> int:
    """A descriptor that holds the lock of the ``up`` of *plan*, until it is closed here and in all
    forked copies of this process. -1 if another process holds it. Raises OSError."""
    opened = create(f"{record_file(folder, plan)}.lock", 0)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return -1
    return opened


def create(file: str, flags: int) -> int:
    """A descriptor of *file*, which lies beside a record and is made if it is missing. It belongs
    to whom the socket's folder belongs to. Raises OSError, also if that folder is missing."""
    place, name = os.path.split(file)
    try:
        os.mkdir(place, mode=0o700)
    except FileExistsError:
        pass
    with _entered(place) as folder:
        flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(name, flags, 0o600, dir_fd=folder)
        if os.geteuid() == 0 and (user := os.stat(os.path.dirname(place)).st_uid):
            os.fchown(folder, user, -1)
            os.fchown(opened, user, -1)
    return opened


def read(file: str) -> bytes:
    """The content of *file*, which lies beside a record. Raises OSError."""
    place, name = os.path.split(file)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _entered(place) as folder, open(os.open(name, flags, dir_fd=folder), "rb") as source:
        return source.read()


@contextmanager
def _entered(place: str) -> Iterator[int]:
    """A descriptor of the folder *place*."""
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


class Record:
    """The record of the plan *path*, in *folder*, for the state with this *epoch*."""

    def __init__(self, folder: str, path: Path, epoch: str) -> None:
        self._file = record_file(folder, path)
        self._path = path
        self._epoch = epoch
        self._appended_to = -1
        """A descriptor of the file, if it is open for more lines."""
        self._units: dict[str, _Line] = {}
        self._edges: dict[str, set[str]] = {}
        """What each unit waits for by this plan, and by others with units of the same name."""
        for file in _files(folder):
            for line in _lines(file):
                if line.unit and line.epoch == epoch:
                    self._edges.setdefault(line.unit, set()).update(line.after)
                    if file == self._file:
                        self._units[line.unit] = line

    def has_run(self, unit: UnitPlan) -> bool:
        """Whether *unit*, as it is now, was last started for this plan."""
        before = self._units.get(unit.name)
        return before is not None and before.digest == digest(unit)

    def no_longer(self, plan: Plan) -> Mapping[str, list[str]]:
        """For each unit, the prerequisites that plans gave it and that it does not have now."""
        gone = {}
        for name, edges in self._all_after(plan).items():
            had = self._edges.get(name, set())
            if name not in plan.units:  # what others have it wait for is not ours to take back
                had = set(self._units[name].after) if name in self._units else set()
            left = had - {_edge(edge) for edge in edges}
            if left:
                # What is taken back by name is left out of patterns until they are declared anew.
                left |= {edge for edge in had if is_pattern(_prerequisite(edge))}
                gone[name] = [_prerequisite(edge) for edge in sorted(left)]
        return gone

    def declared(self, plan: Plan) -> None:
        """The edges of *plan* are about to be declared."""
        for name, edges in self._all_after(plan).items():
            after = [_edge(edge) for edge in edges]
            before = self._units.get(name, _Line(self._epoch, unit=name))
            self._units[name] = replace(before, after=after)
            self._edges[name] = set(after)
        lines = [_Line(self._epoch, plan=str(self._path)), *self._units.values()]
        self.close()
        new = f"{self._file}.new"
        with open(create(new, os.O_TRUNC), "wb") as file:
            file.write(b"".join(_encode(line) + b"\n" for line in lines))
        place, name = os.path.split(self._file)
        with _entered(place) as folder:
            os.replace(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)

    def _all_after(self, plan: Plan) -> dict[str, tuple[Edge, ...]]:
        """What each unit waits for, and all units that match a pattern. Of external units and
        patterns, those for which the plan says so, or has said so; if it no longer does, they wait
        for nothing."""
        others = [*plan.external, *filter(is_pattern, self._units)]
        return dict.fromkeys(others, ()) | all_declared(plan)

    def started(self, unit: UnitPlan) -> None:
        """*unit* was started, as it is now."""
        line = replace(self._units[unit.name], digest=digest(unit))
        if line != self._units[unit.name]:
            self._units[unit.name] = line
            if self._appended_to < 0:
                self._appended_to = create(self._file, os.O_APPEND)
            os.write(self._appended_to, _encode(line) + b"\n")

    def close(self) -> None:
        """Can be called again and again. Later lines open the file anew."""
        if self._appended_to >= 0:
            os.close(self._appended_to)
            self._appended_to = -1


def plan_of(folder: str, unit: str, epoch: str) -> Path | None:
    """The plan whose ``up`` has last started *unit* in the state with this *epoch*. If none has,
    one that it belongs to."""
    found = None
    for file in sorted(_files(folder), key=lambda file: -os.stat(file).st_mtime):
        lines = _lines(file)
        of_unit = [line for line in lines if line.unit == unit and line.epoch == epoch]
        path = Path(next((line.plan for line in lines if line.plan), ""))
        if any(line.digest for line in of_unit):
            return path
        if of_unit:
            found = found or path
    return found


def _files(folder: str) -> list[str]:
    """The records of all plans."""
    place = os.path.join(folder, _FOLDER)
    try:
        return [os.path.join(place, name) for name in os.listdir(place) if "." not in name]
    except OSError:
        return []


def _lines(file: str) -> list[_Line]:
    try:
        content = read(file)
    except OSError:
        return []
    lines = []
    for line in content.split(b"\n"):
        try:
            lines.append(_decode(line))
        except msgspec.DecodeError:  # cut off, as by a full disk
            continue
    return lines


def _edge(edge: Edge) -> str:
    return f"{edge.unit} {edge.requires} {edge.optional}"


def _prerequisite(edge: str) -> str:
    return edge.rsplit(" ", 2)[0]  # a pattern may hold spaces


def digest(unit: UnitPlan) -> str:
    """Of everything that makes a run of *unit* another one. What it waits for does not."""
    said = structs.asdict(unit)
    for field in ("after", "source", *(() if unit.gate else ("gate", "count"))):
        del said[field]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]
