"""``unitsync check`` as a process: what it prints where, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plan.conftest import Write
from unitsync.plan import schema
from unitsync.plan.mistakes import Mistake

UNITSYNC = Path(sys.executable).with_name("unitsync")
GOOD = '[unit.a]\nrun = "true"\n\n[unit.b]\nrun = "true"\nafter = ["a"]\n'
BAD = '[unit.b]\nrun = "true"\nafter = ["x"]\nretries = -1\n'
HEAVY = ("tree_sitter", "dotenv", "unitsyncd", "zmq", "asyncio", "rich")


def check(*words: str | Path, **environment: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``unitsync check`` with *words*."""
    done = subprocess.run(
        [UNITSYNC, "check", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "UNITSYNC_AUTOSTART": "0", **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_a_good_plan(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD)
    said = "unitsync.toml: no mistakes in 2 units and 1 edge\n"
    assert check() == (0, said, "")
    assert check("-o", "json") == (0, "[]\n", "")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert check() == (0, f"{tmp_path}/{said}", "")


def test_a_plan_with_mistakes(write: Write) -> None:
    write(BAD)
    status, out, err = check()
    assert (status, out) == (5, "")
    assert err.splitlines() == [
        "error: unitsync.toml:3:10: b waits for x, which is no unit of this plan",
        'hint: if a script runs it: external = ["x"], at the top of the file',
        (
            "error: unitsync.toml:4:11: retries takes a whole number from 0 to 1,000,000, "
            "not the number -1"
        ),
        "hint: retries = 3",
        "2 mistakes in 1 file",
    ]


def test_several_plans_are_checked_each_by_itself(write: Write) -> None:
    write(GOOD, "good.toml")
    write(BAD, "bad.toml")
    write('[unit.a]\nrun = "true"\nafter = ["b"]\n', "third.toml")  # b is in the others
    status, out, err = check("good.toml", "bad.toml", "third.toml")
    assert status == 5
    assert out == "good.toml: no mistakes in 2 units and 1 edge\n"
    assert [line.split(":")[1].strip() for line in err.splitlines() if line[:6] == "error:"] == [
        *("bad.toml", "bad.toml", "third.toml"),
    ]
    assert err.endswith("3 mistakes in 2 files\n")


def test_json_for_editors(write: Write) -> None:
    path = write(BAD)
    status, out, err = check("--output", "json")
    listed: list[dict[str, Any]] = json.loads(out)
    assert (status, err) == (5, "error: 2 mistakes in 1 file\n")
    assert [set(one) for one in listed] == [set(Mistake.__struct_fields__)] * 2
    assert listed[0] == {
        "file": str(path),
        "line": 3,
        "column": 10,
        "message": "b waits for x, which is no unit of this plan",
        "hint": 'if a script runs it: external = ["x"], at the top of the file',
        "unit": "b",
    }


def test_what_is_not_there_yet_is_noted(write: Write) -> None:
    write('[unit.a]\nrun = "true"\n[unit.b]\nrun = "true"\ncwd = "repo"\nafter = ["a"]\n')
    status, _, err = check()
    assert (status, err) == (0, "note: not there yet: repo (folder), for b\n")


def test_who_waits_for_the_end_of_a_service_is_noted(write: Write) -> None:
    service = '[unit.db]\nrun = "sleep 9"\nready = "tcp:5432"\n'
    write(service + '[unit.a]\nrun = "true"\nafter = ["db"]\n')
    note = 'a waits until db has ended; requires = "start" waits until it is ready'
    assert check() == (0, "unitsync.toml: no mistakes in 2 units and 1 edge\n", f"note: {note}\n")
    write(service + '[unit.a]\nrun = "true"\nafter = [{ unit = "db", requires = "start" }]\n')
    assert check()[2] == ""


def test_the_schema() -> None:
    assert check("--schema") == (0, schema.text(), "")
    assert json.loads(schema.PATH.read_text())["title"] == "unitsync.toml"


def test_no_plan_at_all(write: Write) -> None:
    write("", "other.toml")
    status, out, err = check()
    assert (status, out) == (2, "")
    assert err.startswith("error: there is no unitsync.toml here, nor in a folder above\n")
    status, _, err = check("nowhere.toml")
    assert status == 5
    assert "nowhere.toml:1:1: the plan cannot be read: there is no such file" in err


def test_a_terminal_that_has_no_unicode(write: Write) -> None:
    write('[unit."é"]\nrun = "true"\nafter = ["ü"]\n')
    status, _, err = check(LC_ALL="C", PYTHONIOENCODING="ascii")
    assert status == 5
    assert err.isascii()


def test_a_good_plan_loads_nothing_that_only_mistakes_need(write: Write) -> None:
    """What it costs is what a check on each save, and each `up`, costs."""
    path = write(GOOD)
    program = (
        "import sys; from pathlib import Path; from unitsync.plan.model import load; "
        f"load(Path({str(path)!r})); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-P", "-c", program], text=True).split()
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY]
