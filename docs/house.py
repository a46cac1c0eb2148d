"""The house: which room (package) stands on which floor, drawn from the imports.

A room is a folder; a file in a root is a room of its own. A floor is counted by what a room imports
when it is loaded: one above the highest of these. Imports in functions and for types count where
circles are looked for.

Usage: ``python docs/house.py`` (part of ``make check``) prints the figures beside their bounds and
exits with 1 if one is over its bound.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
CLIENT: Final = ROOT / "client" / "unitsync"
COORDINATOR: Final = ROOT / "coordinator" / "unitsyncd"
FLOORS_MAX: Final = 9
FILES_MAX: Final = 16
"""Python files in one room."""
ROOT_FILES_MAX: Final = 12
"""In the root of client/unitsync: what users import, and the entries."""
SOURCE_LINES_MAX: Final = 49_500
TEST_LINES_MAX: Final = 76_000


class Import(NamedTuple):
    file: Path
    line: int
    module: str
    """Dotted; of ``from a import b`` it is ``a.b`` if that is a module of ours."""
    lazy: bool
    """Inside a function: only when that is called."""
    for_types: bool
    """Under ``if TYPE_CHECKING``: never at run time."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def files(package: Path) -> list[Path]:
    found = sorted(package.rglob("*.py"))
    assert found
    return found


def imports(file: Path) -> tuple[Import, ...]:
    return _imports(file, file.read_text())


def all_imports(*packages: Path) -> list[Import]:
    return [found for package in packages for file in files(package) for found in imports(file)]


def is_ours(module: str) -> bool:
    path = Path(*module.split("."))
    return any(
        (base / path).with_suffix(".py").exists() or (base / path / "__init__.py").exists()
        for base in (CLIENT.parent, COORDINATOR.parent)
    )


@cache
def _imports(file: Path, text: str) -> tuple[Import, ...]:
    def walk(node: ast.AST, lazy: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, lazy, for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                module = inner if is_ours(inner) else node.module
                yield Import(file, node.lineno, module, lazy, for_types)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, lazy, True)
            for child in node.orelse:
                yield from walk(child, lazy, for_types)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy, for_types)

    return tuple(walk(ast.parse(text), False, False))


def module_of(file: Path, package: Path) -> str:
    return ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def room_of(module: str) -> str:
    """``unitsync.link.spawn`` is in ``unitsync.link``; ``unitsync.client`` is a room of its own."""
    path = Path(*module.split("."))
    is_package = any((base.parent / path).is_dir() for base in (CLIENT, COORDINATOR))
    parent, _, _ = module.rpartition(".")
    return module if is_package or "." not in parent else parent


def circle(packages: Iterable[Path], place: Callable[[str], str] = lambda name: name) -> list[str]:
    """Places (modules, or rooms) each of which imports the next one in whatever way; empty if there
    are none."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for package in packages:
        for found in all_imports(package):
            here, there = place(module_of(found.file, package)), place(found.module)
            if here != there:
                wanted[here].add(there)
    try:
        TopologicalSorter(wanted).prepare()
    except CycleError as problem:
        return list(problem.args[1])
    return []


def floors() -> dict[str, int]:
    """The floor of each room, from 1."""
    wanted: dict[str, set[str]] = {}
    for package in (CLIENT, COORDINATOR):
        for file in files(package):
            here = room_of(module_of(file, package))
            needs = wanted.setdefault(here, set())
            needs.update(
                room_of(found.module)
                for found in imports(file)
                if found.top in ("unitsync", "unitsyncd") and not (found.lazy or found.for_types)
            )
            needs.discard(here)
    floor: dict[str, int] = {}
    for room in TopologicalSorter(wanted).static_order():
        floor[room] = 1 + max((floor[below] for below in wanted.get(room, ())), default=0)
    return floor


def picture() -> str:
    """The floors from the top to the ground, the rooms of the client left, the coordinator's
    right."""
    floor = floors()
    rows = []
    for level in range(max(floor.values()), 0, -1):
        rooms = sorted(room for room in floor if floor[room] == level and "." in room)
        sides = [
            ", ".join(room.removeprefix(side) for room in rooms if room.startswith(side))
            for side in ("unitsync.", "unitsyncd.")
        ]
        rows.append(f"| {level} | {' | '.join(sides)} |")
    return "\n".join(("| floor | `unitsync` | `unitsyncd` |", "| --- | --- | --- |", *rows))


def rooms() -> str:
    """Each room with the number of its files and the first sentence that it says of itself."""
    rows = ["| room | files | what is inside |", "| --- | --- | --- |"]
    for package in (CLIENT, COORDINATOR):
        for sign in sorted(package.rglob("__init__.py")):
            inside = sorted(sign.parent.glob("*.py"))
            said = (ast.get_docstring(ast.parse(sign.read_text())) or "").split("\n\n")[0]
            first = " ".join(said.split()).replace("``", "`")
            name = sign.parent.relative_to(package.parent)
            rows.append(f"| `{name}/` | {len(inside)} | {first} |")
    return "\n".join(rows)


def _lines(file: Path) -> int:
    return file.read_text().count("\n")


def figures() -> list[tuple[str, int, int]]:
    """What is measured, how much it is, and its bound."""
    folders = {file.parent for package in (CLIENT, COORDINATOR) for file in files(package)}
    fullest = max(len(list(folder.glob("*.py"))) for folder in folders)
    source = sum(_lines(file) for package in (CLIENT, COORDINATOR) for file in files(package))
    tests = sum(_lines(file) for file in files(ROOT / "tests"))
    return [
        ("floors", max(floors().values()), FLOORS_MAX),
        ("circles of rooms", len(circle((CLIENT, COORDINATOR), room_of)), 0),
        ("files in the root of client/unitsync", len(list(CLIENT.glob("*.py"))), ROOT_FILES_MAX),
        ("files in the fullest room", fullest, FILES_MAX),
        ("lines of source", source, SOURCE_LINES_MAX),
        ("lines of tests", tests, TEST_LINES_MAX),
    ]


def main() -> int:
    over = False
    for what, much, most in figures():
        over = over or much > most
        print(f"{what:38} {much:>7,} of {most:,}{'  <- too many' if much > most else ''}")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
