"""Imports point one way, the core is pure, and files stay short enough to be read.

docs/contributing/architecture.md says why. Looked at as text: nothing is imported here.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "client" / "unitsync"
COORDINATOR = ROOT / "coordinator" / "unitsyncd"

LINES_MAX = 500
"""Of a file in the packages; the aim is about 400."""
TEST_LINES_MAX = 600

IMPURE = frozenset(
    (
        *("asyncio", "concurrent", "fcntl", "multiprocessing", "os", "pathlib", "random"),
        *("resource", "secrets", "select", "selectors", "shutil", "signal", "socket"),
        *("sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "uuid", "zmq"),
        *("datetime", "io", "logging", "loguru", "typer"),
    )
)
"""What makes a result depend on more than what was put in, or reach outside."""

DAEMON_MAY_USE = frozenset(
    (
        *(
            "_version",
            "calling_script",
            "coder_output",
            "collector",
            "durations",
            "empty_replies",
            "endpoint",
            "errors",
            "extras",
            "listening",
            "mounts",
            "names",
            "patterns",
        ),
        *("printing", "remote_names", "startup", "wire"),
    )
)
"""Modules of unitsync that the coordinator shares with its clients."""

CORE_MAY_USE = (
    *("coder_output", "empty_replies", "errors", "names", "patterns", "printing", "remote_names"),
    "wire",
)
"""Of printing, what turns one text into another."""

PLANS_MAY_USE = frozenset(
    (
        *(
            "plan",
            "aio",
            "autostart",
            "calling_script",
            "command",
            "commandline",
            "conversation",
            "durations",
            "endpoint",
            "env_file",
            "errors",
            "exec_errors",
            "extras",
            "log_files",
        ),
        *("importing", "json_output", "names", "nearest", "notifications", "output", "owner"),
        "patterns",
        "remote_names",
        *("printing", "probes", "stream_link", "supervision", "terminal", "trace_context"),
        *("wire", "wire_values"),
    )
)
"""Modules of unitsync that a plan is read with, and run with: the public clients, how a command
is run, and text."""

# What a part of the coordinator may import of the coordinator. Adapters do not know the
# actors: they are given callables, or meet a Protocol that the actors own.
LAYERS = {
    "limits": (),
    "faults": (),
    "core": ("core",),
    "actors": ("core", "actors", "limits", "faults"),
    "adapters": ("core", "adapters", "faults"),
    "hosts": ("core", "hosts", "limits", "faults"),
    "metrics": ("core", "actors", "adapters", "metrics"),
    "saved_state": ("core", "actors", "adapters", "limits"),
    "trial": ("core", "actors", "adapters", "limits", "saved_state"),
    "job": ("core", "actors", "adapters", "hosts"),
    "traces": ("adapters",),
    "daemon": (
        *("core", "actors", "adapters", "hosts", "limits", "faults"),
        *("saved_state", "trial", "job", "metrics", "traces"),
    ),
    "__main__": ("daemon",),
    "__init__": (),
}


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


def is_ours(module: str) -> bool:
    path = Path(*module.split("."))
    return any(
        (base / path).with_suffix(".py").exists() or (base / path / "__init__.py").exists()
        for base in (CLIENT.parent, COORDINATOR.parent)
    )


def imports(file: Path) -> tuple[Import, ...]:
    return _imports(file, file.read_text())


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


def all_imports(*packages: Path) -> list[Import]:
    return [found for package in packages for file in files(package) for found in imports(file)]


def circle(*packages: Path) -> list[str]:
    """Modules each of which imports the next one, in whatever way; empty if there are none."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for package in packages:
        for found in all_imports(package):
            path = found.file.relative_to(package.parent).with_suffix("")
            wanted[".".join(path.parts).removesuffix(".__init__")].add(found.module)
    try:
        TopologicalSorter(wanted).prepare()
    except CycleError as problem:
        return list(problem.args[1])
    return []


def part(module: str) -> str:
    """``unitsyncd.core.unit`` is of the part ``core``."""
    return module.split(".")[1] if "." in module else "__init__"


def part_of(file: Path) -> str:
    return file.relative_to(COORDINATOR).with_suffix("").parts[0]


def none_of(wrong: list[Import]) -> None:
    assert not wrong, "\n".join(map(str, wrong))


def test_the_core_is_pure() -> None:
    none_of([found for found in all_imports(COORDINATOR / "core") if found.top in IMPURE])


