"""The express path is the one that is taken, not only one that gives the same answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import zmq

from support.daemon import short_folder
from unitsync import Client, wire
from unitsync.link import by_hand as wire_by_hand

PATIENCE_MS = 20_000

CALLS = 30
"""What depends on which bytes the coordinator reads together comes out now and then."""

PROGRAM = """
import sys
from unitsync.verb import perform

status = perform.run(sys.argv[1:])
dear = {"zmq", "msgspec", "typer", "rich", "argparse", "socket", "re", "enum", "json", "datetime"}
heavy = dear & set(sys.modules)
sys.exit("left" if status is None else status or f"imported: {heavy}" if heavy else status)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("want", "a", "b"),
        ("start", "a"),
        ("complete", "a"),
        ("ping",),
        ("status", "a"),
        ("run", "a", "--timeout", "10", "--", "true"),
        ("want", "a", "b", "--requires", "completion", "--optional"),
        ("unwant", "a", "b"),
        ("start", "a", "--after", "b", "--optional", "--no-wait", "--on-skip=wait"),
        ("start", "a", "--timeout", "1m30.5s", "--on-owner-exit", "warn", "--owner", "1"),
        ("run", "a", "--after", "b, c", "--requires=start", "--optional", "--", "true"),
        ("run", "a", "--log", "--prefix", "--cwd", "/", "--", "echo", "output"),
        ("run", "a", "--run-timeout", "9", "--grace=1", "--retries", "2", "--", "true"),
        ("run", "a", "--ready", "exit 0", "--", "sleep", "0.3"),
        ("run", "a", "--ready", "line:ready", "--", "echo", "ready"),
        ("wait", "b", "a", "--any", "--for", "completion"),
        ("complete", "a", "--even-so", "--exit-code", "3", "--owner", "1"),
        ("fail", "a", "--reason", "it is\nso", "--owner=1"),
        ("note", "a", "cloning: 43 %"),
        ("note", "a", "43 %\n" * 99),
        ("reset", "a", "--force"),
        ("reset", "--all", "--force"),
        ("status", "a", "-o", "table"),
        ("status", "a", "-o", "json"),
        ("list", "--output", "json"),
        ("why", "--output=json"),
        ("why", "a", "--output=json"),
        ("ping", "--output=json"),
    ],
    ids=" ".join,
)
def test_a_plain_verb_never_leaves_the_express_path(
    coordinator: str, words: tuple[str, ...]
) -> None:
    environ = {**os.environ, "UNITSYNC_ENDPOINT": coordinator}
    if words[0] in ("complete", "fail", "note", "unwant", "reset", "wait"):
        with Client(coordinator) as client:
            client.start("a")
            client.complete("a")
            client.want("a", "b")
    for _ in range(CALLS if len(words) < 3 else 1):
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# --- interrupted --------------------------------------------------------------------


class Deaf:
    """Hears what a verb asks, in the place of a coordinator that has no time for it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self.address = address
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(address)

    def hears(self) -> tuple[bytes, wire.AnyRequest]:
        """Which connection, and the request."""
        assert self._socket.poll(PATIENCE_MS), "nothing is asked"
        peer, _, frame = self._socket.recv_multipart()
        return peer, wire.decode_request(frame)

    def says(self, peer: bytes, reply: wire.AnyReply | bytes) -> None:
        frame = reply if isinstance(reply, bytes) else wire.encode(reply)
        self._socket.send_multipart((peer, b"", frame))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    with short_folder() as folder, zmq.Context() as context:
        (folder / "c").mkdir(mode=0o700)
        deaf = Deaf(context, f"ipc://{folder}/c/coordinator.sock")
        yield deaf
        deaf.close()


MAIN = "from unitsync.express import main; main()"


@contextmanager
def verb(
    address: str, *words: str, before: str = "", more: Mapping[str, str] = {}
) -> Iterator[subprocess.Popen[str]]:
    """*before*: what the process does first. *more*: of its environment."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", f"{before}\n{MAIN}", *words],
        env={**os.environ, "UNITSYNC_ENDPOINT": address, **more},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_start_that_is_interrupted_before_its_answer_is_taken_back(deaf: Deaf) -> None:
    """In its own startup: in another one that would register the unit."""
    with verb(deaf.address, "start", "a", more={"UNITSYNC_STARTUP": "one"}) as process:
        _, start = deaf.hears()
        process.send_signal(signal.SIGINT)
        peer, withdrawal = deaf.hears()
        assert isinstance(withdrawal, wire.Withdraw)
        assert (withdrawal.unit, withdrawal.start_id) == ("a", start.id)
        assert (start.startup, withdrawal.startup) == ("one", "one")
        deaf.says(peer, wire.Ok(id=withdrawal.id, epoch="e"))
        assert process.communicate()[1] == "error: interrupted\n"
    assert process.returncode == 130


