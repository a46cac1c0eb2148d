"""Loading a plan: from its files to its units, with every mistake at once.

Reading one file is ``reading.py``, what the units wait for ``edges.py``, and what keeps them
from running on this machine ``check.py``. This module puts them together.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Final

from msgspec import UNSET

from unitsync.errors import InvalidName, UsageError
from unitsync.names.patterns import is_pattern
from unitsync.names.unit_names import check_name
from unitsync.plan.check import Machine
from unitsync.plan.document import DURATION_MAX_S, GateTable, IncludeTable, PlanTable, UnitTable
from unitsync.plan.edges import resolve
from unitsync.plan.env_files import variables
from unitsync.plan.mistakes import Found, Keys, Mistake, PlanError, shown
from unitsync.plan.origins import Declared, Scope
from unitsync.plan.reading import Unreadable, parse, read_bytes
from unitsync.plan.units import Edge as Edge
from unitsync.plan.units import Plan as Plan
from unitsync.plan.units import UnitPlan as UnitPlan
from unitsync.plan.values import wrong_probe, wrong_stop
from unitsync.plan.words import TAKES, brief, wrong_other
from unitsync.text.durations import seconds_in
from unitsync.text.printing import counted, one_line
from unitsync.wire.values import Requirement

FILE_NAME: Final = "unitsync.toml"
UNITS_MAX: Final = 100_000
FILES_MAX: Final = 1_000
"""Included files of a plan. One that is included twice counts twice."""
DEPTH_MAX: Final = 32
"""Of includes within included files."""


def find(start: Path) -> Path:
    """The ``unitsync.toml`` of the folder *start*, or of the nearest folder above it. Raises
    UsageError if there is none."""
    here = start.absolute()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise UsageError(
        f"there is no {FILE_NAME} here, nor in a folder above",
        hint="name the file of the plan",
    )


def load(paths: Path | Iterable[Path], *, runnable: bool = True) -> Plan:
    """The plan in the file, or in several files together. Raises PlanError with every mistake.

    *runnable*: what keeps a command from running on this machine is a mistake too, for example
    a missing script or an unknown user.
    """
    roots = [paths] if isinstance(paths, Path) else list(paths)
    loader = _Loader()
    collects = gc.isenabled()
    gc.disable()  # nearly everything that is made here stays; looking through it takes 0.2 s
    try:
        for path in roots:
            loader.read(Path(os.path.abspath(path)))
        return loader.plan(runnable=runnable)
    finally:
        if collects:
            gc.enable()


class _Loader:
    def __init__(self) -> None:
        self._found: list[Found] = []
        self._sources: dict[Path, bytes] = {}
        self._tables: dict[Path, PlanTable | None] = {}
        self._env_files: dict[Path, dict[str, str]] = {}
        self._roots: list[PlanTable] = []
        self._declared: dict[str, Declared] = {}
        self._files = 0
        self._full = False

    def read(self, path: Path) -> None:
        """Read the plan file *path* and what it includes."""
        try:
            table = self._table_of(path)
        except Unreadable as problem:
            text, hint = problem.args
            self._found.append(Found(path, f"the plan cannot be read: {text}", hint))
            return
        if table is not None:
            self._roots.append(table)
            self._take(table, Scope(path, "", _external(table)), (path,))

    def plan(self, *, runnable: bool) -> Plan:
        """Everything that was read, as one plan. Raises PlanError."""
        if not self._declared and not self._found and self._sources:
            path = next(iter(self._sources))
            hint = 'a unit is a table: [unit.NAME], then for example run = "make build"'
            self._found.append(Found(path, "the plan has no units", hint))
        after = resolve(self._declared, self._found)
        units = {name: self._unit(one, after.get(name, ())) for name, one in self._declared.items()}
        notes: tuple[str, ...] = ()
        if runnable:
            machine = Machine(self._found)
            for name, unit in units.items():
                if not unit.gate:
                    machine.check(unit, self._declared[name])
            notes = machine.notes()
        if self._found:
            raise PlanError(self._mistakes())
        external = {name for table in self._tables.values() if table for name in table.external}
        limits = [root.parallel for root in self._roots if root.parallel]
        return Plan(
            path=next(iter(self._sources)),
            units=units,
            parallel=min(limits, default=0),
            external=frozenset(external - units.keys()),
            others_after={name: edges for name, edges in after.items() if name not in units},
            files=tuple(self._sources),
            notes=(*_ends_awaited(units), *notes),
        )

    def _mistakes(self) -> list[Mistake]:
        from unitsync.plan.positions import located

        return located(self._found, self._sources)

    def _table_of(self, path: Path) -> PlanTable | None:
        if path not in self._tables:
            content = read_bytes(path)
            content = content.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as of Notepad
            self._sources[path] = content
            self._tables[path] = table = parse(path, content, self._found)
            for number, text in enumerate(table.open if table else ()):
                message = f"the plan is not finished: {one_line(text)}"
                hint = "fill it in, then take its line out of open"
                self._found.append(Found(path, message, hint, keys=("open", number)))
            for number, name in enumerate(table.external if table else ()):
                if table and (name in table.unit or name in table.gate):
                    message = f"{name} is a unit of this plan, so it is not external"
                    keys = ("external", number)
                    self._found.append(Found(path, message, "take it out of external", keys=keys))
                elif problem := wrong_other(name):
                    self._found.append(Found(path, *problem, keys=("external", number)))
        return self._tables[path]

    def _take(self, table: PlanTable, scope: Scope, through: tuple[Path, ...]) -> None:
        """Declare the units of *table*, with those of its includes. *through*: the files from the
        plan to this one."""
        declarations: Iterable[tuple[str, UnitTable | GateTable]]
        declarations = chain(table.unit.items(), table.gate.items())
        for local, unit in declarations:
            name = scope.prefix + local
            declared = Declared(name, local, scope, unit)
            keys = declared.keys()
            try:
                check_name(name)
            except InvalidName as problem:
                found = Found(scope.file, problem.message, problem.hint, name, keys, "key")
                self._found.append(found)
                continue
            if other := self._declared.get(name):
                message = f"there are two units {name}; the other is in {shown(other.scope.file)}"
                hint = "give one of them, or a prefix, another name"
                file = scope.file
                if scope.included:
                    file, keys = scope.included
                self._found.append(Found(file, message, hint, name, keys, "key"))
                continue
            if len(self._declared) == UNITS_MAX:
                if not self._full:
                    message = f"a plan holds at most {counted(UNITS_MAX, 'unit')}"
                    self._found.append(Found(scope.file, message, "", name, keys, "key"))
                self._full = True
                return
            self._declared[name] = declared
        for number, include in enumerate(table.include):
            self._include(include, scope, through, ("include", number))

    def _include(
        self, include: IncludeTable, scope: Scope, through: tuple[Path, ...], keys: Keys
    ) -> None:
        def wrong(message: str, hint: str = "", key: str = "plan") -> None:
            self._found.append(Found(scope.file, message, hint, keys=(*keys, key)))

        path = Path(os.path.abspath(scope.folder / include.plan))
        try:
            check_name(include.prefix)
        except InvalidName as problem:
            hint = 'its units would have no valid names; write for example prefix = "db."'
            wrong(problem.message, hint, "prefix")
            return
        if any(os.path.realpath(path) == os.path.realpath(each) for each in through):
            names = " → ".join(each.name for each in (*through, path))
            wrong(f"the plan includes itself: {names}", "take this include away")
            return
        self._files += 1
        if len(through) > DEPTH_MAX or self._files > FILES_MAX:
            if self._files <= FILES_MAX + 1:
                wrong(
                    f"a plan includes at most {counted(FILES_MAX, 'file')}, in at most "
                    f"{DEPTH_MAX} levels"
                )
            return
        try:
            table = self._table_of(path)
        except Unreadable as problem:
            text, hint = problem.args
            wrong(f"{include.plan} cannot be read: {text}", hint)
            return
        if table is not None:
            empty = not table.unit and not table.gate and not table.include
            if empty and all(one.file != path for one in self._found):
                wrong(f"{include.plan} has no units", "take this include away")
            place = (scope.file, (*keys, "prefix"))
            prefix = scope.prefix + include.prefix
            inner = Scope(path, prefix, _external(table), place)
            self._take(table, inner, (*through, path))

    def _gate(self, declared: Declared, after: tuple[Edge, ...]) -> UnitPlan:
        table, scope = declared.table, declared.scope
        assert isinstance(table, GateTable)

        def wrong(key: str, message: str, hint: str) -> None:
            keys = declared.keys(*([key] if key else []))
            self._found.append(Found(scope.file, message, hint, declared.name, keys))

        open_ended = any(is_pattern(edge.unit) for edge in after)
        if not after and not table.after:
            hint = 'name what it waits for: after = ["git-clone"]'
            wrong("", f"gate {declared.local} waits for nothing", hint)
        elif table.count > max(len(after), len(table.after)) and not open_ended:
            has = counted(len(after), "unit")
            message = f"gate {declared.local} needs {table.count:,} of {has}"
            wrong("count", message, "it would never complete")
        folder = str(scope.folder)
        return UnitPlan(
            name=declared.name,
            words=(),
            after=after,
            cwd=folder,
            source=scope.file,
            gate=True,
            count=table.count,
        )

    def _unit(self, declared: Declared, after: tuple[Edge, ...]) -> UnitPlan:
        table, scope = declared.table, declared.scope
        if isinstance(table, GateTable):
            return self._gate(declared, after)

        def wrong(key: str, message: str, hint: str = "") -> None:
            keys = ("unit", declared.local, key)
            self._found.append(Found(scope.file, message, hint, declared.name, keys))

        def seconds(key: str, value: str | float) -> float | None:
            parsed = _seconds(value)
            if parsed is not None and parsed > DURATION_MAX_S:
                wrong(key, f"{key} is longer than ten years", TAKES[key][1])
            return parsed

        shell = tuple(_split(table.shell))
        if not shell:
            wrong("shell", f"{brief(table.shell)} cannot be read: a quote is not closed")
        folder = str(scope.folder)
        timeout = seconds("timeout", table.timeout)
        if timeout == 0:
            hint = "none is no limit, and so is no timeout at all"
            wrong("timeout", "a timeout of 0 would end the command before it begins", hint)
        if table.ready is not UNSET and (problem := wrong_probe(table.ready)):
            wrong("ready", *problem)
        if problem := wrong_stop(table.stop):
            wrong("stop", *problem)
        if table.run is not UNSET:
            words = (*shell, "-c", table.run) if shell else ()
        elif table.script is not UNSET:
            words = (os.path.abspath(os.path.join(folder, table.script)),)
        else:
            words = tuple(table.command or ())
            if not words[0]:
                wrong("command", "the program is empty", TAKES["command"][1])
        return UnitPlan(
            name=declared.name,
            words=words,
            after=after,
            timeout_s=timeout,
            wait_timeout_s=seconds("wait-timeout", table.wait_timeout),
            grace_s=seconds("grace", table.grace) or 0.0,
            retries=table.retries,
            backoff_s=seconds("backoff", table.backoff) or 0.0,
            env=self._environment(declared, table),
            cwd=folder if table.cwd == "." else os.path.abspath(os.path.join(folder, table.cwd)),
            user="" if table.user is UNSET else table.user,
            stop="" if table.stop == "SIGTERM" else table.stop,
            shell=shell,
            ready="" if table.ready is UNSET else table.ready,
            on_owner_exit=table.on_owner_exit,
            source=scope.file,
        )

    def _environment(self, declared: Declared, table: UnitTable) -> dict[str, str]:
        several = isinstance(table.env_file, list)
        merged: dict[str, str] = {}
        for number, name in enumerate(table.env_file if several else [table.env_file]):
            path = Path(os.path.abspath(declared.scope.folder / str(name)))
            if path not in self._env_files:
                try:
                    self._env_files[path] = variables(path, read_bytes(path), self._found)
                except Unreadable as problem:
                    text, hint = problem.args
                    keys: Keys = ("unit", declared.local, "env-file")
                    keys = (*keys, number) if several else keys
                    message = f"{name} cannot be read: {text}"
                    file = declared.scope.file
                    self._found.append(Found(file, message, hint, declared.name, keys))
                    continue
            merged |= self._env_files[path]
        return merged | table.env if merged else table.env


def _external(table: PlanTable) -> frozenset[str]:
    """What *table* says of others' units, without invalid patterns."""
    return frozenset(name for name in table.external if not wrong_other(name))


def _ends_awaited(units: dict[str, UnitPlan]) -> list[str]:
    """A note for each unit that waits for the end of a service, which most often has none."""
    return [
        f'{name} waits until {edge.unit} has ended; requires = "start" waits until it is ready'
        for name, unit in units.items()
        for edge in unit.after
        if edge.unit in units and units[edge.unit].ready and edge.requires != Requirement.START
    ]


@lru_cache(maxsize=1024)
def _seconds(value: str | float) -> float | None:
    """The seconds of a duration; None if there is no limit."""
    if value == "none":
        return None
    return seconds_in(value) if isinstance(value, str) else float(value)


@lru_cache(maxsize=1024)
def _split(text: str) -> list[str]:
    """The words of *text*; none if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return []
