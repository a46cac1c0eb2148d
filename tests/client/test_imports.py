"""What importing costs. A startup script pays for it at every verb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import unitsync
from unitsync import errors


def loaded(statement: str) -> set[str]:
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules)-before)"
    out = subprocess.check_output([sys.executable, "-P", "-I", "-c", program], text=True)
    return set(out.split())


def test_the_package_loads_nothing() -> None:
    assert loaded("import unitsync") == {"unitsync"}


@pytest.mark.parametrize(
    "statement",
    [
        "from unitsync import Client",
        "import unitsync.client; unitsync.client.Client",
        "import sys; from unitsync.owner.calling_script import calling_owner as of; of(sys.argv)",
        "from unitsync.clients import owner; owner.this_process()",
        "from unitsync.link import endpoint; endpoint.resolve()",
    ],
)
def test_the_way_of_a_verb_is_light(statement: str) -> None:
    heavy = {"asyncio", "rich", "loguru", "typer", "subprocess", "dataclasses", "logging"}
    modules = loaded(statement)
    assert not heavy & modules
    assert not [name for name in modules if name.partition(".")[0] == "unitsyncd"]


def test_an_endpoint_is_found_without_zmq() -> None:
    assert not {"zmq", "msgspec"} & loaded("from unitsync.link import endpoint; endpoint.resolve()")


def test_tables_load_only_what_they_are_made_of() -> None:
    """As long as nothing wide is to be printed; then, unicodedata."""
    statement = (
        "from unitsync.output import tables; from unitsync.text import terminal; "
        "from unitsync.link.by_hand import Plain; "
        "unit = Plain({'name': 'a', 'status': 'failed', 'is_ready': False, 'since': 1.0}); "
        "node = Plain({'unit': {'name': 'b', 'status': 'pending'}, 'because': []}); "
        "[tables.list_table([unit], here) and tables.why_tree(node, here) "
        "and terminal.folded(['a'], here) for here in (terminal.stdout(), terminal.Screen(80))]"
    )
    parts = ("output.json_output", "output.tables", "text.printing", "text.terminal")
    rooms = ("link", "output", "text")
    expected = {f"unitsync.{name}" for name in (*rooms, *parts, "link.by_hand")}
    assert loaded(statement) == {"unitsync", *expected}


def test_every_error_is_exported() -> None:
    named = {name for name in unitsync.__all__ if name.endswith("Error") or hasattr(errors, name)}
    defined = {cls.__name__ for cls in errors.BY_CODE.values()}
    assert named == defined
    shown = Path(str(unitsync.__file__)).read_text()  # to type checkers
    for name in unitsync.__all__:
        assert name in defined or f" import {name} as {name}\n" in shown
        assert getattr(unitsync, name) is not None
        assert name in dir(unitsync)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sync'"):
        unitsync.Sync  # noqa: B018 (the access is what is tested)