def test_actors_know_no_loop_no_socket_and_no_clock() -> None:
    none_of([found for found in all_imports(COORDINATOR / "actors") if found.top in IMPURE])


def test_what_follows_from_the_log_of_a_job_is_pure() -> None:
    for name in ("peers", "deadlocks", "messages", "ports"):
        found = imports(COORDINATOR / "hosts" / f"{name}.py")
        none_of([each for each in found if each.top in IMPURE | {"nats"}])


def test_a_conversation_is_without_io() -> None:
    for name in ("conversation", "client_verbs", "wire", "errors"):
        none_of([each for each in imports(CLIENT / f"{name}.py") if each.top in IMPURE])


def test_the_messages_lean_on_nothing() -> None:
    ours = {
        name: {each.module for each in imports(CLIENT / f"{name}.py") if each.top == "unitsync"}
        for name in (
            *("wire", "wire_base", "wire_units", "wire_values"),
            *("errors", "printing", "conversation"),
        )
    }
    assert ours == {
        "wire": {
            *("unitsync.errors", "unitsync.printing", "unitsync.conversation"),
            *("unitsync.wire_base", "unitsync.wire_units", "unitsync.wire_values"),
        },
        "wire_base": {"unitsync.conversation", "unitsync.wire_values"},
        "wire_units": {"unitsync.wire_values"},
        "wire_values": set(),
        "errors": set(),
        "conversation": {"unitsync.errors", "unitsync.absent"},
        "printing": {"unitsync.calling_script"},
    }


def test_layers_of_the_coordinator() -> None:
    none_of(
        [
            found
            for found in all_imports(COORDINATOR)
            if found.top == "unitsyncd"
            and part(found.module) not in LAYERS[part_of(found.file)]
            and part(found.module) != "__init__"
        ]
    )


@pytest.mark.parametrize("package", [CLIENT, COORDINATOR], ids=lambda package: package.name)
def test_no_module_needs_itself(package: Path) -> None:
    """By way of others. An import in a function or under TYPE_CHECKING counts as well: who
    reads the one has to read the other."""
    assert circle(package) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "unitsyncd"
    package.mkdir()
    (package / "actors.py").write_text("import unitsyncd.core\n")
    (package / "core.py").write_text("def late():\n    from unitsyncd.faults import reach\n")
    (package / "faults.py").write_text("if TYPE_CHECKING:\n    from unitsyncd import actors\n")
    assert set(circle(package)) == {"unitsyncd.actors", "unitsyncd.core", "unitsyncd.faults"}
    (package / "core.py").write_text("")
    assert circle(package) == []


def test_every_part_of_the_coordinator_has_its_layer() -> None:
    assert {part_of(file) for file in files(COORDINATOR)} == set(LAYERS)


def test_what_the_coordinator_uses_of_the_client() -> None:
    none_of(
        [
            found
            for found in all_imports(COORDINATOR)
            if found.top == "unitsync" and part(found.module) not in DAEMON_MAY_USE
        ]
    )
    core_and_actors = all_imports(COORDINATOR / "core", COORDINATOR / "actors")
    none_of(
        [
            found
            for found in core_and_actors
            if found.top == "unitsync" and part(found.module) not in CORE_MAY_USE
        ]
    )


def test_clients_do_not_know_the_coordinator() -> None:
    """But for ``unitsync serve``, which is the coordinator, and only when it is called; and for
    what looks back at startups, which replays the records with the coordinator's own rules; and for
    what speaks to the log of a job, as a coordinator does."""
    found = [each for each in all_imports(CLIENT) if each.top == "unitsyncd"]
    serve = CLIENT / "cli" / "admin.py"
    none_of(
        [
            each
            for each in found
            if not (each.file == serve and each.lazy)
            and not (ANALYSIS in each.file.parents and part(each.module) in ("core", "actors"))
            and not (ANALYSIS in each.file.parents and each.for_types)
            and not (JOB in each.file.parents and part(each.module) in ("core", "hosts", "job"))
        ]
    )


JOB = CLIENT / "job"
"""The room of what a user asks of the log of a job itself."""


def test_no_verb_that_a_script_calls_knows_the_log_of_a_job() -> None:
    found = [each for each in all_imports(CLIENT) if each.module.startswith("unitsync.job")]
    none_of(
        [
            each
            for each in found
            if JOB not in each.file.parents and not each.lazy and not each.for_types
        ]
    )


