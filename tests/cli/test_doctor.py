"""``doctor`` as a real process."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import pytest

from cli.conftest import Cli
from unitsync.doctor import files
from unitsync.doctor.finding import Setup


@pytest.mark.parametrize("named", ["UNITSYNC_ENDPOINT", "--endpoint", ""])
@pytest.mark.parametrize("mine", [True, False])
def test_why_there_is_another_coordinator(
    named: str, mine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, elsewhere = "ipc:///tmp/elsewhere/coordinator.sock", str(tmp_path / "coordinator.sock")
    monkeypatch.delenv("UNITSYNC_ENDPOINT", raising=False)
    monkeypatch.delenv("SUDO_UID", raising=False)
    if named == "UNITSYNC_ENDPOINT":
        monkeypatch.setenv(named, address)
    if not mine:
        monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    monkeypatch.setattr(glob, "glob", lambda pattern: [elsewhere])
    setup = Setup(address if named == "--endpoint" else None)
    assert [finding.about for finding in files.endpoint(setup)] == ["endpoint"]
    (other,) = files.others(setup)
    assert other.text.startswith(f"{elsewhere}, of user ")
    if named and mine:
        assert other.hint.startswith(f"{named} names another one")
    else:
        assert other.hint == "each user has one of their own"


def test_it_changes_nothing(cli: Cli) -> None:
    """SQLite leaves files beside what it only reads."""
    cli.ok("want", "a", "b")
    for coordinator in ("runs", "was stopped"):
        if coordinator == "was stopped":
            cli.ok("stop")
        before = sorted(path.name for path in (cli.folder / "c").iterdir())
        assert ", of 1 startup or reset" in cli.ok("doctor")
        assert sorted(path.name for path in (cli.folder / "c").iterdir()) == before


def test_the_folder_may_have_any_name(cli: Cli) -> None:
    folder = cli.folder / "a #b?c%41[1]"
    place = {"UNITSYNC_ENDPOINT": f"ipc://{folder}/s"}
    assert cli("want", "a", "b", env=place).status == 0
    try:
        told = cli("doctor", env=place)
        assert " MB, of 1 startup or reset" in told.out, told
    finally:
        assert cli("stop", env=place).status == 0


def test_a_folder_in_the_place_of_the_journal(cli: Cli) -> None:
    """What is to be done about it does it."""
    cli.ok("want", "u")
    journal = cli.folder / "c" / "journal.db"
    journal.unlink()
    journal.mkdir()
    result = cli("doctor", "--output", "json")
    (found,) = [one for one in json.loads(result.out) if one["level"] == "problem"]
    assert (result.status, found["about"]) == (1, "journal")
    assert "is no longer a file: the coordinator's state will be lost" in found["text"]
    assert cli.script(found["hint"].partition(": ")[2]).told == []
    assert cli("doctor").status == 0
