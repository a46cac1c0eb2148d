"""What a command says with sd_notify(3): reading it, and sending it on at its own pace."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from support.users import as_root
from unitsync import errors
from unitsync.process import command
from unitsync.process.notifications import DATAGRAM_BYTES_MAX, Receiver, Said
from unitsync.run import notes as run_notes
from unitsync.run import plain as run_command
from unitsync.run.notes import Notes

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


def test_no_command_inherits_one(
    place: tuple[Any, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may start one at this moment."""
    ours, theirs = place
    inherited: list[bool] = []

    def close(descriptor: int) -> None:
        inherited.append(os.get_inheritable(descriptor))
        real(descriptor)

    real = os.close
    receiver = Receiver(ours, b"@nobody-is-there", US)
    socket.send_fds(theirs, [b"X"], [0, 0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        receiver.receive()
    assert inherited == [False, False]
    receiver.close()


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


class Waits:
    """A lock that says how long it is waited for."""

    def __init__(self, lock: Any) -> None:
        self.asked: list[float] = []
        self.release = lock.release
        self._lock = lock

    def acquire(self, timeout: float) -> bool:
        self.asked.append(timeout)
        return bool(self._lock.acquire(timeout=PATIENCE_S))


def test_an_end_waits_until_it_is_heard_but_not_forever() -> None:
    ear = run_command.ear_for({}, lambda text: None)
    assert ear is not None
    waits = ear._heard = Waits(ear._heard)  # type: ignore[assignment]
    ear.hear_out()
    ear.hear_out()
    ear.end(failed=True)
    assert waits.asked == [run_command._HEARD_S]  # type: ignore[attr-defined]


def test_an_empty_datagram_is_no_end() -> None:
    environment: dict[bytes, bytes] = {}
    sent: list[str] = []
    ear = run_command.ear_for(environment, told(sent))
    assert ear is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.connect(b"\0" + environment[b"NOTIFY_SOCKET"][1:])
        link.send(b"")
        link.send(b"STATUS=x")
    ear.end(failed=True)
    assert sent == ["x"]


def test_an_ear_that_hears_nothing_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    stand_in = SimpleNamespace(Notes=loaded.append, listen=lambda *_: None)
    monkeypatch.setitem(sys.modules, "unitsync.run.notes", stand_in)
    ear = run_command.ear_for({}, lambda text: None)
    assert ear is not None
    ear.end(failed=True)
    assert loaded == []


@pytest.mark.parametrize(("words", "failed"), [(["true"], False), (["false"], True)])
def test_a_run_says_whether_its_command_has_failed(
    monkeypatch: pytest.MonkeyPatch, words: list[str], failed: bool
) -> None:
    told: list[bool] = []
    ear = SimpleNamespace(end=lambda *, failed: told.append(failed))
    monkeypatch.setattr(run_command, "ear_for", lambda *_: ear)
    monkeypatch.setattr(run_command, "_accompany", lambda pid, group: os.waitpid(pid, 0)[1])
    before = signal.getsignal(signal.SIGCHLD)
    try:
        run_command.carry_out(words, "u", "epoch", 1, set(), lambda text: None)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert told == [failed]


@as_root
def test_root_may_speak_for_a_command_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    test_an_ear_hears_what_was_said_before_the_end()


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
        self.answered = 0
        self._came = threading.Semaphore(0)
        self._answers: list[Any] = []
        self._may = threading.Semaphore(0)

    def __call__(self, text: str) -> Any:
        self.asked.append(text)
        self._came.release()
        assert self._may.acquire(timeout=PATIENCE_S)
        self.answered += 1
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


class Pauses:
    """A lock that is never released, and says how long it is waited for."""

    def __init__(self, notes: Notes) -> None:
        self.asked: list[float] = []
        self._reached = threading.Semaphore(0)
        self._over = threading.Semaphore(0)
        notes._pause = self  # type: ignore[assignment]

    def acquire(self, timeout: float) -> bool:
        self.asked.append(timeout)
        self._reached.release()
        assert self._over.acquire(timeout=PATIENCE_S)
        return False

    def reached(self) -> None:
        assert self._reached.acquire(timeout=PATIENCE_S)

    def over(self) -> None:
        self._over.release()


def test_how_long_the_pauses_are() -> None:
    """Longer and longer while it cannot be sent."""
    slow = Slow()
    notes = Notes(slow)
    pauses = Pauses(notes)
    notes.say("0")
    for _ in range(7):
        slow.hears("0")
        slow.answers("unreachable")
        pauses.reached()
        pauses.over()
    slow.hears("0")
    slow.answers()
    pauses.reached()
    notes.say("0")  # as it is
    notes.say("1")
    assert slow.asked == ["0"] * 8  # not before the pause is over
    pauses.over()
    slow.hears("1")
    slow.answers()
    pauses.reached()
    pauses.over()
    assert pauses.asked == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 1.0, 1.0]


def test_what_it_is_already_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    notes = Notes(slow)
    pauses = Pauses(notes)
    notes.say("0")
    slow.hears("0")
    notes.say("1")
    notes.say("0")
    slow.answers()
    pauses.reached()
    pauses.over()
    until_idle(notes)
    monkeypatch.setattr("_thread.start_new_thread", no_thread)
    notes.say("0")
    assert slow.asked == ["0"]


def until_idle(notes: Notes) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while notes._works:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.usefixtures("fast")
def test_what_may_have_been_sent_is_taken_back() -> None:
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    slow.answers()
    notes.say("1")
    slow.hears("1")
    notes.say("0")
    slow.fails(errors.Unreachable("no answer"))
    slow.hears("0")
    slow.answers()
    assert slow.asked == ["0", "1", "0"]


def test_the_last_one_is_tried_once() -> None:
    slow = Slow()
    notes = Notes(slow)
    notes.say("0")
    slow.hears("0")
    for _ in range(3):
        slow.fails(errors.Unreachable("x"))
    notes.end(failed=True)
    until_idle(notes)
    assert slow.asked == ["0"]


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
    notes.end(failed=True)
    assert slow.answered == 0
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
    until_idle(notes)
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
