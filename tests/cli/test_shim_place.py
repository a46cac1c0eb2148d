"""Which ``coder`` a script gets, and which coordinator that leads to: what ``doctor`` says of
it, and a shim that is made for one coordinator."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli.conftest import Cli, Result
from cli.test_shim import write_program
from unitsync.coder import shim


@pytest.fixture
def folder(cli: Cli) -> Path:
    """Where the shim is."""
    path = cli.folder / "shim"
    path.mkdir()
    shim.install(path, force=False)
    return path


@pytest.fixture
def real(cli: Cli) -> Path:
    path = cli.folder / "real" / "coder"
    path.parent.mkdir()
    write_program(path, "exit 9\n")
    return path


def env(*folders: Path, **more: str) -> dict[str, str | None]:
    path = ":".join([*map(str, folders), os.environ["PATH"]])
    return {"CODER_SCRIPT_BIN_DIR": "/nonexistent", "PATH": path, **more}


def findings(cli: Cli, *arguments: str, env: dict[str, str | None]) -> list[tuple[str, str, str]]:
    """Level, text and hint of what doctor says of ``coder``."""
    result = cli("doctor", "-o", "json", *arguments, env=env)
    found = [entry for entry in json.loads(result.out) if entry["about"] == "coder"]
    assert result.status == any(entry["level"] == "problem" for entry in found)
    return [(entry["level"], entry["text"], entry["hint"]) for entry in found]


def test_the_shim_comes_first(cli: Cli, folder: Path, real: Path) -> None:
    text = f"{folder}/coder is the shim: coder exp sync means unitsync, at the same coordinator"
    assert findings(cli, env=env(folder, real.parent)) == [("ok", text, "")]


def test_the_real_one_comes_first(cli: Cli, folder: Path, real: Path) -> None:
    problem, shim_ = findings(cli, env=env(real.parent, folder))
    assert problem == (
        "problem",
        f"scripts find {real} first, not the shim {folder}/coder: they do not come here",
        f"put {folder} before {real.parent} on PATH",
    )
    assert shim_[:2] == (
        "ok",
        f"{folder}/coder is a shim as well: coder exp sync means unitsync, at the same coordinator",
    )


def test_a_link_in_the_folder_that_the_agent_puts_first(cli: Cli, folder: Path, real: Path) -> None:
    """It is not on the PATH of a terminal."""
    agents = cli.folder / "agents"
    agents.mkdir()
    (agents / "coder").symlink_to(real)
    problem, _ = findings(cli, env=env(folder, CODER_SCRIPT_BIN_DIR=str(agents)))
    assert problem[1].startswith(f"scripts find {agents}/coder first, not the shim")
    assert problem[2] == f"rm {agents}/coder, or put {folder} before {agents} on PATH"


def test_only_the_real_one(cli: Cli, real: Path) -> None:
    (found,) = findings(cli, env=env(real.parent))
    assert found[:2] == ("note", f"{real} is not the shim: coder exp sync is its own")


def test_a_shim_for_another_coordinator(cli: Cli, folder: Path) -> None:
    other = cli.folder / "other"
    other.mkdir()
    address = f"ipc://{cli.folder}/o/coordinator.sock"
    installed = cli("shim", "install", str(other), "--endpoint", address, env=env(other))
    assert installed == (0, f"installed {other}/coder\n", "")
    ours, theirs = findings(cli, env=env(folder, other))
    assert ours[0] == "ok"
    again = f"unitsync shim install --force {other} --endpoint {cli.endpoint}"
    text = f"{other}/coder is a shim as well, and talks to {address}"
    assert theirs == ("note", text, again)
    ours, theirs = findings(cli, "--endpoint", address, env=env(folder, other))
    assert (ours[0], theirs[0]) == ("note", "ok")


def test_all_who_call_it_meet_at_its_coordinator(cli: Cli) -> None:
    """Whatever their environment says; but not one that says otherwise in the call."""
    other = cli.folder / "other folder"
    other.mkdir()
    address = f"ipc://{cli.folder}/it's o/coordinator.sock"
    assert cli("--endpoint", address, "shim", "install", str(other)).status == 0
    coder = str(other / "coder")

    def call(*arguments: str, **more: str | None) -> Result:
        return cli.exec(coder, "exp", "sync", *arguments, env=more)

    try:
        assert call("want", "ide", "clone").status == 0
        assert call("start", "clone", UNITSYNC_ENDPOINT=None).status == 0
        assert call("want", "elsewhere", "clone", "--endpoint", cli.endpoint).status == 0
        listed = cli("list", "-o", "json", "--endpoint", address)
        assert [unit["unit_name"] for unit in json.loads(listed.out)] == ["ide", "clone"]
        assert "elsewhere" in cli.ok("list")
    finally:
        assert cli("stop", "--endpoint", address).status == 0


def test_an_endpoint_that_cannot_be_one_is_refused(cli: Cli) -> None:
    result = cli("shim", "install", str(cli.folder), "--endpoint", "tcp://here")
    assert result.status == 2
    assert not (cli.folder / "coder").exists()


def test_a_shim_whose_python_is_gone(cli: Cli, folder: Path) -> None:
    path = folder / "coder"
    gone = f"unitsync_python={cli.folder}/gone"
    lines = [
        gone if line.startswith("unitsync_python=") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines))
    (found,) = findings(cli, env={**env(), "PATH": f"{folder}:/usr/bin:/bin"})
    assert found == (
        "problem",
        f"{path} is the shim, but there is no {cli.folder}/gone",
        f"unitsync shim install --force {folder}",
    )
