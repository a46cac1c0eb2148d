"""Which verbs start a coordinator: what their descriptions say, and docs/reference/cli.md with
them, is what they do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Cli
from unitsync.link.conversation import Autostart
from unitsync.verb.looking_back_verbs import LOOKING_BACK_VERBS
from unitsync.verb.runner_verbs import RUNNER_VERBS
from unitsync.verb.verbs import VERBS

WORDS = {
    "want": "a",
    "unwant": "a b",
    "gate": "g a",
    "start": "a",
    "complete": "a",
    "fail": "a",
    "note": "a text",
    "run": "a -- true",
    "wait": "a",
    "status": "a",
    "why": "a",
    "reset": "a",
    "up": "PLAN",
    "down": "PLAN",
    "check": "PLAN",
    "import": "procfile PROCFILE",
    "kill": "a",
    "rerun": "a",
    "what-if": "a=0",
    "export": "-",
    "trace": "--otlp http://127.0.0.1:1",
}
"""What a verb is called with, if it does not stand alone."""
ROWS = VERBS | RUNNER_VERBS | LOOKING_BACK_VERBS
WAITING = ("watch", "web")
"""Verbs that never start one, and go on until they are interrupted."""
ALONE = ("job",)
"""Speaks to the log of a job alone, and waits 10 s for that."""
REFUSED = "and starting one is turned off"


@pytest.fixture(scope="module")
def folders() -> Iterator[dict[str, Path]]:
    """A folder in which nothing is kept, and one with the state of a unit; no coordinator runs."""
    found = {name: Path(tempfile.mkdtemp(prefix="us-", dir="/tmp")) for name in ("fresh", "kept")}
    for folder in found.values():
        (folder / "plan.toml").write_text('[unit.a]\nrun = "true"\n')
        (folder / "Procfile").write_text("a: true\n")
    kept = Cli(found["kept"])
    kept.ok("want", "a")
    kept.ok("stop")
    yield found
    for folder in found.values():
        shutil.rmtree(folder)


def starts_one(name: str, folder: Path) -> bool:
    """Whether the verb would: that is turned off, so that it is refused instead."""
    words = WORDS.get(name, "").replace("PLAN", f"{folder}/plan.toml")
    words = words.replace("PROCFILE", f"{folder}/Procfile")
    cli = Cli(folder)
    call = cli if name == "run" else cli.here  # run writes to its descriptor
    told = call(name, *words.split(), env={"UNITSYNC_AUTOSTART": "0"})
    assert (told.status == 69) >= (REFUSED in told.err), told
    return REFUSED in told.err


@pytest.mark.parametrize("name", [name for name in ROWS if name not in (*WAITING, *ALONE)])
def test_a_verb_starts_a_coordinator_when_its_description_says_so(
    name: str, folders: dict[str, Path]
) -> None:
    starts = {kind for kind, folder in folders.items() if starts_one(name, folder)}
    expected = {
        Autostart.ALWAYS: {"fresh", "kept"},
        Autostart.IF_STATE_IS_KEPT: {"kept"},
        Autostart.IF_THERE_IS_A_JOURNAL: {"kept"},
        Autostart.NEVER: set(),
    }
    assert starts == expected[ROWS[name].may.autostart]


@pytest.mark.parametrize("name", WAITING)
def test_a_verb_that_waits_for_a_coordinator_starts_none(
    name: str, folders: dict[str, Path]
) -> None:
    assert ROWS[name].may.autostart is Autostart.NEVER
    cli = Cli(folders["kept"])
    process = cli.spawn(name, *(["--listen", f"unix:{cli.folder}/web"] if name == "web" else []))
    assert process.popen.stdout is not None
    if name == "web":
        assert process.popen.stdout.readline()
    else:
        assert "no coordinator runs" in process.next_line()
    assert not (cli.folder / "c" / "coordinator.sock").exists()
    cli.end_processes()


@pytest.mark.parametrize("words", ["list --hosts", "up --dry-run PLAN", "events --from FILE"])
def test_with_these_flags_none_is_started(words: str, folders: dict[str, Path]) -> None:
    folder = folders["kept"]
    (folder / "events").touch()
    words = words.replace("PLAN", f"{folder}/plan.toml").replace("FILE", f"{folder}/events")
    told = Cli(folder).here(*words.split(), env={"UNITSYNC_AUTOSTART": "0"})
    assert REFUSED not in told.err
