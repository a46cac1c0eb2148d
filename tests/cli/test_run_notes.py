"""What a command under ``run`` says with sd_notify(3), with real processes."""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from cli.conftest import Cli, Result
from cli.test_supervised_run import history, until
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

pytestmark = [pytest.mark.usefixtures("shared_cli")]


@pytest.fixture
def say(cli: Cli) -> str:
    return program(cli.folder, SAY)


def note(cli: Cli, unit: str) -> str:
    with cli.client() as client:
        return client.status(unit).note


def status(cli: Cli, unit: str) -> str:
    with cli.client() as client:
        return str(client.status(unit).status)


class Command:
    """A ``run`` of a command that waits where it says ``next``, until the test lets it go on."""

    def __init__(self, cli: Cli, code: str, *flags: str, unit: str) -> None:
        path = cli.folder / f"go-{unit}"
        os.mkfifo(path)
        self._go = os.open(path, os.O_RDWR)
        before = f"exec 9< {path}; next() {{ read -r -u 9; }}"
        words = ("run", unit, *flags, "--", "bash", "-c", f"{before}; {code}")
        self.process = cli.spawn(*words)

    def go_on(self) -> None:
        os.write(self._go, b"\n")

    def says(self) -> str:
        return self.process.next_line()

    def end(self) -> Result:
        return self.process.end()

    def close(self) -> None:
        os.close(self._go)


Run: TypeAlias = Callable[..., Command]


@pytest.fixture
def run(cli: Cli) -> Iterator[Run]:
    commands: list[Command] = []

    def begin(code: str, *flags: str, unit: str = "u") -> Command:
        commands.append(Command(cli, code, *flags, unit=unit))
        return commands[-1]

    yield begin
    for command in commands:
        command.close()


# --- STATUS ---------------------------------------------------------------------------


def test_its_status_is_the_note_of_the_unit(cli: Cli, say: str, run: Run) -> None:
    command = run(f"{say} 'STATUS=cloning: 43 %'; next; exit 3")
    until(lambda: note(cli, "u") == "cloning: 43 %")
    command.go_on()
    assert command.end().status == 3
    assert note(cli, "u") == "cloning: 43 %"
    assert [what for what, _, _ in history(cli, "u")] == ["started", "failed"]


@with_systemd_notify
def test_by_systemd_notify(cli: Cli, run: Run) -> None:
    """Which waits until what it said is heard."""
    command = run("systemd-notify --status='cloning: 44 %' && echo heard >&2; next")
    assert command.says() == "heard"
    until(lambda: note(cli, "u") == "cloning: 44 %")
    command.go_on()
    assert command.end().status == 0
    assert note(cli, "u") == ""


@pytest.mark.parametrize("flags", [(), ("--grace", "5s")])
def test_what_is_said_last_is_kept_if_it_fails(cli: Cli, flags: tuple[str, ...]) -> None:
    """However fast it is said, and however soon it ends then."""
    words = [f"STATUS={number}" for number in range(50)]
    say = program(cli.folder, SAY_AND_DIE).split()
    for last in ("last", ""):
        call = ("run", "u", *flags, "--", *say, *words, f"STATUS={last}")
        assert cli(*call, env={"STATUS": "1"}).status == 1
        assert note(cli, "u") == last


def test_the_pipe_of_a_command_that_floods_it_never_blocks(cli: Cli) -> None:
    count = program(cli.folder, COUNT)
    assert cli("run", "u", "--", "sh", "-c", f"{count} 20000; exit 1") == (1, "", "")
    assert note(cli, "u") == "19999"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (r"'STATUS=\xff\xfe'", r"\xff\xfe"),
        (r"'STATUS=\e[31mred\a\tb'", r"\x1b[31mred\x07 b"),
        (r"'STATUS=größe 名前'", "größe 名前"),
        (r"'READY=1\nSTATUS=one\nSTATUS=two'", "one"),
        (r"'MAINPID=1\nSTATUS=a=b\nX'", "a=b"),
        (r"'status=no' '' '\n' 'XSTATUS=no' 'STOPPING=1'", "before"),
        ("'STATUS='$(printf %0500d)", "0" * 199 + "…"),
        ("'STATUS='$(printf %0100000d)", "before"),
        ("'STATUS='$(printf %04089d)", "0" * 199 + "…"),
        ("'STATUS='$(printf %04090d)", "before"),
    ],
)
def test_any_datagram(cli: Cli, say: str, said: str, kept: str) -> None:
    """Longer ones than systemd reads are not read here either."""
    said = f"$(printf %b {said})" if "\\" in said and "' '" not in said else said
    said = said.replace("$(printf %b ", '"$(printf %b ').replace("')", "')\"")
    code = f"{say} STATUS=before; {say} {said}; exit 1"
    assert cli("run", "u", "--", "bash", "-c", code) == (1, "", "")
    assert note(cli, "u") == kept


