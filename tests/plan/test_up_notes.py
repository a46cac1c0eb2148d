"""What the commands of a plan say with sd_notify(3), with real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from cli.conftest import Cli, Process, cli, shared_cli
from plan.up import Up, eventually, interrupt, up
from support.notify import (
    AS_NOBODY,
    BARRIER,
    COUNT,
    SAY,
    SAY_AND_DIE,
    program,
    with_systemd_notify,
)
from support.users import as_root

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


@pytest.fixture
def say(cli: Cli) -> str:
    return program(cli.folder, SAY)


class Plan:
    """An ``up`` of a plan whose commands wait where they say ``next``, until the test lets one of
    them go on."""

    def __init__(self, up: Up, text: str) -> None:
        path = up.folder / "go"
        os.mkfifo(path)
        self._go = os.open(path, os.O_RDWR)
        before = f"exec 9< {path}; next() {{ read -r line <&9; }}; "
        self.process: Process = up.spawn(text.replace('run = "', f'run = "{before}'))

    def go_on(self) -> None:
        os.write(self._go, b"\n")

    def close(self) -> None:
        os.close(self._go)


@pytest.fixture
def plan(up: Up) -> Iterator[Plan]:
    plans: list[Plan] = []

    def begin(text: str) -> Plan:
        plans.append(Plan(up, text))
        return plans[-1]

    yield begin  # type: ignore[misc]
    for one in plans:
        one.close()


def test_its_status_is_the_note_of_the_unit(up: Up, plan: type[Plan], say: str) -> None:
    begun = plan(f"""
[unit.a]
run = "{say} STATUS=one; next; {say} STATUS=two STATUS=last; exit 3"
[unit.b]
run = "{say} STATUS=b; next"
""")
    eventually(lambda: (up.note("a"), up.note("b")) == ("one", "b"), "the notes")
    begun.go_on()
    begun.go_on()
    assert begun.process.end().status == 1
    assert (up.note("a"), up.note("b")) == ("last", "")


def test_what_is_said_last_is_kept_if_it_fails(up: Up) -> None:
    words = " ".join(f"STATUS={number}" for number in range(50))
    say = program(up.folder, SAY_AND_DIE)
    assert up(f'[unit.a]\nrun = "STATUS=1 exec {say} {words} STATUS=last"').status == 1
    assert up.note("a") == "last"


def test_a_command_that_floods_it_is_not_held_up(up: Up) -> None:
    count = program(up.folder, COUNT)
    units = "".join(f'[unit.u{number}]\nrun = "{count} 3000; exit 1"\n' for number in range(4))
    assert up(units).status == 1
    assert {up.note(f"u{number}") for number in range(4)} == {"2999"}


def test_it_is_ready_when_it_says_so(up: Up, plan: type[Plan], say: str) -> None:
    begun = plan(f"""
[unit.db]
run = "next; touch said; {say} READY=1; next"
ready = "notify"
[unit.ide]
run = "test -e said"
after = [{{ unit = "db", requires = "start" }}]
""")
    up.await_status("db", "launching")
    begun.go_on()
    up.await_status("ide", "completed")
    assert up.statuses()["db"] == "started"
    begun.go_on()
    assert begun.process.end().status == 0


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("READY=1", "completed"),
        ("STATUS=x", "failed: ended before it was ready"),
    ],
)
def test_one_that_ends_at_once(up: Up, said: str, outcome: str) -> None:
    say = program(up.folder, SAY_AND_DIE)
    done = up(f'[unit.db]\nrun = "exec {say} {said}"\nready = "notify"')
    assert f"db {outcome.split(':')[0]}" in done.err
    assert outcome.split(": ")[-1] in done.err


def test_one_that_never_says_so(up: Up) -> None:
    done = up('[unit.db]\nrun = "sleep 60"\nready = "notify"\ntimeout = "300ms"')
    assert "not ready after 300 ms: it has not said READY=1 yet" in done.err


def test_with_another_probe_that_alone_counts(up: Up, plan: type[Plan], say: str) -> None:
    begun = plan(f"""
