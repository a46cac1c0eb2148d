"""What a command says with sd_notify(3): reading it, and sending it on at its own pace."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync import command, errors, run_command, run_notes
from unitsync.notifications import DATAGRAM_BYTES_MAX, Receiver, Said
from unitsync.run_notes import Notes

PATIENCE_S = 30.0
US = {os.getuid()}


# --- one datagram ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datagram", "ready", "status"),
    [
        (b"READY=1", True, None),
        (b"READY=1\n", True, None),
        (b"X=1\nREADY=1\nSTATUS=up\n", True, "up"),
        (b"READY=0", False, None),
        (b"READY=1\r\n", False, None),
        (b"STATUS=", False, ""),
        (b"STATUS=a\nSTATUS=b", False, "a"),
        (b"STATUS=a=b c", False, "a=b c"),
        (b" STATUS=a", False, None),
        (b"STATUS", False, None),
        (b"", False, None),
        (b"\xff\nSTATUS=\xff", False, "\udcff"),
    ],
)
def test_what_a_datagram_says(datagram: bytes, ready: bool, status: str | None) -> None:
    said = Said(datagram)
    assert (said.ready, said.status) == (ready, status)


# --- receiving ------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[tuple[Any, socket.socket]]:
    """What a Receiver gets, and a socket that speaks to it."""
    environment: dict[bytes, bytes] = {}
    ours = command.notify_socket(environment)
    assert ours is not None
    assert environment[b"NOTIFY_SOCKET"][:1] == b"@"
    ours.setblocking(False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.connect(b"\0" + environment[b"NOTIFY_SOCKET"][1:])
        yield ours, theirs
    ours.close()


def test_until_there_is_no_more(place: tuple[Any, socket.socket]) -> None:
    ours, theirs = place
    receiver = Receiver(ours, b"", US)
    with pytest.raises(BlockingIOError):
        receiver.receive()
    for word in (b"STATUS=1", b"", b"STATUS=2"):
        theirs.send(word)
    ours.shutdown(socket.SHUT_RD)
    ours.setblocking(True)
    said = [receiver.receive() for _ in range(4)]
    assert [one and one.status for one in said] == ["1", None, "2", None]
    assert said[1] is not None
    assert said[3] is None


@pytest.mark.parametrize(("size", "heard"), [(0, True), (1, False), (100_000, False)])
def test_one_that_is_too_long_is_not_heard(
    place: tuple[Any, socket.socket], size: int, heard: bool
) -> None:
    ours, theirs = place
    theirs.send(b"STATUS=".ljust(DATAGRAM_BYTES_MAX + size, b"x"))
    said = Receiver(ours, b"", US).receive()
    assert said is not None
    assert (said.status is not None) is heard


def test_who_is_not_listened_to(place: tuple[Any, socket.socket]) -> None:
    ours, theirs = place
    receiver = Receiver(ours, b"", {os.getuid() + 1})
    theirs.send(b"READY=1\nSTATUS=x")
    said = receiver.receive()
    assert said is not None
    assert (said.ready, said.status) == (False, None)


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("outer", [b"", b"@nobody-is-there"])
def test_no_descriptor_is_kept(place: tuple[Any, socket.socket], outer: bytes, heard: bool) -> None:
    ours, theirs = place
    receiver = Receiver(ours, outer, US if heard else set())
    before = len(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    socket.send_fds(theirs, [b"BARRIER=1"], [write, write, write])
    os.close(write)
    assert receiver.receive() is not None
    assert os.read(read, 1) == b""  # nobody has the other end
    os.close(read)
    receiver.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_what_is_passed_on_and_what_not(place: tuple[Any, socket.socket]) -> None:
    ours, theirs = place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("")
        outer.setblocking(False)
        address = b"@" + outer.getsockname()[1:]
        receivers = [Receiver(ours, address, users) for users in (US, set())]
        for receiver in receivers:
            theirs.send(b"STATUS=a")
            receiver.receive()
            theirs.send(b"x" * (DATAGRAM_BYTES_MAX + 1))
            receiver.receive()
        for receiver in receivers:
            receiver.close()
        assert outer.recv(100) == b"STATUS=a"
        with pytest.raises(BlockingIOError):
            outer.recv(100)


def test_one_who_does_not_listen_is_not_waited_for_long(
    place: tuple[Any, socket.socket],
) -> None:
    ours, theirs = place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("")
        receiver = Receiver(ours, b"@" + outer.getsockname()[1:], US, patience_s=0)
        for number in range(2000):
            theirs.send(b"STATUS=%d" % number)
            said = receiver.receive()
            assert said is not None
            assert said.status == str(number)
        receiver.close()


# --- the socket of a command ----------------------------------------------------------


def no_socket(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("given", [{}, {b"NOTIFY_SOCKET": b"/run/systemd/notify"}])
@pytest.mark.parametrize(
    ("where", "what"), [("_socket.socket", no_socket), ("_thread.start_new_thread", no_thread)]
)
def test_where_there_can_be_none_the_environment_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, given: dict[bytes, bytes], where: str, what: object
) -> None:
    environment = given.copy()
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(where, what)
    assert run_command.ear_for(environment, lambda text: None) is None
    assert environment == given
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_ear_hears_what_was_said_before_the_end() -> None:
    environment: dict[bytes, bytes] = {}
    sent: list[str] = []
    ready = threading.Event()
    ear = run_command.ear_for(environment, told(sent), ready.set)
    assert ear is not None
    address = b"\0" + environment[b"NOTIFY_SOCKET"][1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.connect(address)
        link.send(b"READY=1")
        link.send(b"STATUS=last")
        ear.hear_out()
        assert ready.is_set()
        ear.end(failed=True)
        assert sent == ["last"]
        with pytest.raises(OSError, match=r"refused|Broken pipe"):
            link.send(b"STATUS=late")


def test_an_ear_that_hears_nothing_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "unitsync.run_notes", None)
    ear = run_command.ear_for({}, lambda text: None)
    assert ear is not None
    ear.end(failed=True)
    assert ear._notes is None


# --- the pace -------------------------------------------------------------------------


def told(sent: list[str]) -> Any:
    def send(text: str) -> Any:
        sent.append(text)
        return SimpleNamespace(result="ok")

    return send


class Slow:
    """A coordinator whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._came = threading.Semaphore(0)
        self._answers: list[Any] = []
        self._may = threading.Semaphore(0)

    def __call__(self, text: str) -> Any:
        self.asked.append(text)
        self._came.release()
        assert self._may.acquire(timeout=PATIENCE_S)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hears(self, text: str) -> None:
        assert self._came.acquire(timeout=PATIENCE_S)
        assert self.asked[-1] == text

    def answers(self, code: str = "") -> None:
        reply = SimpleNamespace(result="error" if code else "ok", code=code)
        self._answers.append(reply)
        self._may.release()

    def fails(self, problem: Exception) -> None:
        self._answers.append(problem)
        self._may.release()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notes, "EVERY_S", 0.001)
    monkeypatch.setattr(run_notes, "AGAIN_MAX_S", 0.001)