@pytest.mark.parametrize("words", [("want", "a", "b"), ("complete", "a"), ("wait", "a")])
def test_interrupted_it_says_so_in_one_line(deaf: Deaf, words: tuple[str, ...]) -> None:
    with verb(deaf.address, *words) as process:
        deaf.hears()
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == "error: interrupted\n"
    assert process.returncode == 130


AT_THE_GRANT = """
import os, signal
from unitsync.run import plain as run_command
hold_signals = run_command.hold_signals

def interrupted():
    os.kill(os.getpid(), signal.SIGTERM)
    return hold_signals()

run_command.hold_signals = interrupted
"""


def test_a_run_that_is_interrupted_at_its_grant_takes_it_back(coordinator: str) -> None:
    """Not later: nobody may be able to see that its process is gone."""
    with verb(coordinator, "run", "a", "--", "true", before=AT_THE_GRANT) as process:
        assert process.wait(PATIENCE_MS / 1000) == 128 + signal.SIGTERM
    with Client(coordinator) as client:
        assert client.status("a").reason == "interrupted"


def test_the_end_of_a_run_is_repeated_with_its_id(deaf: Deaf) -> None:
    """Under another one it would come from a script whose run is over, if a reset or another
    run came in between."""
    with verb(deaf.address, "run", "a", "--", "true") as process:
        peer, start = deaf.hears()
        deaf.says(peer, wire.Granted(id=start.id, epoch="e", run=1))
        peer, end = deaf.hears()
        deaf.says(peer, wire.Error(id=end.id, epoch="e", code="not_kept", message="no room"))
        peer, again = deaf.hears()
        assert isinstance(end, wire.Complete)
        assert isinstance(again, wire.Complete)
        assert (again.id, again.unit, again.epoch) == (end.id, end.unit, end.epoch)
        deaf.says(peer, wire.Ok(id=again.id, epoch="e"))
        assert process.communicate()[1] == ""
    assert process.returncode == 0


class Slow:
    """A socket with a clock of its own, on which an answer arrives after *seconds*."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self._arrives = seconds
        self._timeout = 0.0
        self.waits: list[float] = []

    def sendall(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        self._timeout = seconds

    def recv(self, count: int) -> bytes:
        self.waits.append(self._timeout)
        if self._arrives > self.now + self._timeout:
            self.now += self._timeout
            raise TimeoutError
        self.now = self._arrives
        return wire_by_hand.GREETING + wire_by_hand.READY + b"\x01\x00" + b"\x00\x06answer"


def test_no_system_call_lasts_long_enough_for_a_signal_to_seem_unheard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that comes just before such a call does not interrupt it."""
    socket = Slow(12)
    monkeypatch.setattr(wire_by_hand, "monotonic", lambda: socket.now)
    link = wire_by_hand.Link(socket)
    link.send(b"", 35)
    assert link.receive(35) == b"answer"
    assert socket.waits == [5, 5, 5]

    socket = Slow(100)
    with pytest.raises(TimeoutError):
        wire_by_hand.Link(socket).send(b"", 13)
    assert socket.waits == [5, 5, 3]


class Piecemeal(Slow):
    """Gives out *data* byte by byte, and nothing more for now after each."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = [data[at : at + 1] for at in range(len(data))]
        self._turn = False

    def recv(self, count: int) -> bytes:
        self._turn = not self._turn
        if self._turn:
            self.now += self._timeout
            raise TimeoutError
        return self._data.pop(0)


def test_a_reply_that_comes_after_its_time_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever had arrived of it when it was given up."""
    answer = b"\x01\x00" + b"\x02" + (300).to_bytes(8, "big") + b"x" * 300
    socket = Piecemeal(wire_by_hand.GREETING + wire_by_hand.READY + answer)
    monkeypatch.setattr(wire_by_hand, "monotonic", lambda: socket.now)
    link = wire_by_hand.Link(socket)
    given_up = 0
    for act in (lambda: link.send(b"", socket.now + 1), lambda: link.receive(socket.now + 1)):
        while True:
            try:
                got = act()
            except TimeoutError:
                given_up += 1
            else:
                break
    assert got == b"x" * 300
    assert given_up > 300
