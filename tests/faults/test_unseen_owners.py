"""Scripts that live, and look dead or like nothing at all: without their main thread, or to
a coordinator that has no descriptors left to look with."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults.places import Place
from faults.scripts import Scripts, fifo, release, scripts_at, until
from faults.test_owner_watch import WITHOUT_MAIN_THREAD, no_descriptors, process
from faults.test_owners import check_failed, ended, info, started
from unitsync import Client, errors
from unitsync.clients import owner as owners
from unitsync.link.startup_id import machine_startup
from unitsync.wire import Status


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    place.start()
    with scripts_at(place) as scripts:
        yield scripts


# --- without its main thread ------------------------------------------------------

SCRIPT = """
import ctypes, os, subprocess, sys, threading

def work():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    for verb in "start", "complete":
        subprocess.run(["unitsync", verb, "ide"], check=True)
        open(sys.argv[1]).close()
    os._exit(0)

threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_script_that_goes_on_without_its_main_thread(place: Place, scripts: Scripts) -> None:
    gate = fifo(place, "gate")
    script = scripts.spawn(sys.executable, scripts.file(SCRIPT, "startup.py"), gate)
    owner = started(place).owner
    assert owner == owners.of_pid(script.pid)
    assert owner.watched
    late = scripts.run("unitsync", "start", "ide")  # looks whether the owner is there
    assert (late.status, f"pid {script.pid}" in late.err) == (1, True)
    assert scripts.run("unitsync", "reset", "ide").status == 1
    release(gate)
    assert ended(place).status is Status.COMPLETED
    release(gate)
    assert script.end().status == 0


def test_it_is_killed(place: Place, scripts: Scripts) -> None:
    gate = fifo(place, "gate")
    script = scripts.spawn(sys.executable, scripts.file(SCRIPT, "startup.py"), gate)
    started(place)
    script.kill()
    check_failed(place, script)


def test_it_is_named_as_the_owner(place: Place, scripts: Scripts) -> None:
    with process(WITHOUT_MAIN_THREAD) as other:
        assert scripts.run("unitsync", "start", "ide", "--owner", str(other.pid)).status == 0
        assert info(place).owner == owners.of_pid(other.pid)
        assert scripts.run("unitsync", "start", "ide").status == 1
        other.kill()
        assert f"pid {other.pid}" in ended(place).reason


def test_one_that_only_waits_to_be_reaped_cannot_be_the_owner(
    place: Place, scripts: Scripts
) -> None:
    gone = subprocess.Popen(["true"])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    result = scripts.run("unitsync", "start", "ide", "--owner", str(gone.pid))
    gone.wait()
    assert result.status == 2
    assert f"there is no process {gone.pid}" in result.err
    assert info(place).status is Status.NOT_REGISTERED


FIRST_OF_ITS_NAMESPACE = """
import ctypes, os, threading
from unitsync.link.startup_id import machine_startup

print(machine_startup(), flush=True)

def work():
    while open("/proc/1/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    print(machine_startup(), flush=True)
    os._exit(0)

threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_the_startup_is_the_same_when_process_1_goes_on_without_its_main_thread() -> None:
    apart = ["unshare", "-pf" if os.geteuid() == 0 else "-rpf", "--mount-proc"]
    if subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this user may not make a pid namespace")
    command = [*apart, sys.executable, "-c", FIRST_OF_ITS_NAMESPACE]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    before, after = told.stdout.splitlines()
    assert before == after
    assert not before.endswith(":0")


# --- without descriptors ----------------------------------------------------------


@contextmanager
def no_files(pid: int) -> Iterator[None]:
    """The process *pid* cannot open anything."""
    number = os.listdir(f"/proc/{pid}/fd")
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    lowest = next(free for free in range(len(number) + 1) if str(free) not in number)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def watched(client: Client) -> set[bool]:
    """What status, list and why say of the owner of ide."""
    (listed,) = (unit for unit in client.list() if unit.name == "ide")
    tree = client.why("ide").tree
    assert tree is not None
    units = client.status("ide"), listed, tree.unit
    return {unit.owner is None or unit.owner.watched for unit in units}


def test_a_coordinator_without_descriptors_takes_nobody_for_dead(place: Place) -> None:
    """It says that it does not watch; once it can, it does."""
    pid = place.start()
    with place.client() as client, process() as script:
        owner = owners.of_pid(script.pid)
        client.start("warm-up")  # whatever the coordinator opens for the first change
        with place.client(owner=owner) as for_script, place.client() as late:
            for_script.ping()
            late.ping()
            with no_files(pid):
                for_script.start("ide")
                assert watched(client) == {False}
                with pytest.raises(errors.AlreadyStarted):
                    late.start("ide")
                with pytest.raises(errors.AlreadyStarted):
                    client.reset("ide")
                assert client.status("ide").status is Status.STARTED
            until(lambda: watched(client) == {True}, "it is not watched again")
        assert f"pid {script.pid} cannot be looked at" in place.log()
        script.kill()
        until(lambda: client.status("ide").status is Status.FAILED)
        assert "ended without `complete`" in client.status("ide").reason


def test_without_descriptors_no_other_startup_is_taken_for_this_one() -> None:
    startup = machine_startup()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        machine_startup()
    assert machine_startup() == startup
