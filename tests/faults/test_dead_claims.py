"""Verbs that are killed while they ask: real ones, which nobody has reaped yet. A claim by a
process that is dead is no claim."""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import random
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.places import Place
from faults.scripts import Script, Scripts, fifo, release, scripts_at, until
from unitsync.wire import Status, UnitInfo

ROUNDS = 4
VERBS = 8
"""Killed in each round, at about the moment at which they may go on."""
_PIDFD_GETFD = 438


@pytest.fixture
def pid(place: Place) -> int:
    """Of the coordinator."""
    return place.start()


@pytest.fixture
def scripts(place: Place, pid: int) -> Iterator[Scripts]:
    with scripts_at(place) as scripts:
        yield scripts


def info(place: Place, unit: str = "ide") -> UnitInfo:
    with place.client() as client:
        return client.status(unit)


def was_killed(place: Place, unit: str = "ide") -> bool:
    """Whether that is what became of the last start."""
    entry = info(place, unit).history[-1]
    return (entry.what, entry.reason) == ("start interrupted", "killed before it was granted")


def kill_unreaped(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Returns when it is a zombie."""
    os.kill(process.pid, number)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process *pid* does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: state(pid) == "T")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def queued(pid: int, request: int) -> int:
    """What is under way on the sockets of the process *pid*: TIOCOUTQ, what it has sent and
    nobody has read, or FIONREAD, what it has not read itself."""
    count = 0
    pidfd = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        descriptor = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, int(name), 0)
        if descriptor < 0:  # it was closed just now
            continue
        answer = array.array("i", [0])
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                fcntl.ioctl(descriptor, request, answer)
        os.close(descriptor)
        count += answer[0]
    os.close(pidfd)
    return count


def waits(place: Place, script: Script, unit: str = "ide") -> None:
    script.says("clone")
    until(lambda: info(place, unit).waiting_clients > 0)


def kill_with_its_claim_unread(place: Place, pid: int, script: Script) -> None:
    """Let clone end, for which *script* waits; it learns that and claims, and is a zombie
    when the coordinator reads the claim."""
    with stopped(script.pid):
        with place.client() as client:
            client.start("clone")
            client.complete("clone")
        until(lambda: queued(script.pid, termios.FIONREAD) > 0)
        with stopped(pid):
            os.kill(script.pid, signal.SIGCONT)
            until(lambda: queued(script.pid, termios.TIOCOUTQ) > 0)
            kill_unreaped(script.process)


# --- killed with a claim under way ------------------------------------------------


@pytest.mark.parametrize("verb", ["start", "run"])
def test_a_claim_that_is_read_when_its_verb_is_dead(
    place: Place, pid: int, scripts: Scripts, verb: str
) -> None:
    command = [] if verb == "start" else ["--", "touch", str(place.folder / "ran")]
    script = scripts.verb(verb, "ide", "--after", "clone", *command)
    waits(place, script)
    kill_with_its_claim_unread(place, pid, script)
    until(lambda: was_killed(place))
    unit = info(place)
    assert (unit.status, unit.run, unit.is_ready) == (Status.PENDING, 0, True)
    assert scripts.run("unitsync", "start", "ide").status == 0
    assert not (place.folder / "ran").exists()


def test_the_next_of_several_is_granted(place: Place, pid: int, scripts: Scripts) -> None:
    others = scripts.spawn("sleep", "100")
    first = scripts.verb("start", "ide", "--after", "clone", "--owner", str(others.pid))
    waits(place, first)
    second = scripts.verb("start", "ide", "--after", "clone")
    second.says("clone")
    until(lambda: info(place).waiting_clients == 2)
    kill_with_its_claim_unread(place, pid, first)
    assert second.end().status == 0
    assert info(place).run == 1


AT_ONCE = """
import os, sys, threading
from unitsync import Client

def start():
    with Client() as client:
        client.ping()
        os.write(2, b"there\\n")
        wait.wait()
        client.start("ide")

wait = threading.Event()
threads = [threading.Thread(target=start) for _ in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
sys.stdin.read()
wait.set()
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_a_client_in_python_that_claims_at_once(place: Place, pid: int, threads: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, str(threads)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stderr is not None
        for _ in range(threads):
            assert client.stderr.readline() == "there\n"
        with stopped(pid):
            client.stdin.close()
            until(lambda: queued(client.pid, termios.TIOCOUTQ) > 0)
            kill_unreaped(client)
        until(lambda: was_killed(place))
        assert info(place).run == 0
    with place.client() as other:
        assert other.start("ide").run == 1


def test_many_that_are_killed_when_they_may_go_on(place: Place, pid: int, scripts: Scripts) -> None:
    """Some are granted their unit and die then; none is when it is dead."""
    late = []
    with place.client() as client:
        for number in range(ROUNDS):
            clone = f"clone-{number}"
            client.start(clone)
            units = [f"ide-{number}-{which}" for which in range(VERBS)]
            verbs = {unit: scripts.verb("start", unit, "--after", clone) for unit in units}
            for unit, verb in verbs.items():
                waits(place, verb, unit)
            client.complete(clone)
            with stopped(pid) if number % 2 else contextlib.nullcontext():
                for unit in random.sample(units, VERBS):
                    os.kill(verbs[unit].pid, signal.SIGKILL)  # which does not reap
                dead = {}
                for unit, verb in verbs.items():
                    os.waitid(os.P_PID, verb.pid, os.WEXITED | os.WNOWAIT)
                    dead[unit] = time.time()
            for _ in range(3):  # turns, in which claims that are left are read
                client.ping()
            for unit in units:
                history = client.status(unit).history
                late += [e for e in history if e.what == "started" and e.at > dead[unit]]
    assert not late


# --- killed while it waits --------------------------------------------------------


def test_its_script_lives_on(place: Place, scripts: Scripts) -> None:
    """And is not believed, as after Ctrl-C."""
    gate, number = fifo(place, "gate"), place.folder / "pid"
    script = scripts.bash(
        f"unitsync start ide --after clone & echo $! > {number}; wait $!\n"
        f": < {gate}\nunitsync complete ide\n"
    )
    waits(place, script)
    os.kill(int(number.read_text()), signal.SIGKILL)
    script.says("Killed")
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    assert was_killed(place)
    release(gate)
    assert script.end().status == 0
    unit = info(place)
    assert unit.status is Status.FAILED
    assert unit.reason == "never started, its start was interrupted"
    assert unit.history[-2].owner is not None
    assert unit.history[-2].owner.pid == script.pid


DEADLY = [signal.SIGKILL, signal.SIGQUIT]

PATIENT = """
import resource, sys
import zmq
from unitsync.clients import owner
from unitsync import wire

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
start = wire.Start(
    id="s", unit="ide", after=["clone"], patience_s=1.0, owner=owner.this_process()
)
socket.send(wire.encode(start))
sys.stdin.read()
"""


@pytest.mark.parametrize("number", DEADLY)
def test_a_killed_start_does_not_look_as_if_it_waits(
    place: Place, scripts: Scripts, number: int
) -> None:
    """Ended by what it cannot withdraw for, Ctrl-\\ among it, it is not granted its turn,
    and the history says why."""
    script = scripts.spawn("sh", "-c", "ulimit -c 0; exec unitsync start ide --after clone")
    waits(place, script)
    kill_unreaped(script.process, number)
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    assert was_killed(place)
    unit = info(place)
    assert (unit.status, unit.waiting_clients, unit.given_up) == ("pending", 0, "interrupted")


@pytest.mark.parametrize("number", DEADLY)
def test_it_is_noticed_when_it_should_have_asked_again(place: Place, pid: int, number: int) -> None:
    """After 30 s; this one would have asked again after one."""
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT, place.address], stdin=subprocess.PIPE, text=True
    ) as client:
        until(lambda: info(place).waiting_clients == 1)
        kill_unreaped(client, number)
        until(lambda: was_killed(place))
        assert (info(place).waiting_clients, info(place).given_up) == (0, "interrupted")
        entry = info(place).history[-1]
        assert entry.owner is not None
        assert entry.owner.pid == client.pid


# --- who is not dead --------------------------------------------------------------

FORKED = """
import os
from time import sleep
from unitsync import Client

client = Client()
client.ping()
maker = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == maker:  # what it has open is closed earlier than it is dead
    sleep(0.001)
print(client.start("ide").run)
"""


def test_a_child_whose_parent_is_dead_has_its_own_connection(place: Place, pid: int) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FORKED], stdout=subprocess.PIPE, text=True, check=True
    )
    assert told.stdout == "1\n"


