"""The JSON that the page shows is what the program prints in that situation."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

import docpages as pages
from cli.conftest import Cli, cli, shared_cli
from faults.scripts import until
from unitsync import Client

__all__ = ["cli", "shared_cli"]


def shown() -> dict[str, Any]:
    text = pages.read("reference/json.md").partition("$ unitsync status deps -o json\n")[2]
    return json.loads(text.partition("```")[0])  # type: ignore[no-any-return]


def alike(value: Any) -> Any:
    """*value* with what differs from machine to machine told by its form alone."""
    if isinstance(value, dict):
        return {
            key: "PID" if key == "pid" and isinstance(each, int) else alike(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [alike(each) for each in value]
    if isinstance(value, str):
        value = re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$", "TIME", value)
    return value


@pytest.mark.usefixtures("shared_cli")
def test_a_pending_unit_with_a_waiting_client(cli: Cli) -> None:
    """Key for key in the same order, and its history with it."""
    gate = cli.folder / "gate"
    os.mkfifo(gate)
    for name, text in (
        ("clone.sh", f"unitsync start git-clone\n: < {gate}\n"),
        ("deps.sh", "unitsync start deps --after git-clone\n"),
    ):
        (cli.folder / name).write_text(text)
    with Client(cli.endpoint) as client:
        cli.spawn(command=["bash", "clone.sh"])
        until(lambda: client.status("git-clone").status == "started")
        cli.spawn(command=["bash", "deps.sh"])
        until(lambda: client.status("deps").waiting_clients == 1)
    told = json.loads(cli("status", "deps", "-o", "json").out)
    assert json.dumps(alike(told), indent=1) == json.dumps(alike(shown()), indent=1)