[unit.db]
run = "{say} READY=1 STATUS=said; next"
ready = "test -e ready"
""")
    eventually(lambda: up.note("db") == "said", "the note")
    assert up.statuses()["db"] == "launching"
    (up.folder / "ready").touch()
    up.await_status("db", "started")
    begun.go_on()
    assert begun.process.end().status == 0


def test_each_try_speaks_for_itself(up: Up, plan: type[Plan], say: str) -> None:
    begun = plan(f"""
[unit.db]
run = "if test -e again; then next; exit 1; fi; touch again; {say} READY=1 STATUS=first; exit 1"
ready = "notify"
retries = 1
backoff = "10ms"
""")
    eventually(lambda: up.runs("db") == 1 and up.statuses()["db"] == "launching", "the retry")
    assert up.note("db") == ""
    begun.go_on()
    assert begun.process.end().status == 1
    assert up.note("db") == ""


@with_systemd_notify
def test_by_systemd_notify(up: Up) -> None:
    done = up("""
[unit.db]
run = "systemd-notify --ready --status='serving'; exit 1"
ready = "notify"
""")
    assert "db ready" in done.err
    assert up.note("db") == "serving"


@pytest.mark.parametrize("count", ["1", "253"])
def test_descriptors_are_closed_at_once(up: Up, count: str) -> None:
    assert up(f'[unit.a]\nrun = "{program(up.folder, BARRIER)} {count}"').status == 0


@as_root
def test_another_user_is_not_listened_to(up: Up, say: str) -> None:
    up.folder.chmod(0o711)
    other = program(up.folder, AS_NOBODY)
    done = up(f'[unit.a]\nrun = "{say} STATUS=mine; {other} STATUS=not && exit 7"')
    assert "exit status 7" in done.err
    assert up.note("a") == "mine"


@as_root
@with_systemd_notify
def test_the_user_of_the_unit_may_speak_for_it(up: Up) -> None:
    done = up("""
[unit.a]
run = "cd /; systemd-notify --ready --status=mine && exit 7"
user = "nobody"
ready = "notify"
""")
    assert "exit status 7" in done.err
    assert up.note("a") == "mine"


def test_what_a_command_says_is_not_said_of_the_whole_plan(up: Up, say: str) -> None:
    """Whoever waits for ``up`` to be ready would take the first service for all of them."""
    up.write(f'[unit.a]\nrun = "{say} READY=1 STATUS=x; echo $NOTIFY_SOCKET; exit 1"')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("")
        outer.setblocking(False)
        address = "@" + outer.getsockname()[1:].decode()
        done = up.cli("up", env={"NOTIFY_SOCKET": address})
        assert done.status == 1
        assert "a | @" in done.out
        assert address not in done.out
        with pytest.raises(BlockingIOError):
            outer.recv(100)
    assert up.note("a") == "x"


def test_to_whom_the_plan_sends_it_it_is_passed_on(up: Up, say: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("")
        outer.settimeout(30)
        address = "@" + outer.getsockname()[1:].decode()
        text = f'[unit.a]\nrun = "{say} STATUS=x; exit 1"\nenv = {{ NOTIFY_SOCKET = "{address}" }}'
        assert up(text).status == 1
        assert outer.recv(100) == b"STATUS=x"
    assert up.note("a") == "x"


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_killed_holds_up_nobody(up: Up, plan: type[Plan], say: str) -> None:
    assert up.cli("ping").status == 0
    count = program(up.folder, COUNT)
    begun = plan(f"""
[unit.a]
run = "{say} STATUS=0; next; {count} 500; touch said; next; {say} STATUS=more; exit 3"
""")
    eventually(lambda: up.note("a") == "0", "the note")
    with up.cli.client() as client:
        os.kill(client.ping().pid, signal.SIGKILL)
    begun.go_on()
    up.await_file("said")
    assert up.cli("ping").status == 0
    begun.go_on()
    assert begun.process.end().status == 1
    assert up.statuses()["a"] == "failed"


def test_of_an_up_that_is_interrupted_nothing_is_left(up: Up, plan: type[Plan]) -> None:
    begun = plan('[unit.a]\nrun = "echo $NOTIFY_SOCKET > address; next"')
    eventually(lambda: up.has("address", "@"), "the address")
    address = (up.folder / "address").read_text()
    with open("/proc/net/unix") as sockets:
        assert f" {address}" in sockets.read()
    interrupt(begun.process)
    with open("/proc/net/unix") as sockets:
        assert f" {address}" not in sockets.read()
