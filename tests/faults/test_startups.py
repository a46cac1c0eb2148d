"""Two startups in one boot: an agent that restarts, and UNITSYNC_STARTUP. The second
begins with nothing, and what scripts of the first still say changes nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from faults.places import Place
from faults.scripts import Script, Scripts, fifo, release, scripts_at, until
from unitsync import errors
from unitsync.coder import shim
from unitsync.wire import Status
from unitsyncd.core.events import Ended, Started
from unitsyncd.storage.journal import Journal


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        shim.install(scripts.folder, force=True)
        yield scripts


def agent(scripts: Scripts, text: str, *words: str) -> Script:
    """A process that is called ``coder``, with *words* or ``agent`` as its arguments, and runs
    a script, as Coder's agent does. It is bash, for which they are options and a file."""
    program = scripts.folder / "agent" / "coder"
    if not program.exists():
        scripts.file('bash "$SCRIPT"\nexit $?\n', "agent/agent")
        program.symlink_to(shutil.which("bash") or "")
    more = {"SCRIPT": scripts.file(text), "AGENT": str(program.parent)}
    command = 'cd "$AGENT" && exec ./coder "$@"'
    return scripts.spawn("bash", "-c", command, "_", *(words or ["agent"]), more=more)


def status(place: Place, unit: str) -> Status:
    with place.client() as client:
        return client.status(unit).status


def facts(place: Place) -> list[tuple[str, list[str], list[str]]]:
    """For each startup in the journal: the units that were started, those that ended."""
    with closing(Journal(place.journal)) as journal:
        epochs = journal.epochs()
        found: list[tuple[str, list[str], list[str]]] = [(e.startup, [], []) for e in epochs]
        for number, (name, fact) in journal.read(0):
            where = sum(epoch.first_seq <= number for epoch in epochs) - 1
            if isinstance(fact, Started):
                found[where][1].append(name)
            elif isinstance(fact, Ended):
                found[where][2].append(name)
    return [entry for entry in found if entry[1]]


def test_an_agent_that_restarts(place: Place, scripts: Scripts) -> None:
    # One opening for writing lets everybody through who waits at a fifo by then.
    gates = [fifo(place, "first"), fifo(place, "second")]
    first = agent(
        scripts,
        f"""
        coder exp sync start clone
        coder exp sync start ide &
        : < {gates[0]}
        coder exp sync complete clone 2> {place.folder}/said
        echo $? >> {place.folder}/said
        """,
    )
    until(lambda: status_or_none(place, "clone") is Status.STARTED)
    second = agent(
        scripts,
        f"""
        coder exp sync list
        coder exp sync want ide clone
        coder exp sync list
        coder exp sync start clone
        : < {gates[1]}
        coder exp sync complete clone
        """,
    )
    until(lambda: status(place, "ide") is Status.PENDING, "the second begins empty")
    until(lambda: status(place, "clone") is Status.STARTED)
    for gate in gates:
        release(gate)
    until(lambda: (place.folder / "said").exists())
    first.end()
    said = (place.folder / "said").read_text()
    assert "earlier startup" in said
    assert said.splitlines()[-1] == "1"
    result = second.end()
    assert (result.status, status(place, "clone")) == (0, Status.COMPLETED)
    place.stop()
    entries = facts(place)
    assert [names for _, names, _ in entries] == [["clone", "ide"], ["clone"]]
    assert entries[1][2] == ["clone"]
    assert entries[0][0] != entries[1][0]
    assert all(startup.startswith("coder-") for startup, *_ in entries)


def test_another_coder_command_is_no_agent(place: Place, scripts: Scripts) -> None:
    """It began a startup of its own, and forgot everything."""
    script = agent(
        scripts,
        """
        coder exp sync start clone
        echo 'coder exp sync start dotfiles && coder exp sync complete dotfiles' > dotfiles
        ./coder dotfiles
        coder exp sync complete clone
        """,
        *("--norc", "agent"),
    )
    script.end()
    assert status(place, "clone") is Status.COMPLETED
    place.stop()
    assert [names for _, names, _ in facts(place)] == [["clone", "dotfiles"]]


