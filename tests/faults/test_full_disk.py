"""A journal that cannot be written: a real coordinator, a limit on the size of its
files that the test turns, and a real full file system.

Changing requests are refused with an error that says so, nothing is acknowledged that
is not kept, reading and waiting go on, and it recovers by itself.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from faults.places import Place
from faults.scripts import Scripts, fifo, release, scripts_at, until
from faults.small_disk import HELD, a_place_on_a_small_disk, held_apart, mount
from unitsync import AsyncClient, Client, errors
from unitsync.link import conversation
from unitsync.wire import Status, UnitInfo

NO_FILES = "ulimit -f 0; exec unitsync start ide"
"""The coordinator that it starts inherits the limit: its files hold nothing."""


class Full:
    """Limits the files of the coordinator *pid*: writing further fails, as it does on a
    full disk (EFBIG there, ENOSPC here)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pid = place.pid()

    def begin(self, room: int = 0) -> None:
        """Not one page of a journal can be written, or with *room* none can grow by more than
        that. Its log can."""
        sizes = (os.path.getsize(self._place.journal + suffix) for suffix in ("", "-wal"))
        self._limit(max(sizes) + room if room else 3000)

    def end(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def full(place: Place, room: int = 0) -> Iterator[Full]:
    disk = Full(place)
    disk.begin(room)
    try:
        yield disk
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            disk.end()


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    place.start()
    with place.client() as client:
        client.want("ide", "clone")
        for number in range(50):  # so that its log is as long as it becomes
            client.want(f"u{number}", *[f"p{other}" for other in range(60)])
        yield client


@pytest.fixture
def scripts(place: Place, client: Client) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        yield scripts


def test_what_is_not_kept_is_not_acknowledged(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "REQUEST_PATIENCE_S", 0.5)  # for the end of a run
    client.start("u-started")
    before = by_name(client)
    with full(place):
        for change in (
            lambda: client.want("ide", "deps"),
            lambda: client.unwant("ide", "clone"),
            lambda: client.start("clone"),
            lambda: client.start("ide", timeout_s=0),
            lambda: client.complete("u-started"),
            lambda: client.fail("u-started"),
            lambda: client.reset("u-started", force=True),
            lambda: client.reset(all=True, force=True),
        ):
            with pytest.raises(errors.NotKept, match="nothing was changed") as caught:
                change()
            assert "raise ulimit -f" in caught.value.hint
            assert by_name(client) == before
        assert client.ping().units == 52
        assert client.status("ide").status is Status.PENDING
        assert client.why().groups
    client.want("ide", "deps")
    assert len(client.status("ide").prerequisites) == 2
    after = by_name(client)
    place.kill()
    client.ping()
    assert by_name(client) == after


def by_name(client: Client) -> dict[str, UnitInfo]:
    return {info.name: info for info in client.list()}


def test_killed_while_it_is_full_it_comes_back_with_what_was_acknowledged(
    place: Place, client: Client
) -> None:
    kept = []
    with full(place, room=100_000) as disk:
        try:
            for number in range(1000):
                client.want(f"v{number}", *[f"p{other}" for other in range(60)])
                kept.append(f"v{number}")
        except errors.NotKept:
            pass
        disk.begin()
        with pytest.raises(errors.NotKept):
            client.start(f"v{number}")
        before = client.list()
        place.kill()
    client.ping()
    assert client.list() == before
    assert kept
    assert [info.name for info in before if info.name.startswith("v")] == kept


def test_one_request_that_is_too_much_takes_no_other_along(place: Place, client: Client) -> None:
    """All in one turn, as far as that can be had: sent at once."""
    too_many = [f"{number:0250}" for number in range(3_000)]

    async def ask() -> list[object]:
        async with AsyncClient(place.address) as many:
            await many.ping()
            changes = [many.want(f"v{number}", "clone") for number in range(20)]
            changes.insert(10, many.want("big", *too_many))
            return await asyncio.gather(*changes, return_exceptions=True)

    with full(place, room=500_000):
        results = asyncio.run(ask())
    assert isinstance(results.pop(10), errors.NotKept)
    assert results == [None] * 20
    names = {info.name for info in client.list()}
    assert {f"v{number}" for number in range(20)} <= names
    assert "big" not in names
    client.want("big", *too_many)


def test_a_startup_that_could_not_begin_begins_with_nothing_later(
    place: Place, client: Client, scripts: Scripts
) -> None:
    """What had been done in the one before is not done in this one."""
    client.start("clone")
    client.complete("clone")
    new = {"UNITSYNC_STARTUP": "new"}
    start = ("unitsync", "start", "ide", "--after", "clone", "--no-wait")
    with full(place):
        for _ in range(2):
            refused = scripts.run(*start, more=new)
            assert refused.status == 1, refused
            assert "nothing was changed" in refused.err
            assert client.status("clone").status is Status.COMPLETED
    waits = scripts.run(*start, more=new)
    assert waits.status == 75, waits
    assert "clone: not registered yet" in waits.err
    assert [info.name for info in client.list()] == ["ide", "clone"]


def test_lost_state_stays_lost_while_its_reset_cannot_be_kept(place: Place) -> None:
    with place.client() as client:
        client.want("ide", "clone")
    place.kill()
    Path(place.journal).unlink()
    Path(place.journal + "-wal").unlink()
    with scripts_at(place) as scripts:
        assert scripts.run("unitsync", "start", "ide").status == 69
        with full(place):
            assert "nothing was changed" in scripts.run("unitsync", "reset", "--all").err
            assert scripts.run("unitsync", "start", "ide").status == 69
        for _ in range(2):
            refused = scripts.run("unitsync", "start", "ide")
            assert refused.status == 69
            assert "the state of this startup is lost" in refused.err
            place.kill()
        assert scripts.run("unitsync", "reset", "--all").status == 0
        assert scripts.run("unitsync", "start", "ide").status == 0
        place.kill()
        with place.client() as client:
            client.ping()
            assert client.status("ide").run == 1


def test_waiting_goes_on(place: Place, client: Client, scripts: Scripts) -> None:
    waiting = [scripts.verb("start", "ide"), scripts.verb("wait", "clone")]
    for script in waiting:
        script.says("clone")
    until(lambda: client.status("ide").waiting_clients == 1)
    with full(place):
        refused = scripts.run("unitsync", "start", "clone")
        assert refused.status == 1
        assert refused.err.startswith("error: nothing was changed: the journal cannot be written")
        assert "raise ulimit -f" in refused.err
        assert client.status("ide").waiting_clients == 1
    client.start("clone")
    client.complete("clone")
    assert [script.end().status for script in waiting] == [0, 0]


def test_an_owner_that_ends_meanwhile_is_recorded_afterwards(
    place: Place, client: Client, scripts: Scripts
) -> None:
    gate = fifo(place, "gate")
    script = scripts.bash(f"unitsync start clone\n: < {gate}\n")
    waiting = scripts.verb("wait", "clone")
    until(lambda: client.status("clone").status is Status.STARTED)
    with full(place):
        script.kill()
        script.end()
        until(lambda: "could not be kept" in place.log())
        info = client.status("clone")
        assert (info.status, info.owner_gone) == (Status.STARTED, True)
        told = scripts.run("unitsync", "status", "clone").out
        assert ", which is gone" in told
        assert "gone: pid" in scripts.run("unitsync", "list").out
        assert [(group.cause.name, group.kind) for group in client.why().groups][-1] == (
            "clone",
            "owner gone",
        )
    assert waiting.end().status == 3
    info = client.status("clone")
    assert info.status is Status.FAILED
    assert "ended without `complete`" in info.reason


@pytest.mark.parametrize("word", ["complete", "fail"])
def test_the_last_word_of_a_script_is_kept_when_there_is_room_again(
    place: Place, client: Client, scripts: Scripts, word: str
) -> None:
    """Said in a trap, as the docs show it: the script does not end before that."""
    gate = fifo(place, "gate")
    script = scripts.bash(f"trap 'unitsync {word} clone' EXIT\nunitsync start clone\n: < {gate}\n")
    until(lambda: client.status("clone").status is Status.STARTED)
    with full(place):
        release(gate)
        script.says("nothing was changed: the journal cannot be written")
    assert script.end().status == 0
    info = client.status("clone")
    assert info.status is (Status.COMPLETED if word == "complete" else Status.FAILED)
    assert info.reason == ""


def test_a_coordinator_that_cannot_make_its_journal_says_so(place: Place) -> None:
    """And the next verb tries again."""
    with scripts_at(place) as scripts:
        refused = scripts.run("bash", "-c", NO_FILES)
        assert refused.status == 69
        assert "journal" in refused.err
        assert "cannot be used" in refused.err
        assert "raise ulimit -f" in refused.err
        until(lambda: place.serving() == [])
        assert scripts.run("unitsync", "start", "ide").status == 0


def test_a_coordinator_that_comes_back_to_a_full_disk(place: Place, client: Client) -> None:
    before = client.list()
    place.kill()
    with scripts_at(place) as scripts:
        refused = scripts.run("bash", "-c", NO_FILES)
        assert refused.status in (1, 69), refused
        for pid in place.serving():  # it may be able to read
            place.kill(pid)
    client.ping()
    assert client.list() == before
    assert not Path(place.journal + ".damaged").exists()


def test_on_a_file_system_that_is_full() -> None:
    held_apart(__file__)


def fill(path: Path) -> None:
    """Take what room is left, to the last byte that can be had."""
    try:
        with open(path, "wb", buffering=0) as file:
            while file.write(b"x" * 512):
                pass
    except OSError:
        pass


if __name__ == "__main__":
    with a_place_on_a_small_disk("512k") as place, place.client() as client:
        client.want("ide", "clone")
        client.start("clone")
        kept = 1
        try:
            while kept < 10_000:
                client.want(f"u{kept}", *[f"prerequisite-{n}" for n in range(20)])
                kept += 1
        except errors.NotKept:
            pass
        assert 5 < kept < 10_000, kept
        assert client.ping().units == kept + 1
        rest = place.home / "rest"
        fill(rest)
        patience_s, conversation.REQUEST_PATIENCE_S = conversation.REQUEST_PATIENCE_S, 0.5
        for _ in range(3):
            for change in (lambda: client.complete("clone"), lambda: client.reset("clone")):
                try:
                    change()
                except (errors.NotKept, errors.AlreadyStarted):
                    continue
                break
        conversation.REQUEST_PATIENCE_S = patience_s
        units = client.list()
        place.kill()
        rest.unlink(missing_ok=True)
        (place.home / "journal.db.snapshot").unlink(missing_ok=True)
        mount("-o", "remount,size=2m", str(place.home))
        client.ping()
        assert client.list() == units
        client.complete("clone")
        client.start("ide", timeout_s=5)
    sys.stdout.write(HELD)
