"""The docs say what the program does: diagram, commands, names, fields, exit statuses."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer.main
from msgspec.structs import fields

import check_links
import client_methods
import docpages as pages
import generate
from unitsync import doctor, errors, wire
from unitsync.aio import AsyncClient
from unitsync.cli.app import app
from unitsync.client import Client
from unitsync.errors import UnitsyncError
from unitsync.output import json_output
from unitsync.plan import schema
from unitsync.plan.mistakes import Mistake
from unitsyncd.core import events as facts
from unitsyncd.core import fact_codec
from unitsyncd.core.requirement import By
from unitsyncd.daemon import LOG_LEVELS
from unitsyncd.limits import Limits

SOURCES = [
    path
    for folder in ("client", "coordinator")
    for pattern in ("*.py", "*.sh")
    for path in sorted((pages.ROOT / folder).rglob(pattern))
]


# --- what is made from the code ---------------------------------------------------


def test_generated_files_are_fresh() -> None:
    for path, make in client_methods.FILES:
        assert path.read_text(encoding="utf-8") == make(), f"{path.name} is stale: make docs"


def test_generated_parts_are_fresh() -> None:
    for name, (page, make) in generate.BLOCKS.items():
        text = pages.read(page)
        assert generate.refreshed(text, name, make()) == text, f"docs/{page} is stale: make docs"


def test_each_verb_has_a_section_with_what_its_description_says() -> None:
    """On the page of its group, below its name."""
    for page, name, _ in generate.COMMANDS:
        described = pages.sections(pages.read(f"reference/cli/{page}.md"), 2)
        assert name in described, f"reference/cli/{page}.md has no section on {name}"
        assert described[name].startswith(f"\n\n<!-- begin verb-{generate.anchor(name)} -->\n"), (
            name
        )
    assert {name for _, name, _ in generate.COMMANDS} == dict(verbs()).keys()


def test_the_schema_of_plans_is_fresh() -> None:
    """Editors use it as it comes with the package."""
    assert schema.PATH.read_text(encoding="utf-8") == schema.text(), "make docs"


def test_the_schema_of_events_is_fresh() -> None:
    assert generate.EVENTS_SCHEMA.read_text(encoding="utf-8") == generate.events_schema(), (
        "make docs"
    )


# --- commands ---------------------------------------------------------------------

COMMAND = typer.main.get_command(app)
CALLS = [call for path in pages.pages() for call in pages.calls(path)]
CALLS += pages.calls_in_examples()


def test_pages_show_commands() -> None:
    assert len(CALLS) > 50


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where} {call.arguments[:1]}")
def test_command_parses(call: pages.Call) -> None:
    """Verb, options and number of arguments are those of the program."""
    if call.arguments[0].endswith("-completion"):
        return  # parsing it would install it
    command: Any = COMMAND
    arguments = list(call.arguments)
    context = None
    while True:
        try:
            context = command.make_context(command.name, arguments, parent=context)
        except typer.Exit:
            return  # --help, --version
        except Exception as exc:
            raise AssertionError(
                f"{call.where}: unitsync {' '.join(call.arguments)}: {exc}"
            ) from exc
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "commands") or not rest:
            return
        assert rest[0] in command.commands, f"{call.where}: no verb {rest[0]}"
        command, arguments = command.commands[rest[0]], rest[1:]


def verbs(command: Any = COMMAND, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, verb in command.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs(verb, f"{prefix}{name} ")
        elif not verb.hidden:
            yield f"{prefix}{name}", verb


def flags(verb: Any) -> set[str]:
    return {
        flag
        for param in verb.params
        if param.param_type_name == "option" and not param.hidden
        for flag in param.opts
    } - {"--endpoint"}


def test_cli_page_has_every_verb_and_flag() -> None:
    described: dict[str, str] = {}
    for path in sorted((pages.DOCS / "reference" / "cli").glob("*.md")):
        described |= pages.sections(path.read_text(encoding="utf-8"), 2)
    for name, verb in verbs():
        assert name in described, f"reference/cli/ has no section on {name}"
        shown = {
            flag
            for row in pages.rows(described[name])
            for flag in pages.code(row[0])
            if flag.startswith("-")
        }
        names = {cell.split()[0] for cell in shown}
        names -= {"--endpoint"}  # as all verbs have it; the shim keeps it
        assert names == flags(verb), f"reference/cli/ on {name}"


# --- environment variables --------------------------------------------------------


def variables_in_code() -> set[str]:
    found: set[str] = set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"\b(UNITSYNC_[A-Z_]*[A-Z])\b", text))
        found |= set(re.findall(r"""env[a-z]*(?:\.get\(|\[)\s*["']([A-Z_]+)["']""", text))
        found |= set(re.findall(r"""env[a-z]*\.setdefault\(b"([A-Z_]+)\"""", text))
        found |= set(re.findall(r"""["'](OTEL_[A-Z_]+)["']""", text))
    found.add("COLUMNS")  # read by shutil.get_terminal_size
    return found | {f"UNITSYNC_MAX_{name.upper()}" for name in Limits.__struct_fields__}


def test_environment_page_is_complete() -> None:
    table = pages.rows(pages.read("reference/environment.md"))
    described = {name for row in table for name in pages.code(row[0])}
    assert described == variables_in_code()


def test_levels_of_the_log_are_on_both_pages() -> None:
    """trace too."""
    for page, name in (
        ("reference/cli/coordinator.md", "--log-level LEVEL"),
        ("reference/environment.md", "UNITSYNC_LOG_LEVEL"),
    ):
        (row,) = [row for row in pages.rows(pages.read(page)) if pages.code(row[0]) == [name]]
        words = re.findall(r"\w+", row[-1].replace(" or ", ", "))
        assert tuple(words[: len(LOG_LEVELS)]) == LOG_LEVELS, page
        assert words[len(LOG_LEVELS)] in ("UNITSYNC_LOG_LEVEL", "in"), page


# --- errors ------------------------------------------------------------


def kinds(cls: type[UnitsyncError] = UnitsyncError) -> Iterator[type[UnitsyncError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from kinds(sub)


def test_every_error_is_on_its_page() -> None:
    text = pages.sections(pages.read("reference/exit-statuses.md"), 2)["Error codes"]
    shown = {
        (pages.code(row[0])[0], pages.code(row[1])[0], int(row[2])) for row in pages.rows(text)
    }
    assert shown == {
        (cls.code, cls.__name__, cls.exit_status)
        for cls in kinds()
        if cls.__module__ == errors.__name__
    }


def test_attributes_of_errors_are_on_the_page() -> None:
    text = pages.sections(pages.read("reference/exit-statuses.md"), 2)["Error codes"]
    for row in pages.rows(text):
        cls = errors.BY_CODE[pages.code(row[0])[0]]
        own = set(vars(cls).get("__annotations__", {})) - {"code", "exit_status"}
        if cls is not UnitsyncError:
            assert set(pages.code(row[3])) >= own, cls


def test_every_exit_status_is_on_the_page() -> None:
    text = pages.read("reference/exit-statuses.md")
    table = pages.rows(text.partition("## Error codes")[0])
    shown = {int(row[0]) for row in table if row[0].isdigit()}
    assert shown >= {cls.exit_status for cls in kinds()}


# --- messages ---------------------------------------------------------------------

PARTS = [
    wire.Owner,
    wire.Prerequisite,
    wire.UnitInfo,
    wire.HistoryEntry,
    wire.WhyNode,
    wire.WhyGroup,
    wire.Epoch,
    wire.Host,
]


def shown_fields(text: str) -> dict[str, bool]:
    """Field → whether the page calls it required."""
    return {name: row[2] == "required" for row in pages.rows(text) for name in pages.code(row[0])}


def declared_fields(struct: Any) -> dict[str, bool]:
    base = next((base for base in (wire.Request, wire.Reply) if issubclass(struct, base)), None)
    common = {field.name for field in fields(base)} if base is not None else set()
    return {
        field.encode_name: field.required for field in fields(struct) if field.name not in common
    }


@pytest.mark.parametrize("struct", PARTS, ids=lambda struct: struct.__name__)
def test_parts_of_messages(struct: Any) -> None:
    text = pages.sections(pages.read("reference/wire-protocol.md"), 3)[struct.__name__]
    assert shown_fields(text) == declared_fields(struct)


@pytest.mark.parametrize(
    ("heading", "union"), [("Requests", wire.AnyRequest), ("Replies", wire.AnyReply)]
)
def test_messages(heading: str, union: Any) -> None:
    part = pages.sections(pages.read("reference/wire-protocol.md"), 2)[heading]
    described = pages.sections(part, 3)
    structs = {struct.__struct_config__.tag: struct for struct in union.__args__}
    assert described.keys() == structs.keys()
    for tag, struct in structs.items():
        assert shown_fields(described[tag]) == declared_fields(struct), tag


@pytest.mark.parametrize(
    ("heading", "struct", "tag"),
    [("Every request", wire.Request, "verb"), ("Replies", wire.Reply, "result")],
)
def test_fields_of_every_message(heading: str, struct: Any, tag: str) -> None:
    part = pages.sections(pages.read("reference/wire-protocol.md"), 2)[heading]
    shown = shown_fields(part.partition("\n### ")[0])
    assert shown == {tag: True} | {field.encode_name: field.required for field in fields(struct)}


def test_the_facts_of_records() -> None:
    text = pages.sections(pages.read("reference/wire-protocol.md"), 2)["Records"]
    rows = [row for row in pages.rows(text) if row[0].startswith("`")]
    shown = {pages.code(row[0])[0]: pages.code(row[1]) for row in rows}
    declared = {
        fact.__struct_config__.tag: [field.name for field in fields(fact) if field.name != "at"]
        for fact in get_args(facts.AnyFact)
    }
    assert shown == declared
    kinds = [pages.code(row[2]) for row in rows if pages.code(row[0]) == ["denied"]]
    assert set(kinds[0]) - {"denial"} == {denial.value for denial in facts.Denial}


def test_the_numbers_of_needs() -> None:
    """12 for each kind of edge, 6 of a start, 3 optional, 1 for each requirement, as the page
    says."""
    requirements = list(wire.Requirement)
    for need, number in fact_codec.NUMBERS.items():
        kind = list(By).index(need.by)
        extra = 6 * need.of_start + 3 * need.optional + requirements.index(need.requirement)
        assert number == 12 * kind + extra


# --- JSON -------------------------------------------------------------------------

EDGE = wire.Prerequisite(
    "git-clone", wire.Requirement.SUCCESS, wire.Status.PENDING, met=False, owner=wire.Owner(1)
)
UNIT = wire.UnitInfo(
    "ide",
    wire.Status.PENDING,
    is_ready=False,
    owner=wire.Owner(1),
    prerequisites=[EDGE],
    history=[wire.HistoryEntry(1.0, "started", owner=wire.Owner(1))],
)
PONG = wire.Pong(id="", version="1", protocol=1, pid=1, startup="", units=0, edges=0, since=1.0)
JSON: dict[str, Any] = {
    "A unit": json_output.status_fields(UNIT),
    "An edge": json_output.edge_fields(EDGE),
    "An owner": json_output.edge_fields(EDGE)["owner"],
    "A history entry": json_output.status_fields(UNIT)["history"][0],  # type: ignore[index]
    "A node of why": json_output.tree_fields(wire.WhyNode(UNIT)),
    "A group of why": json_output.group_fields(wire.WhyGroup(UNIT, "waiting")),
    "ping": json_output.pong_fields(PONG),
    "A finding of doctor": doctor.Finding._fields,
    "A mistake in a plan": Mistake.__struct_fields__,
}


@pytest.mark.parametrize("title", JSON)
def test_json_fields(title: str) -> None:
    described = pages.sections(pages.read("reference/json.md"), 2)[title]
    shown = {name for row in pages.rows(described) for name in pages.code(row[0])}
    expected = set(JSON[title])
    if title == "A node of why":
        expected -= set(JSON["A unit"])
    assert shown == expected


# --- Python -----------------------------------------------------------------------


def plain_signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    plain = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return str(plain).replace("'", '"')


METHODS = [
    name
    for name, _ in inspect.getmembers(Client, callable)
    if not name.startswith("_") and name not in ("call", "said")
]


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_on_the_page(name: str) -> None:
    text = pages.read("reference/python-api.md")
    expected = f"{name}{plain_signature(getattr(Client, name))}"
    headings = [title.replace("\\", "") for title in pages.sections(text, 3)]
    assert expected in headings
    assert plain_signature(getattr(AsyncClient, name)) == plain_signature(getattr(Client, name))


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_returns_is_on_the_page(name: str) -> None:
    """Also where that is nothing, as of want and unwant."""
    sections = pages.sections(pages.read("reference/python-api.md"), 3)
    (said,) = [text for title, text in sections.items() if title.startswith(f"{name}(")]
    returned = inspect.signature(getattr(Client, name)).return_annotation
    if name in ("unit", "close"):
        return  # a block, and what has nothing to say
    word = {"None": "nothing", "Names": "the names", "Units": "a list of `UnitInfo`"}
    expected = word.get(returned, f"`{returned.removeprefix('wire.')}`")
    assert re.search(rf"\b[Rr]eturns\s+{re.escape(expected)}", said), said


def test_python_in_the_docs_compiles() -> None:
    found = 0
    for path in pages.pages():
        for block in pages.blocks(path):
            if block.language == "python":
                found += 1
                ast.parse(block.text, f"{block.page}:{block.line}")
    assert found > 5


def test_json_in_the_docs_is_json() -> None:
    for path in pages.pages():
        for block in pages.blocks(path):
            if block.language == "json":
                msgspec.json.decode(block.text)


def test_pages_that_the_code_names_are_there() -> None:
    """In hints and comments, with the heading."""
    links, root = check_links, pages.ROOT.resolve()
    found = 0
    for folder in ("client", "coordinator", "bench", "examples"):
        for path in sorted((root / folder).rglob("*.*")):
            if path.suffix not in (".py", ".sh", ".mjs", ".service"):
                continue
            text = path.read_text(encoding="utf-8")
            for named in re.findall(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?", text):
                found += 1
                assert not links.complaint(root, root / "README.md", named), path
    assert found > 10


def test_the_dev_container_page_shows_the_file() -> None:
    file = pages.ROOT / "examples/devcontainer/devcontainer.json"
    page = pages.DOCS / "how-to/containers.md"
    assert file.read_text(encoding="utf-8") in [block.text for block in pages.blocks(page)]


# --- sentences --------------------------------------------------------------------

READ_TWICE = """
A mistyped name … is waited for as well
A unit whose prerequisites meet them does not wait
if the grant had crossed that
another user serves there
is not asked
Who may rename one of them
Who is in it is asked
A want adds none of its edges then
scripts whose refused start a unit remembers
units that one request goes down
changes that one unit is told of at once
believe it although
would grant what it finds
without which it is wrong usage
also if this one ran it before
completion do without
or not the state that this wait began with
because the verb has dealt with it
Codes whose line says so
So with the others.
What counts is the group's entry
one below your home … is none
When it does not come to that
or by those who made it grow
[Ff]or ever\b
What concerns
takes what it takes
not to be had
of which the end
what is no (?:name|text|duration)
begins? anew as pending
has no say
What is tried, is tried
What is left of it after
Without a job, or a coordinator, it says so
What goes on without saying so
Of what ran or had failed when the other began
Who comes back with
as any unit that has completed
meet its requirement, but those that wait for it
Who waits for a unit or a gate here
what it waits for does
was not named and does not match another
until the next up that does not find it
"""


def test_sentences_that_one_reads_twice_have_not_come_back() -> None:
    """Found by readers, who were then told the same in plain words; in help texts too."""
    for path in [*pages.pages(), *SOURCES]:
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8").replace("`", ""))
        for sentence in READ_TWICE.strip().splitlines():
            assert not re.search(sentence.replace("…", "[^.]*"), text), (path, sentence)


@pytest.mark.parametrize("path", sorted((pages.DOCS / "reference").rglob("*.md")))
def test_no_sentence_of_the_reference_has_a_headless_subject(path: Path) -> None:
    """Such as: Who waits for it is told. What it says counts."""
    text = pages._FENCE.sub("", path.read_text(encoding="utf-8"))
    for paragraph in re.split(r"\n\n|^- |\n- ", text):
        if not paragraph.lstrip().startswith(("|", "#", "<!--")):
            prose = re.sub(r"\s+", " ", paragraph)
            assert not re.search(
                r"(?:^|[.:;] )(?:Who|Whoever|What|Whatever) (?!is |are )", prose
            ), prose


# --- guarantees -------------------------------------------------------------------


def test_each_guarantee_names_a_test() -> None:
    rows = pages.rows(pages.read("explanation/guarantees.md"))
    assert len(rows) > 10
    for row in rows:
        assert pages.code(row[-1])
        assert all(named.startswith("tests/") for named in pages.code(row[-1])), row[0]


def test_tests_that_a_page_names_are_there() -> None:
    for page in pages.pages():
        text = page.read_text(encoding="utf-8")
        for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
            file = pages.ROOT / path
            assert file.exists(), f"{page}: {path}"
            defined = rf"^\s*(async )?def {name}\("
            assert not name or re.search(defined, file.read_text(), re.MULTILINE), name
