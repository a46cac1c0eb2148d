"""What ``doctor`` notes though changes are made: a split between callers and coordinator,
and what will be in somebody's way later. Exit 0, each time, and each is really so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cli.conftest import UNITSYNC, Cli, Result

pytestmark = pytest.mark.usefixtures("shared_cli")


def notes(result: Result) -> list[str]:
    assert (result.status, result.err) == (0, ""), result
    found = [each for each in json.loads(result.out) if each["level"] == "note"]
    assert all(each["hint"] for each in found)
    return [each["text"] for each in found if each["about"] not in ("others", "coder", "cgroup")]


def test_where_all_is_well_nothing_is_noted(cli: Cli) -> None:
    cli.ok("want", "a", "b")
    few_files = "at most "  # that the machine itself has
    assert [text for text in notes(cli("doctor", "-o", "json")) if few_files not in text] == []


PIDS = "the coordinator sees other process ids than this process"
FILES = "the coordinator sees other file systems than this process"


@pytest.mark.parametrize(
    ("apart", "noted"),
    [
        ("unshare --mount", {FILES}),
        ("unshare --pid --fork --mount-proc", {PIDS}),
        ("unshare --pid --fork", {PIDS}),
    ],
    ids=["a mount namespace", "a pid namespace", "a pid namespace with the outer proc"],
)
def test_a_split_between_a_caller_and_the_coordinator(
    cli: Cli, apart: str, noted: set[str]
) -> None:
    """Scripts there are not watched, or find no socket."""
    if subprocess.run([*apart.split(), "true"], capture_output=True).returncode:
        pytest.skip("this user may not make such a namespace")
    result = cli.exec(*apart.split(), *UNITSYNC, "doctor", "-o", "json")
    assert {note for note in notes(result) if "the coordinator" in note} == noted


def test_a_split_is_seen_from_outside_too(cli: Cli) -> None:
    """The coordinator is in a container that shares our /tmp."""
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a pid namespace")
    place = {"UNITSYNC_ENDPOINT": f"ipc://{cli.folder}/apart/s"}
    serving = cli.spawn(command=[*apart, *UNITSYNC, "serve"], env=place)
    while "serving" not in serving.next_line():
        pass
    assert set(notes(cli("doctor", "-o", "json", env=place))) == {PIDS, FILES}
    assert cli("stop", env=place).status == 0
    serving.end()


def test_few_open_files_leave_room_for_few_scripts(cli: Cli) -> None:
    script = 'ulimit -n 300; exec "$@"'
    result = cli.exec("bash", "-c", script, "bash", *UNITSYNC, "doctor", "-o", "json")
    assert notes(result) == ["at most 300: room for about 200 waiting scripts at once"]


def test_a_pythonhome_is_named(cli: Cli) -> None:
    """With one that is another Python's there would be nobody to say so."""
    env = {"PYTHONHOME": sys.base_prefix}
    text = f"PYTHONHOME={sys.base_prefix}: a Python of another version does not start with it"
    assert notes(cli.here("doctor", "-o", "json", env=env)) == [text]
