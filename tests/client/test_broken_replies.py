"""Replies of the right kind with fields that are broken: the coordinator's fault, not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.conftest import OpenClient
from client.test_express import Deaf, deaf, verb
from unitsync import errors

__all__ = ["deaf"]

PATIENCE_S = 20.0
BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("start ide", {"result": "waiting", "waiting_for": 5}),
    ("start ide", {"result": "waiting", "waiting_for": [5]}),
    ("start ide", {"result": "error", "code": ["skipped"], "message": "no"}),
    ("want ide", {"result": "error"}),
    ("want ide", {"result": "error", "code": "cycle", "message": {}}),
    ("wait ide --any", {"result": "ok", "units": [5]}),
    ("status ide --output json", {"result": "status"}),
    ("list", {"result": "list", "units": 5, "total": 1}),
    ("list", {"result": "list", "units": [{}], "total": 1}),
    ("list", {"result": "list", "units": [], "total": 0, "next": "x"}),
    ("why", {"result": "why", "groups": [5]}),
    ("why ide", {"result": "why", "tree": {"because": 5}}),
]
USAGE = {"result": "error", "code": "usage", "message": "no"}


@pytest.mark.parametrize(("words", "reply"), BROKEN, ids=str)
def test_the_command_says_whose_fault_it_is(deaf: Deaf, words: str, reply: dict[str, Any]) -> None:
    with verb(deaf.address, *words.split()) as process:
        peer, request = deaf.hears()
        deaf.says(peer, msgspec.msgpack.encode({"id": request.id, **reply}))
        told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert told.startswith("error: not a reply that this version understands: "), told
    assert told.endswith("hint: the coordinator may be of another version: unitsync ping\n")


def test_modules_of_a_script_do_not_stand_in_for_those_of_python(
    deaf: Deaf, tmp_path: Path
) -> None:
    for name in ("typing", "enum", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('this is another one')\n")
    with verb(deaf.address, "list", more={"PYTHONPATH": str(tmp_path)}) as process:
        peer, request = deaf.hears()
        deaf.says(peer, msgspec.msgpack.encode({"id": request.id, "result": "list", "units": 5}))
        told = process.communicate(timeout=PATIENCE_S)[1]
    assert told.startswith("error: not a reply that this version understands: "), told


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        *BROKEN,
        ("status ide", {"result": "status", "unit": {"name": "ide"}}),
        ("want ide", {**USAGE, "details": {"hint": 1}}),
        ("want ide", {**USAGE, "details": {"args": 1}}),
        ("want ide", {**USAGE, "details": {"self": 1}}),
    ],
    ids=str,
)
def test_the_python_clients_raise_it(
    deaf: Deaf,
    open_client: OpenClient,
    in_background: Callable[..., Any],
    words: str,
    reply: dict[str, Any],
) -> None:
    name, *units = words.split(" --")[0].split()
    client = open_client(endpoint=deaf.address, autostart=False)
    called = in_background(getattr(client, name), *units)
    peer, request = deaf.hears()
    deaf.says(peer, msgspec.msgpack.encode({"id": request.id, **reply}))
    with pytest.raises(errors.ProtocolError, match="not a reply that this version understands"):
        called.result(PATIENCE_S)