@pytest.mark.usefixtures("fast")
def test_of_many_the_latest_is_sent() -> None:
    slow = Slow()
    notes = Notes(slow)
    for number in range(100):
        notes.say(str(number))
        if not number:
            slow.hears("0")
    slow.answers()
    slow.hears("99")
    notes.say("100")
    notes.say("99")  # which it is already, when the answer has come
    slow.answers()
    notes.say("last")
    slow.hears("last")
    slow.answers()
    assert slow.asked == ["0", "99", "last"]


def test_between_two_there_is_a_pause() -> None:
    """Whoever ends it sends what is left at once."""
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    slow.answers()
    notes.say("1")
    notes.say("2")
    slow.answers()
    notes.end(failed=True)
    assert slow.asked == ["0", "2"]


def test_of_one_that_has_not_failed_nothing_more_is_sent() -> None:
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    notes.say("1")
    notes.end(failed=False)
    slow.answers()
    assert notes._done.acquire(timeout=PATIENCE_S)
    assert slow.asked == ["0"]


def test_an_end_waits_for_what_is_under_way_but_not_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_notes, "LAST_S", 0.01)
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    notes.end(failed=True)  # though there is no answer
    slow.answers()


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    "problem", [errors.Unreachable("x"), errors.Stopped("x"), errors.NotKept("x")]
)
def test_what_could_not_be_sent_is_sent_again(problem: errors.UnitsyncError) -> None:
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    slow.fails(problem)
    slow.hears("0")
    slow.answers(problem.code)
    slow.hears("0")
    notes.say("1")
    slow.fails(problem)
    slow.hears("1")
    slow.answers()


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("problem", [errors.UnknownUnit("x"), errors.IsGate("x"), OSError(5, "x")])
def test_what_will_never_be_wanted_is_not_sent_again(problem: Exception) -> None:
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    slow.fails(problem)
    notes.say("1")
    slow.hears("1")
    slow.answers(getattr(problem, "code", "internal"))
    notes.end(failed=True)
    assert slow.asked == ["0", "1"]


def test_its_text_is_a_note() -> None:
    sent: list[str] = []
    notes = Notes(told(sent))
    notes.say("a\n\x1b " + "x" * 1000)
    notes.end(failed=True)
    (text,) = sent
    assert text.startswith(r"a \x1b xxx")
    assert len(text) == 200