@as_root
def test_another_user_is_not_listened_to(cli: Cli, say: str) -> None:
    """Whoever may connect to a socket without a file. Only what a real user cannot forge counts."""
    cli.folder.chmod(0o711)
    other = program(cli.folder, AS_NOBODY)
    code = f"{say} STATUS=mine; {other} STATUS=not READY=1 && {say} X=1 && exit 7"
    assert cli("run", "u", "--ready", "notify", "--", "sh", "-c", code).status == 7
    assert note(cli, "u") == "mine"
    assert [what for what, _, _ in history(cli, "u")] == ["launching", "failed"]


@pytest.mark.parametrize("count", ["1", "2", "253"])
def test_descriptors_are_closed_at_once(cli: Cli, count: str) -> None:
    barrier = program(cli.folder, BARRIER)
    assert cli("run", "u", "--", "sh", "-c", f"{barrier} {count}") == (0, "", "")


# --- READY ----------------------------------------------------------------------------


def test_it_is_ready_when_it_says_so(cli: Cli, say: str, run: Run) -> None:
    db = run(f"next; {say} READY=1; next", "--ready", "notify", unit="db")
    until(lambda: status(cli, "db") == "launching")
    ide = cli.spawn("run", "ide", "--after", "db", "--requires", "start", "--", "true")
    assert "launching for" in ide.next_line()
    db.go_on()
    assert ide.end().status == 0
    assert status(cli, "db") == "started"
    db.go_on()
    assert db.end() == (0, "", "")
    assert [what for what, _, _ in history(cli, "db")] == ["launching", "started", "completed"]


def test_one_that_ends_as_soon_as_it_is_ready_has_been(cli: Cli) -> None:
    say = program(cli.folder, SAY_AND_DIE).split()
    assert cli("run", "u", "--ready", "notify", "--", *say, "READY=1") == (0, "", "")
    assert [what for what, _, _ in history(cli, "u")] == ["launching", "started", "completed"]


@pytest.mark.parametrize("said", ["READY=0", "READY=1x", "STATUS=READY=1", "ready=1"])
def test_one_that_does_not_say_so_is_not(cli: Cli, say: str, said: str) -> None:
    result = cli("run", "u", "--ready", "notify", "--", "sh", "-c", f"{say} {said}")
    assert (result.status, result.told) == (1, ["error: u: ended before it was ready"])
    words = ("run", "u", "--ready", "notify", "--run-timeout", "300ms", "--", "sleep", "60")
    assert cli(*words).told == [
        "error: u: not ready after 300 ms: it has not said READY=1 yet",
    ]


def test_with_another_probe_that_alone_counts(cli: Cli, say: str, run: Run) -> None:
    probe = f"test -e {cli.folder}/ready"
    command = run(f"{say} READY=1 STATUS=said; next; next", "--ready", probe)
    until(lambda: note(cli, "u") == "said")
    assert status(cli, "u") == "launching"
    (cli.folder / "ready").touch()
    until(lambda: status(cli, "u") == "started")
    command.go_on()
    command.go_on()
    assert command.end().status == 0


def test_each_try_speaks_for_itself(cli: Cli, say: str, run: Run) -> None:
    """What is left of the try before is not heard any more, and its note is gone."""
    once = f"test -e {cli.folder}/again"
    code = (
        f"if {once}; then next; {say} READY=1 STATUS=second; next; exit 1; fi; "
        f"touch {cli.folder}/again; "
        f"{say} READY=1 STATUS=first; exit 1"
    )
    flags = ("--ready", "notify", "--retries", "1", "--backoff", "10ms")
    command = run(code, *flags)
    assert "trying again" in command.says()
    until(lambda: status(cli, "u") == "launching" and note(cli, "u") == "")
    command.go_on()
    until(lambda: status(cli, "u") == "started")
    command.go_on()
    assert command.end().status == 1
    assert [(what, number) for what, number, _ in history(cli, "u")] == [
        *(("launching", 1), ("started", 1), ("failed", 1)),
        *(("launching", 2), ("started", 2), ("failed", 2)),
    ]
    assert note(cli, "u") == "second"


# --- who else listens -----------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def outer(request: pytest.FixtureRequest, cli: Cli) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET as systemd sets it, and what hears there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        heard.settimeout(30)
        if request.param == "path":
            heard.bind(str(cli.folder / "notify"))
            yield str(cli.folder / "notify"), heard
        else:
            heard.bind("")
            yield "@" + heard.getsockname()[1:].decode(), heard


def test_everything_is_passed_on(cli: Cli, say: str, outer: tuple[str, socket.socket]) -> None:
    address, heard = outer
    words = r'"$(printf "READY=1\nSTATUS=up")" WATCHDOG=1 X'
    code = f"test $NOTIFY_SOCKET != {address} && {say} {words}; exit 1"
    words = ("run", "u", "--ready", "notify", "--", "bash", "-c", code)
    assert cli(*words, env={"NOTIFY_SOCKET": address}) == (1, "", "")
    assert [heard.recv(4096) for _ in range(3)] == [b"READY=1\nSTATUS=up", b"WATCHDOG=1", b"X"]
    assert note(cli, "u") == "up"
    assert [what for what, _, _ in history(cli, "u")] == ["launching", "started", "failed"]