ANALYSIS = CLIENT / "analysis"
"""The room of what is computed from the facts."""


def test_the_analysis_is_pure() -> None:
    none_of([each for each in all_imports(ANALYSIS) if each.top in IMPURE])


def test_no_verb_that_a_script_calls_knows_the_analysis() -> None:
    """Whoever looks back loads it, and only then."""
    found = [each for each in all_imports(CLIENT) if part(each.module) == "analysis"]
    rooms = (ANALYSIS, *LOOKING_BACK)
    none_of(
        [
            each
            for each in found
            if not any(room in (each.file, *each.file.parents) for room in rooms)
            and not each.lazy
            and not each.for_types
        ]
    )


LOOKING_BACK = tuple(
    CLIENT / room for room in ("render", "watch", "looking_back", "mcp_server", "tracing", "web")
)
"""What shows the values of the analysis."""


def test_no_verb_that_a_script_calls_knows_plans() -> None:
    """Only the verbs about plans, and only when they are called."""
    found = [
        each
        for each in all_imports(CLIENT)
        if part(each.module) == "plan" and CLIENT / "plan" not in each.file.parents
    ]
    verbs = [CLIENT / "kill.py", CLIENT / "rerun.py"]
    none_of([each for each in found if each.file not in verbs or not each.lazy])


def test_what_plans_use_of_the_client() -> None:
    none_of(
        [
            each
            for each in all_imports(CLIENT / "plan")
            if each.top == "unitsync" and part(each.module) not in PLANS_MAY_USE
        ]
    )


IMPORTS = CLIENT / "plan" / "imports"
"""The room of ``unitsync import``."""
IMPORTS_WITH = frozenset(("hcl2", "lark", "tomlkit", "yaml"))
"""The extra ``unitsync[import]``, and what it brings along."""


def test_only_imports_know_what_they_read() -> None:
    """Only ``unitsync import`` loads that room, and only the room loads the extra's libraries,
    each when it is needed: without them it says what to install."""
    found = [each for each in all_imports(CLIENT) if IMPORTS not in each.file.parents]
    none_of([each for each in found if each.module.startswith("unitsync.plan.imports")])
    loaded = [each for each in all_imports(CLIENT, COORDINATOR) if each.top in IMPORTS_WITH]
    none_of(
        [
            each
            for each in loaded
            if IMPORTS not in each.file.parents or not (each.lazy or each.for_types)
        ]
    )


WATCH = CLIENT / "watch"
"""The room of ``unitsync watch``."""


def test_only_watch_knows_textual() -> None:
    """In one module, which is loaded when the rest has said that it can be used."""
    found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top == "textual"]
    none_of([each for each in found if each.file != WATCH / "app.py"])
    found = [each for each in all_imports(CLIENT) if each.module == "unitsync.watch.app"]
    none_of([each for each in found if not each.lazy])
    found = [each for each in all_imports(CLIENT) if WATCH not in each.file.parents]
    none_of([each for each in found if each.module.startswith("unitsync.watch")])


TRACING = CLIENT / "tracing"
"""The room of ``unitsync trace``."""


def test_only_trace_knows_opentelemetry() -> None:
    """In one module, which loads it when it has something to send."""
    found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top == "opentelemetry"]
    assert found
    none_of([each for each in found if each.file != TRACING / "otlp.py" or not each.lazy])
    found = [each for each in all_imports(CLIENT) if each.module.startswith("unitsync.tracing")]
    none_of([each for each in found if TRACING not in each.file.parents and not each.lazy])
    for file in (TRACING / "spans.py", CLIENT / "trace_context.py"):
        none_of([each for each in imports(file) if each.top in IMPURE])


def test_what_watch_shows_is_pure() -> None:
    for name in ("board", "details", "drawing", "look"):
        none_of([each for each in imports(WATCH / f"{name}.py") if each.top in IMPURE])


MCP = CLIENT / "mcp_server"
"""The room of ``unitsync mcp``."""


def test_only_the_server_of_agents_knows_their_protocol() -> None:
    """In one module, which is loaded when the verb is called."""
    sdk = ("mcp", "mcp_types", "anyio")
    found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top in sdk]
    none_of([each for each in found if each.file != MCP / "server.py"])
    found = [each for each in all_imports(CLIENT) if each.module == "unitsync.mcp_server.server"]
    none_of([each for each in found if not each.lazy])
    found = [each for each in all_imports(CLIENT) if MCP not in each.file.parents]
    none_of([each for each in found if part(each.module) == "mcp_server"])