def status_or_none(place: Place, unit: str) -> Status | None:
    try:
        with place.client() as client:
            return client.status(unit).status
    except errors.Unavailable:
        return None


CHANGING = (
    "want clone other",
    "unwant clone other",
    "start clone",
    "start clone --no-wait",
    "complete clone",
    "complete clone --even-so",
    "fail clone",
    "wait clone",
    "reset clone --force",
    "reset --all --force",
    "run clone -- true",
)


@pytest.mark.parametrize("crash", [False, True], ids=["", "after a crash"])
def test_what_an_older_startup_says_changes_nothing(
    place: Place, scripts: Scripts, crash: bool
) -> None:
    def of(startup: str, verb: str) -> tuple[int, str]:
        done = scripts.run("unitsync", *verb.split(), more={"UNITSYNC_STARTUP": startup})
        return done.status, done.err

    assert of("one", "start clone") == (0, "")
    assert of("two", "start clone") == (0, "")
    if crash:
        place.kill()
    with place.client() as client:
        assert client.ping().startup == "two"
        before = client.list()
        for verb in CHANGING:
            code, said = of("one", verb)
            assert (code, "earlier startup (one)" in said) == (1, True), verb
            assert "hint: unset UNITSYNC_STARTUP to use the newest startup" in said
        for verb in ("status clone", "list", "why", "ping"):
            assert of("one", verb)[0] == 0, verb
        assert client.list() == before
        assert client.ping().units == 1
    assert of("two", "complete clone") == (0, "")
    assert (
        scripts.run("unitsync", "status", "clone")
        .out.splitlines()[1]
        .startswith("Status:  completed")
    ), "without an id it belongs to the newest"


def test_who_waits_is_not_let_through_by_another_startup(place: Place, scripts: Scripts) -> None:
    """Not even by one in which the prerequisite is there already."""
    one = {"UNITSYNC_STARTUP": "one"}
    waiting = [
        scripts.spawn("unitsync", *words, more=one)
        for words in (
            ("start", "ide", "--after", "clone"),
            ("wait", "clone"),
            ("run", "report", "--after", "clone", "--", "touch", str(place.folder / "ran")),
        )
    ]
    for script in waiting:
        script.says("clone")
    done = scripts.run(
        "bash",
        "-c",
        "unitsync start clone && unitsync complete clone",
        more={"UNITSYNC_STARTUP": "two"},
    )
    assert done.status == 0
    for script in waiting:
        result = script.end()
        assert result.status == 69, result
        assert "new startup" in result.err
    assert not (place.folder / "ran").exists()
    assert status(place, "ide") is Status.NOT_REGISTERED


def test_the_scripts_of_the_old_one_may_end_as_they_like(place: Place, scripts: Scripts) -> None:
    gate = fifo(place, "gate")
    text = f"unitsync start clone; : < {gate}\n"
    old = scripts.bash(text, more={"UNITSYNC_STARTUP": "one"})
    until(lambda: status_or_none(place, "clone") is Status.STARTED)
    with place.client(startup="two") as client:
        client.start("clone")
        old.kill(signal.SIGKILL)
        old.end()
        client.want("other", "clone")
        info = client.status("clone")
    assert info.status is Status.STARTED
    assert [entry.what for entry in info.history] == ["started"]


def test_a_startup_that_is_no_text_is_told_of(place: Place, scripts: Scripts) -> None:
    refused = scripts.run("unitsync", "serve", more={"UNITSYNC_STARTUP": os.fsdecode(b"a\xff")})
    assert refused.status == 2
    assert refused.err.startswith("error: UNITSYNC_STARTUP is 'a\\udcff', which is not UTF-8")


def test_a_startup_is_known_again_after_many_others(place: Place) -> None:
    """Scripts of any earlier one are refused, however many there were and whatever has
    become of their records."""
    for number in range(30):
        with place.client(startup=f"number {number}") as client:
            client.want("ide", "clone")
    place.kill()
    for number in (0, 5, 28):
        with (
            place.client(startup=f"number {number}") as client,
            pytest.raises(errors.StaleStartup),
        ):
            client.want("ide", "deps")
    with place.client(startup="number 29") as client:
        client.want("ide", "deps")
        assert client.ping().edges == 2
