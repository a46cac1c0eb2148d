"""A folder on a small file system of its own that becomes full or read-only while scripts
are at work: they say so and go on, and end as they would have once there is room again.

Each in a mount namespace of its own, so that the file system goes with it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from faults.places import Place
from faults.scripts import Scripts, fifo, release, scripts_at, until
from faults.small_disk import HELD, a_place_on_a_small_disk, held_apart, mount
from faults.test_waiting import VERBS, waiting
from unitsync import errors
from unitsync.wire import Status


def status(place: Place, unit: str) -> Status:
    with place.client() as client:
        return client.status(unit).status


def held_back(place: Place) -> bool:
    with place.client() as client:
        return client.status("ide").waiting_clients > 0


@contextlib.contextmanager
def full(place: Place) -> Iterator[None]:
    """Nothing more can be written, in the room that the journal has left either."""
    filler = place.home / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass
    refused, number = 0, 0
    with place.client() as client:
        while refused < 20:
            try:
                client.want(f"filler-{number}")
                refused = 0
            except errors.NotKept:
                refused += 1
            number += 1
    yield
    filler.unlink()


@contextlib.contextmanager
def read_only(place: Place) -> Iterator[None]:
    mount("--bind", str(place.home), str(place.home))
    mount("-o", "remount,bind,ro", str(place.home))
    yield
    subprocess.run(["umount", str(place.home)], check=True)


def a_wait_is_granted_when_there_is_room_again(place: Place, scripts: Scripts) -> None:
    """Its turn has come, and the grant cannot be kept."""
    for verb in ("start", "run"):
        with place.client() as client:
            client.start("clone")
            script = scripts.verb(*VERBS[verb])
            until(lambda: held_back(place))
            script.kill(signal.SIGSTOP)
            client.complete("clone")
            with full(place):
                script.kill(signal.SIGCONT)
                said = script.says("unitsync: nothing was changed: the journal cannot be written")
                assert said.endswith("; trying again")
            assert script.end().status == 0
            client.reset("clone")
            client.complete("ide")


def a_wait_ends_at_its_time_limit(place: Place, scripts: Scripts) -> None:
    with place.client() as client:
        client.start("clone")
        script = scripts.verb(*VERBS["start"], "--timeout", "3")
        until(lambda: held_back(place))
        script.kill(signal.SIGSTOP)
        client.complete("clone")
    with full(place):
        script.kill(signal.SIGCONT)
        ended = script.end()
    assert ended.status == 124, ended
    assert "error: ide timed out: nothing was changed: the journal cannot be written" in ended.err


def the_end_of_a_run_is_kept_when_there_is_room_again(place: Place, scripts: Scripts) -> None:
    gate = fifo(place, "gate")
    script = scripts.verb("run", "ide", "--", "sh", "-c", f": < {gate}")
    until(lambda: status(place, "ide") is Status.STARTED)
    with full(place):
        release(gate)
        script.says("the end of ide is not recorded yet: nothing was changed: the journal")
    ended = script.end()
    assert (ended.status, "warning" in ended.err) == (0, False), ended
    assert status(place, "ide") is Status.COMPLETED


def waits_outlast_a_folder_that_is_read_only(place: Place, scripts: Scripts) -> None:
    each = [waiting(scripts, verb) for verb in VERBS]
    with read_only(place):
        place.kill()
        for script in each:
            assert "Read-only file system" in script.says("waiting for its return")
        refused = scripts.run("unitsync", "want", "a", "b")
        assert (refused.status, "Read-only file system" in refused.err) == (69, True)
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    assert sorted(script.end().status for script in each) == [0, 0, 1], "one unit, two starts"


def waits_outlast_a_coordinator_that_comes_back_to_a_full_disk(
    place: Place, scripts: Scripts
) -> None:
    script = waiting(scripts, "start")
    with full(place):
        place.kill()
        timed_out = scripts.run("unitsync", "wait", "never", "--timeout", "2")
        assert timed_out.status in (69, 124), timed_out  # it may be able to read
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    assert script.end().status == 0


def a_coordinator_stays_in_a_folder_that_is_read_only(place: Place, scripts: Scripts) -> None:
    script = waiting(scripts, "start")
    pid = place.pid()
    with read_only(place), place.client(autostart=False) as client:
        client.start("clone")
        client.complete("clone")
        assert script.end().status == 0
        with pytest.raises(errors.TimedOut):  # it looks after its folder each second
            client.wait("never", timeout_s=2.5)
        assert client.ping().pid == pid


Scenario: TypeAlias = Callable[[Place, Scripts], None]
SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        a_wait_is_granted_when_there_is_room_again,
        a_wait_ends_at_its_time_limit,
        the_end_of_a_run_is_kept_when_there_is_room_again,
        waits_outlast_a_folder_that_is_read_only,
        waits_outlast_a_coordinator_that_comes_back_to_a_full_disk,
        a_coordinator_stays_in_a_folder_that_is_read_only,
    )
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_a_small_file_system(scenario: str) -> None:
    held_apart(__file__, scenario)


if __name__ == "__main__":
    with a_place_on_a_small_disk("1m") as place:
        with scripts_at(place) as scripts:
            SCENARIOS[sys.argv[1]](place, scripts)
        assert not Path(place.journal + ".damaged").exists()
    sys.stdout.write(HELD)