def test_what_agents_are_answered_is_pure() -> None:
    none_of([each for each in imports(MCP / "answers.py") if each.top in IMPURE])


WEB = CLIENT / "web"
"""The room of ``unitsync web``."""


def test_only_the_web_knows_how_it_is_served() -> None:
    """In one module each, which are loaded when the verb is called."""
    for library, module in (("starlette", "app"), ("uvicorn", "serving")):
        found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top == library]
        assert found
        none_of([each for each in found if each.file != WEB / f"{module}.py"])
        found = [each for each in all_imports(CLIENT) if each.module == f"unitsync.web.{module}"]
        none_of([each for each in found if not each.lazy and each.file != WEB / "serving.py"])
    found = [each for each in all_imports(CLIENT) if WEB not in each.file.parents]
    none_of([each for each in found if part(each.module) == "web"])


def test_who_may_see_the_page_is_pure() -> None:
    none_of([each for each in imports(WEB / "access.py") if each.top in IMPURE])


HOSTS = COORDINATOR / "hosts"
"""The room of what makes a coordinator one host of a job."""


def test_only_the_task_of_the_hosts_knows_nats() -> None:
    """And a coordinator that is alone does not load it."""
    found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top == "nats"]
    knows_it = {"link", "consumer", "member"}
    none_of([each for each in found if each.file.parent != HOSTS or each.file.stem not in knows_it])
    loading = [f"unitsyncd.hosts.{name}" for name in (*knows_it, "log", "sender", "reader")]
    found = [each for each in all_imports(COORDINATOR) if each.module in loading]
    outside = [each for each in found if each.file.parent != HOSTS]
    none_of([each for each in outside if not each.lazy and not each.for_types])


def test_what_is_known_of_other_hosts_is_pure() -> None:
    for name in ("messages", "ports", "peers", "pace"):
        none_of([each for each in imports(HOSTS / f"{name}.py") if each.top in IMPURE])


METRICS = COORDINATOR / "metrics"
"""The room of what a coordinator shows to Prometheus."""


def test_metrics_are_loaded_only_where_somebody_wants_them() -> None:
    found = [each for each in all_imports(COORDINATOR) if METRICS not in each.file.parents]
    loaded = [each for each in found if each.module.startswith("unitsyncd.metrics.")]
    none_of(
        [
            each
            for each in loaded
            if each.module != "unitsyncd.metrics.settings" and not (each.lazy or each.for_types)
        ]
    )
    for name in ("text", "families"):
        none_of([each for each in imports(METRICS / f"{name}.py") if each.top in IMPURE])


RENDER = CLIENT / "render"
"""The room of pictures and tables."""


def test_what_is_drawn_depends_on_what_is_put_in() -> None:
    """All of it but the files of the page, and where a program or library lays out a graph."""
    impure = {RENDER / "html.py": {"pathlib"}, RENDER / "layout.py": {"subprocess", "shutil"}}
    found = [each for each in all_imports(RENDER) if each.top in IMPURE]
    none_of([each for each in found if each.top not in impure.get(each.file, ())])
    found = [each for each in all_imports(CLIENT, COORDINATOR) if each.top == "igraph"]
    none_of([each for each in found if each.file != RENDER / "layout.py" or not each.lazy])


def test_nothing_in_the_packages_needs_what_only_tests_have() -> None:
    installed = {
        *("dotenv", "loguru", "msgspec", "rich", "tree_sitter", "tree_sitter_toml", "typer", "zmq"),
        *("unitsync", "unitsyncd", "textual", "igraph", "nats", "opentelemetry", "mcp"),
        *("mcp_types", "starlette", "uvicorn"),
        *IMPORTS_WITH,
    }
    found = all_imports(CLIENT, COORDINATOR)
    none_of(
        [
            each
            for each in found
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
    lengths = {file: len(file.read_text().splitlines()) for file in files(package)}
    assert {str(file): length for file, length in lengths.items() if length > most} == {}


def test_what_is_found_is_what_is_there() -> None:
    """The finder itself: imports in functions, under TYPE_CHECKING, of modules."""
    found = list(imports(CLIENT / "__init__.py"))
    assert any(each.for_types for each in found)
    found = list(imports(CLIENT / "cli" / "admin.py"))
    assert any(each.lazy and each.module == "unitsyncd.daemon" for each in found)
