"""The house keeps its shape: docs/house.py says which room stands on which floor. It looks at
text: nothing is imported here.

docs/contributing/architecture.md says why.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import pytest

import house

ROOT, CLIENT, COORDINATOR = house.ROOT, house.CLIENT, house.COORDINATOR

LINES_MAX = 500
"""Of a file in the packages; the aim is about 400."""
TEST_LINES_MAX = 600

IMPURE = frozenset(
    (
        *("asyncio", "concurrent", "fcntl", "multiprocessing", "os", "pathlib", "random"),
        *("resource", "secrets", "select", "selectors", "shutil", "signal", "socket"),
        *("sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "uuid", "zmq"),
        *("datetime", "io", "logging", "loguru", "typer", "nats"),
    )
)
"""What makes a result depend on more than what was put in, or reach outside."""

PURE = (
    *("unitsyncd.core", "unitsyncd.actors", "unitsyncd.requests"),
    *("unitsyncd.hosts.peers", "unitsyncd.hosts.deadlocks", "unitsyncd.hosts.messages"),
    *("unitsyncd.hosts.ports", "unitsyncd.hosts.pace"),
    *("unitsyncd.metrics.text", "unitsyncd.metrics.families"),
    *("unitsync.errors", "unitsync.wire", "unitsync.link.conversation", "unitsync.clients.verbs"),
    *("unitsync.startup.analysis", "unitsync.startup.render"),
    *("unitsync.trace.spans", "unitsync.process.trace_context"),
    *("unitsync.watch.board", "unitsync.watch.details", "unitsync.watch.drawing"),
    *("unitsync.watch.look", "unitsync.agents.answers", "unitsync.web.access"),
)
"""Rooms and modules that depend on nothing but what is put in."""
ALLOWED = {
    ("unitsync.errors", "sys"),  # which Python to name in a hint
    ("unitsync.startup.render.html", "pathlib"),  # the files of the page
    ("unitsync.startup.render.layout", "subprocess"),  # where a program lays out a graph
    ("unitsync.startup.render.layout", "shutil"),
}

ONLY_IN = {
    "textual": ("unitsync.watch.app",),
    "opentelemetry": ("unitsync.trace.otlp",),
    "mcp": ("unitsync.agents.server",),
    "mcp_types": ("unitsync.agents.server",),
    "anyio": ("unitsync.agents.server",),
    "starlette": ("unitsync.web.app",),
    "uvicorn": ("unitsync.web.serving",),
    "igraph": ("unitsync.startup.render.layout",),
    "nats": ("unitsyncd.hosts.nats",),
    "hcl2": ("unitsync.importing",),
    "lark": ("unitsync.importing",),
    "tomlkit": ("unitsync.importing",),
    "yaml": ("unitsync.importing",),
}
"""Libraries of extras → where they are known. Without them the rest works."""
LATE = ("opentelemetry", "igraph", "hcl2", "lark", "tomlkit", "yaml")
"""Of these, those that even there are loaded when they are needed."""

LOADED_LATE = {
    "unitsync.watch.app": (),
    "unitsync.agents.server": (),
    "unitsync.web.app": ("unitsync.web.serving",),
    "unitsync.web.serving": (),
    "unitsync.job": ("unitsync.job",),
    "unitsyncd.hosts.nats": ("unitsyncd.hosts.nats", "unitsync.job"),
    "unitsyncd.metrics.service": ("unitsyncd.metrics",),
    "unitsyncd.metrics.families": ("unitsyncd.metrics",),
    "unitsyncd.metrics.tally": ("unitsyncd.metrics",),
    "unitsync.importing": ("unitsync.importing",),
    "unitsync.trace": ("unitsync.trace",),
    "unitsync.plan": ("unitsync.plan", "unitsync.up", "unitsync.importing"),
    "unitsync.up": ("unitsync.up",),
    "unitsync.startup.analysis": (
        *("unitsync.startup", "unitsync.watch", "unitsync.agents", "unitsync.trace"),
        "unitsync.web",
    ),
}
"""Rooms and modules → those that load them together with themselves; others only when they need
them. So no verb that a script calls loads them, and no coordinator without --hosts or --metrics."""


def is_in(module: str, *places: str) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def name_of(file: Path) -> str:
    return house.module_of(file, CLIENT if CLIENT in file.parents else COORDINATOR)


FOUND: Final = house.all_imports(CLIENT, COORDINATOR)
NAMES: Final = [name_of(file) for room in (CLIENT, COORDINATOR) for file in house.files(room)]


def none_of(wrong: list[Any]) -> None:
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(("what", "much", "most"), house.figures())
def test_the_house_is_within_its_bounds(what: str, much: int, most: int) -> None:
    assert much <= most, what


@pytest.mark.parametrize("package", [CLIENT, COORDINATOR], ids=lambda package: package.name)
def test_no_module_needs_itself(package: Path) -> None:
    """By way of others. An import in a function or under TYPE_CHECKING counts as well: who
    reads the one has to read the other."""
    assert house.circle([package]) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "unitsyncd"
    package.mkdir()
    (package / "actors.py").write_text("import unitsyncd.core\n")
    (package / "core.py").write_text("def late():\n    from unitsyncd.faults import reach\n")
    (package / "faults.py").write_text("if TYPE_CHECKING:\n    from unitsyncd import actors\n")
    found = house.circle([package])
    assert set(found) == {"unitsyncd.actors", "unitsyncd.core", "unitsyncd.faults"}
    (package / "core.py").write_text("")
    assert house.circle([package]) == []


def test_every_room_says_what_is_inside() -> None:
    assert "|  |" not in house.rooms()


@pytest.mark.parametrize("place", PURE)
def test_what_follows_from_what_is_put_in_is_pure(place: str) -> None:
    assert any(is_in(name, place) for name in NAMES)
    here = [each for each in FOUND if is_in(name_of(each.file), place)]
    none_of(
        [
            each
            for each in here
            if each.top in IMPURE and (name_of(each.file), each.top) not in ALLOWED
        ]
    )


def test_the_messages_lean_on_nothing() -> None:
    """Only on what both sides of every program have: errors, text, and the rules of a request."""
    own = [each for each in FOUND if is_in(name_of(each.file), "unitsync.wire")]
    may_use = ("unitsync.wire", "unitsync.errors", "unitsync.text", "unitsync.link.conversation")
    none_of([each for each in own if each.top == "unitsync" and not is_in(each.module, *may_use)])


def test_clients_do_not_know_the_coordinator() -> None:
    """But for ``unitsync serve``, which is the coordinator, and only when it is called; for what
    looks back at startups, which replays the records with the coordinator's own rules; and for
    what speaks to the log of a job, as a coordinator does."""
    may_use = {
        "unitsync.cli.admin": ("unitsyncd.daemon",),
        "unitsync.startup.analysis": ("unitsyncd.core", "unitsyncd.actors", "unitsyncd.hosts"),
        "unitsync.job": ("unitsyncd.core", "unitsyncd.hosts", "unitsyncd.job"),
    }
    none_of(
        [
            each
            for each in FOUND
            if each.top == "unitsyncd" and CLIENT in each.file.parents
            if not any(
                is_in(name_of(each.file), room) and is_in(each.module, *used)
                for room, used in may_use.items()
            )
        ]
    )


def test_what_the_coordinator_uses_of_the_client() -> None:
    """What both share: messages, names, text, and the way to the socket. The rules use less."""
    shared = ("_version", "coder", "errors", "link", "names", "output", "owner", "text", "wire")
    rules = ("coder.output", "errors", "names", "output.empty_replies", "text.printing", "wire")
    used = [
        (name_of(each.file), each.module.removeprefix("unitsync."), each)
        for each in FOUND
        if each.top == "unitsync" and COORDINATOR in each.file.parents
    ]
    none_of([each for _, module, each in used if not is_in(module, *shared)])
    ruled = ("unitsyncd.core", "unitsyncd.actors", "unitsyncd.requests")
    none_of([each for at, module, each in used if is_in(at, *ruled) and not is_in(module, *rules)])


@pytest.mark.parametrize(("library", "places"), ONLY_IN.items())
def test_the_library_of_an_extra_is_known_in_one_place(
    library: str, places: tuple[str, ...]
) -> None:
    found = [each for each in FOUND if each.top == library]
    none_of([each for each in found if not is_in(name_of(each.file), *places)])
    if library in LATE:
        none_of([each for each in found if not (each.lazy or each.for_types)])


@pytest.mark.parametrize(("room", "together"), LOADED_LATE.items())
def test_what_few_use_is_loaded_when_they_do(room: str, together: tuple[str, ...]) -> None:
    found = [each for each in FOUND if is_in(each.module, room)]
    none_of(
        [
            each
            for each in found
            if not (each.lazy or each.for_types) and not is_in(name_of(each.file), *together)
        ]
    )


def test_nothing_in_the_packages_needs_what_only_tests_have() -> None:
    installed = {
        *("dotenv", "loguru", "msgspec", "rich", "tree_sitter", "tree_sitter_toml", "typer", "zmq"),
        *("unitsync", "unitsyncd", *ONLY_IN),
    }
    none_of(
        [
            each
            for each in FOUND
            if each.top not in installed
            and each.top not in sys.stdlib_module_names
            and each.file != CLIENT / "testing.py"  # pytest, if it is there
        ]
    )


@pytest.mark.parametrize(
    ("package", "most"),
    [
        (CLIENT, LINES_MAX),
        (COORDINATOR, LINES_MAX),
        (ROOT / "bench", LINES_MAX),
        (ROOT / "tests", TEST_LINES_MAX),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_files_can_be_read_in_one_sitting(package: Path, most: int) -> None:
    lengths = {file: len(file.read_text().splitlines()) for file in house.files(package)}
    assert {str(file): length for file, length in lengths.items() if length > most} == {}


def test_what_is_found_is_what_is_there() -> None:
    """The finder itself: imports in functions, under TYPE_CHECKING, of modules."""
    found = list(house.imports(CLIENT / "__init__.py"))
    assert any(each.for_types for each in found)
    found = list(house.imports(CLIENT / "cli" / "admin.py"))
    assert any(each.lazy and each.module == "unitsyncd.daemon" for each in found)