HANDED_OVER = """
import os
from time import monotonic, sleep
from unitsync.verb import perform
from unitsync.link import by_hand as wire_by_hand

by = monotonic() + 20
link = wire_by_hand.reach(os.environ["UNITSYNC_ENDPOINT"], by=by)
ask = lambda **request: perform._asked(link, {"id": "x", **request}, by)
ask(verb="ping")
maker = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == maker:  # what it has open is closed earlier than it is dead
    sleep(0.001)
for request in {"verb": "start", "unit": "ide"}, {"verb": "complete", "unit": "ide"}:
    reply = ask(**request)
    print(reply.result, reply.message)
"""


def test_a_connection_whose_maker_is_dead_starts_nothing(place: Place, pid: int) -> None:
    """It was handed over to another process, which is told why; all else goes on."""
    with place.client() as client:
        client.want("ide")
        told = subprocess.run(
            [sys.executable, "-c", HANDED_OVER], stdout=subprocess.PIPE, text=True, check=True
        )
        start, complete = told.stdout.splitlines()
        assert start.startswith(
            "error ide is not started: the process that opened this connection has died"
        )
        assert complete.startswith("ok")
        assert client.status("ide").run == 1


def test_one_that_cannot_be_seen_is_not_dead(place: Place) -> None:
    """The coordinator is in a pid namespace of its own: who is outside has no pid there."""
    apart = ["unshare", "-pf" if os.geteuid() == 0 else "-rpf", "--mount-proc"]
    if subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this user may not make a pid namespace")
    with scripts_at(place) as scripts:
        scripts.spawn(*apart, "unitsync", "serve")
        until(lambda: scripts.run("unitsync", "ping", more={"UNITSYNC_AUTOSTART": "0"}).status == 0)
        waiting = scripts.verb("start", "ide", "--after", "clone")
        waits(place, waiting)
        for verb in "start", "complete":
            assert scripts.run("unitsync", verb, "clone").status == 0
        assert waiting.end().status == 0
        assert not info(place).owner.watched  # type: ignore[union-attr]