def test_what_each_try_says_is_passed_on(
    cli: Cli, say: str, outer: tuple[str, socket.socket]
) -> None:
    address, heard = outer
    words = ("run", "u", "--retries", "1", "--backoff", "1ms", "--", "sh", "-c")
    result = cli(*words, f"{say} STATUS=x; exit 1", env={"NOTIFY_SOCKET": address})
    assert result.status == 1
    assert [heard.recv(100) for _ in range(2)] == [b"STATUS=x"] * 2


def test_a_barrier_waits_for_all(cli: Cli, outer: tuple[str, socket.socket]) -> None:
    """The descriptor goes on as well; who has it last answers."""
    address, heard = outer
    barrier = program(cli.folder, BARRIER)
    process = cli.spawn(
        "run", "u", "--", "sh", "-c", f"{barrier} 1", env={"NOTIFY_SOCKET": address}
    )
    data, more, _, _ = heard.recvmsg(4096, 4096)
    assert data == b"BARRIER=1"
    (rights,) = (data for _, kind, data in more if kind == socket.SCM_RIGHTS)
    assert process.popen.poll() is None
    os.close(array.array("i", rights)[0])
    assert process.end() == (0, "", "")


def test_one_that_is_gone_harms_nobody(cli: Cli, say: str) -> None:
    code = f"{say} STATUS=alone; exit 1"
    gone = {"NOTIFY_SOCKET": str(cli.folder / "nobody")}
    assert cli("run", "u", "--", "sh", "-c", code, env=gone) == (1, "", "")
    assert note(cli, "u") == "alone"


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative"])
def test_an_address_that_cannot_be_passed_on_to_is_left_alone(cli: Cli, address: str) -> None:
    words = ("run", "u", "--", "sh", "-c", "echo $NOTIFY_SOCKET")
    assert cli(*words, env={"NOTIFY_SOCKET": address}).out == f"{address}\n"


def test_a_run_in_a_run_is_heard_by_both(cli: Cli, say: str) -> None:
    inner = f"{cli.command[0]} run inner -- sh -c '{say} STATUS=both; exit 1'"
    assert cli("run", "outer", "--", "sh", "-c", inner).status == 1
    assert (note(cli, "inner"), note(cli, "outer")) == ("both", "both")


# --- nobody is held up ----------------------------------------------------------------


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_killed_holds_up_nobody(cli: Cli, run: Run) -> None:
    """Neither the command nor its end. What was not recorded comes when there is one again."""
    assert cli("ping").status == 0
    count, say = program(cli.folder, COUNT), program(cli.folder, SAY)
    said = f"{count} 500; {say} STATUS=last; echo said >&2"
    command = run(f"{say} STATUS=first; next; {said}; next")
    until(lambda: note(cli, "u") == "first")
    with cli.client() as client:
        os.kill(client.ping().pid, signal.SIGKILL)
    command.go_on()
    assert command.says() == "said"
    assert cli("ping").status == 0
    until(lambda: note(cli, "u") == "last")
    command.go_on()
    assert command.end() == (0, "", "said\n")
    assert status(cli, "u") == "completed"


@pytest.mark.own_coordinator
def test_a_coordinator_that_is_stopped_is_not_started_for_a_note(
    cli: Cli, say: str, run: Run
) -> None:
    assert cli("ping").status == 0
    command = run(f"next; {say} STATUS=x; echo said >&2; next")
    until(lambda: status(cli, "u") == "started")
    cli.ok("stop")
    command.go_on()
    assert command.says() == "said"
    assert not (cli.folder / "c" / "coordinator.sock").exists()
    command.go_on()
    assert command.end() == (0, "", "said\n")
    assert status(cli, "u") == "completed"


@pytest.mark.own_coordinator
def test_a_coordinator_that_hangs_does_not_hold_up_the_command(cli: Cli, run: Run) -> None:
    assert cli("ping").status == 0
    count = program(cli.folder, COUNT)
    trap = "trap 'echo asked >&2; kill $! || :; exit 0' USR1"
    said = "sleep 60 > /dev/null 2>&1 & echo said >&2; wait"
    command = run(f"{trap}; {count} 1; next; {count} 500; {said}")
    until(lambda: note(cli, "u") == "0")
    with cli.client() as client:
        pid = client.ping().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        command.go_on()
        assert command.says() == "said"
        command.process.send(signal.SIGUSR1)  # and signals go through
        assert command.says() == "asked"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert command.end().status == 0


def test_of_a_run_that_is_killed_nothing_is_left(cli: Cli, say: str, run: Run) -> None:
    command = run(f"echo $NOTIFY_SOCKET >&2; {say} STATUS=x; exec sleep 60")
    address = command.says()
    until(lambda: note(cli, "u") == "x")
    assert f" {address}\n" in Path("/proc/net/unix").read_text()
    command.process.send(signal.SIGKILL)
    command.end()
    assert f" {address}\n" not in Path("/proc/net/unix").read_text()
    until(lambda: status(cli, "u") == "failed")
    assert note(cli, "u") == "x"


def test_a_command_that_says_nothing_ends_as_before(cli: Cli) -> None:
    assert cli("run", "u", "--", "sh", "-c", "exit 7") == (7, "", "")
    assert note(cli, "u") == ""
