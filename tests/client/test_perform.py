"""What a verb does between its request and its exit status, in the process of the tests."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from support.daemon import short_folder
from unitsync import errors, wire
from unitsync.link import autostart, endpoint, spawn_lock
from unitsync.link.absent import NothingKept, NotYet
from unitsync.link.by_hand import Plain, unpack
from unitsync.link.conversation import REQUESTS, Autostart, Conversation, Done
from unitsync.output import answers as output
from unitsync.run import plain as run_command
from unitsync.run import supervised as supervised_run
from unitsync.run import verb as run_verb
from unitsync.verb import perform
from unitsync.verb.commandline import Call


def plain(reply: wire.AnyReply) -> Any:
    return Plain(unpack(wire.encode(reply), 0)[0])


@pytest.mark.parametrize(
    ("before", "status"), [(signal.SIG_DFL, 128 + signal.SIGTERM), (signal.SIG_IGN, 0)]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_wait(before: signal.Handlers, status: int, number: int) -> None:
    """Who had it ignored, as with nohup, goes on."""
    kept = {each: signal.signal(each, before) for each in (signal.SIGTERM, signal.SIGHUP)}
    ended = 0
    try:
        perform._let_signals_raise()
        signal.raise_signal(number)
    except SystemExit as end:
        ended = int(str(end.code))
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert ended == (status and 128 + number)


class Full:
    """A stream on a disk that has no room left."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    isatty = staticmethod(lambda: False)
    flush = close = fileno = lambda self: self.write("")


UNIT = wire.UnitInfo("a", wire.Status.PENDING, True)


@pytest.mark.parametrize(
    ("words", "reply", "done"),
    [
        ("start a", wire.Granted(id="", run=1, out=["line"]), True),
        ("complete a", wire.Ok(id="", out=["line"]), True),
        ("wait a b --any", wire.Ok(id="", units=["a"]), False),
        ("status a", wire.StatusReply(id="", out=["line"], unit=UNIT), False),
        ("list", wire.ListReply(id="", units=[UNIT], total=1), False),
        ("why", wire.WhyReply(id="", tree=wire.WhyNode(UNIT)), False),
        (
            "ping",
            wire.Pong(
                "", protocol=1, pid=1, startup="", units=0, edges=0, since=0, id="", out=["Success"]
            ),
            False,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_done_stays_done_where_stdout_is_full(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: str,
    reply: wire.AnyReply,
    done: bool,
) -> None:
    """A script goes on by the status; but what it has asked for it must get, or hear."""
    verb, *names = [word for word in words.split() if word[:2] != "--"]
    call = Call(verb, names, {"--any": []} if "--any" in words else {}, {})
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(output, "silence", lambda descriptor: None)
    assert output.show(call, [plain(reply)]) == (0 if done else 1)
    kind = "warning" if done else "error"
    assert capfd.readouterr().err.startswith(f"{kind}: cannot write to stdout: no space left")


def test_an_error_without_its_lines_is_none_the_less_an_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    reply = wire.Error(id="", code="skipped", message="a is\nskipped", hint="unitsync why a")
    assert output.finish(plain(reply)) == 3
    assert capfd.readouterr().err == "error: a is\\nskipped\nhint: unitsync why a\n"


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (BrokenPipeError(), ""),  # nobody reads it any more, as with head(1)
        (OSError(28, "No space left on device"), "cannot write to stdout: no space left on device"),
    ],
    ids=["gone", "full"],
)
def test_stdout_that_takes_no_more_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, problem: OSError, why: str
) -> None:
    """What is still buffered for it would fail again when the interpreter ends."""
    silenced: list[int] = []

    def write_lines(*_: Any) -> None:
        raise problem

    monkeypatch.setattr(output, "write_lines", write_lines)
    monkeypatch.setattr(output, "silence", silenced.append)
    assert output.print_out(["line"]) == why
    assert silenced == [1]


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (errors.Unreachable("nobody is there", hint="go there"), ("nobody is there", "go there")),
        (ImportError("zmq"), ("unitsync is not installed completely any more: zmq", "")),
        (KeyboardInterrupt(), ("interrupted", "")),
    ],
    ids=["unreachable", "uninstalled", "interrupted"],
)
def test_the_status_of_a_command_outlasts_what_keeps_its_end_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException, why: tuple[str, str]
) -> None:
    granted = plain(wire.Granted(id="", epoch="e1", run=1))
    asked: list[dict[str, Any]] = []
    warned: list[tuple[str, ...]] = []

    def converse(address: str, request: dict[str, Any], *rest: Any, **more: Any) -> Any:
        asked.append(request)
        if len(asked) > 1:
            raise problem
        more["on_granted"]()
        return granted

    ended = run_command.Ended(7, "exit status 7")
    monkeypatch.setattr(perform, "converse", converse)
    monkeypatch.setattr(run_command, "hold_signals", set)
    monkeypatch.setattr(run_command, "carry_out", lambda *_: ended)
    monkeypatch.setattr(run_command, "let_signals_go", lambda mask: None)
    monkeypatch.setattr(run_command, "warn_not_recorded", lambda unit, *told: warned.append(told))
    environ = {"UNITSYNC_STARTUP": "one"}
    call = Call("run", ["ide"], {}, environ, ["sh", "-c", "exit 7"])
    monkeypatch.setattr(sys, "argv", ["unitsync", "run", "ide", "--", "sh", "-c", "exit 7"])
    assert perform.perform(call) == 7
    assert warned == [why]
    assert (asked[1]["verb"], asked[1]["epoch"], asked[1]["reason"]) == (
        ("fail", "e1", "exit status 7")
    )
    assert [request["startup"] for request in asked] == ["one", "one"]


@pytest.mark.parametrize(
    ("problem", "status", "told"),
    [
        (errors.TimedOut("it timed out", hint="wait"), 124, "error: it timed out\nhint: wait\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(2, "No such file", "/x"), 1, "error: /x: No such file\n"),
        (ImportError("zmq"), 1, "error: unitsync is not installed completely any more: zmq\n"),
        (KeyError("x"), 1, "error: this is a defect of unitsync: KeyError: 'x'\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_goes_wrong_is_told_in_lines(
    capfd: pytest.CaptureFixture[str], problem: BaseException, status: int, told: str
) -> None:
    assert output.report_any(problem) == status
    assert capfd.readouterr().err.startswith(told)


def test_the_lock_for_a_start_is_not_kept_by_who_does_not_start_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be held as long as this verb waits, and no other could start one."""

    def is_there(*_: Any) -> bool:
        assert spawn_lock._kept is not None  # nobody was there before
        raise NotYet("it accepts no connections")

    monkeypatch.setattr(endpoint, "is_there", is_there)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "1")
    with short_folder() as folder:
        connection = perform._Connection(f"ipc://{folder}/c/coordinator.sock", REQUESTS["start"])
        with pytest.raises(NotYet):
            connection.open(told=False, by=monotonic() + 10)
    assert spawn_lock._kept is None


@pytest.mark.parametrize(
    ("may", "autostart", "starting"),
    [
        (REQUESTS["start"], "", True),
        (REQUESTS["start"], "1", True),
        (REQUESTS["start"], "0", False),
        (REQUESTS["list"], "", False),
    ],
    ids=["waits", "may", "may not", "looks"],
)
def test_only_who_would_start_one_waits_while_another_does(
    monkeypatch: pytest.MonkeyPatch, may: Any, autostart: str, starting: bool
) -> None:
    """Or even takes the lock for it."""
    asked: list[bool] = []
    monkeypatch.setattr(perform, "reach", lambda *_, **how: asked.append(how["starting"]) or Says())
    monkeypatch.setenv("UNITSYNC_AUTOSTART", autostart)
    perform._Connection("ipc:///nowhere/s", may).open(told=False, by=0.0)
    assert asked == [starting]


@pytest.mark.parametrize(
    ("problem", "passed_on"),
    [(None, True), (errors.Unreachable("nobody"), True), (KeyboardInterrupt(), False)],
    ids=["recorded", "unreachable", "interrupted"],
)
def test_after_an_interrupt_the_rest_of_the_output_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException | None, passed_on: bool
) -> None:
    finished: list[bool] = []

    class Run:
        def __init__(self, *_: Any) -> None: ...

        carry_out = staticmethod(lambda: run_command.Ended(7, "exit status 7"))
        finish = staticmethod(lambda: finished.append(True))

    def converse(address: str, request: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if request["verb"] == "fail" and problem is not None:
            raise problem
        more.get("on_granted", bool)()
        return plain(wire.Granted(id="", epoch="e1", run=1))

    monkeypatch.setattr(supervised_run, "SupervisedRun", Run)
    monkeypatch.setattr(perform, "converse", converse)
    monkeypatch.setattr(run_command, "hold_signals", set)
    monkeypatch.setattr(sys, "argv", ["unitsync", "run", "ide", "--prefix", "--", "true"])
    call = Call("run", ["ide"], {"--prefix": []}, {}, ["true"])
    assert perform.perform(call) == 7
    assert bool(finished) is passed_on


def test_all_pages_are_of_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that has lost its state meanwhile says so instead of going on."""
    first = wire.ListReply(id="", epoch="e1", units=[UNIT], total=2, next=1)
    pages = [first, wire.ListReply(id="", epoch="e1", units=[UNIT], total=2)]
    asked: list[dict[str, Any]] = []

    def converse(address: str, request: dict[str, Any], *rest: Any) -> Any:
        asked.append(request)
        return plain(pages[len(asked) - 1])

    monkeypatch.setattr(perform, "converse", converse)
    monkeypatch.setattr(output, "show", lambda call, pages: len(pages))
    assert perform.perform(Call("list", [], {}, {})) == 2
    assert [request.get("offset") for request in asked] == [None, 1]
    assert [request.get("epoch") for request in asked] == [None, "e1"]


@pytest.mark.parametrize("verb", ["list", "why"])
def test_pages_before_an_error_are_no_answer(capfd: pytest.CaptureFixture[str], verb: str) -> None:
    first = {
        "list": wire.ListReply(id="", epoch="e1", units=[UNIT], total=2, next=1),
        "why": wire.WhyReply(id="", epoch="e1", next=1),
    }[verb]
    error = wire.Error(
        id="", exit=69, code="state_changed", message="it has", err=["error: it has"]
    )
    assert output.show(Call(verb, [], {}, {}), [plain(first), plain(error)]) == 69
    assert capfd.readouterr() == ("", "error: it has\n")


@pytest.mark.parametrize(
    ("unit", "startup", "wrong"),
    [("\udcff", "a startup", errors.InvalidName), ("a", "\udcff", errors.UsageError)],
)
def test_text_that_is_not_utf8(unit: str, startup: str, wrong: type[Exception]) -> None:
    """Only what is a name is said to be a wrong one."""
    call = Call("start", [unit], {}, {"UNITSYNC_STARTUP": startup})
    with pytest.raises(errors.UsageError) as caught:
        perform.converse("ipc:///nowhere/s", call.request, REQUESTS["start"])
    assert type(caught.value) is wrong


class Says:
    """A link on which *frames* arrive, one after the other."""

    def __init__(self, *frames: bytes) -> None:
        self.sent: list[dict[str, Any]] = []
        self._frames = list(frames)

    def send(self, frame: bytes, by: float) -> None:
        self.sent.append(unpack(frame, 0)[0])

    def receive(self, by: float) -> bytes:
        return self._frames.pop(0)

    def close(self) -> None:
        pass


def test_an_answer_to_something_else_is_passed_over() -> None:
    late, unread = wire.Ok(id="other"), wire.Error(id="", code="protocol", message="unread")
    link: Any = Says(wire.encode(late), wire.encode(unread))
    assert perform._asked(link, {"id": "this"}, 0.0).message == "unread"


START = {"verb": "start", "id": "s1", "unit": "a", "owner": {"pid": 7}}


@pytest.mark.parametrize(
    ("why", "reason", "anew"),
    [
        (errors.TimedOut("no answer"), "its start got no answer in time", False),
        (errors.ProtocolError("no answer"), "its start got no answer in time", False),
        (KeyboardInterrupt(), "interrupted", True),
        (SystemExit(143), "interrupted", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_how_a_start_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, why: BaseException, reason: str, anew: bool
) -> None:
    """On the same link, unless nobody knows how much of the start went through it; and
    whatever is answered, what ended the start is what is told."""
    old, new = Says(b"\xc1"), Says(b"\xc1")
    monkeypatch.setattr(perform, "reach", lambda address, *, by: new)
    connection: Any = perform._Connection("ipc:///nowhere/s", REQUESTS["start"])
    connection._link = old
    connection.withdraw(START, why)
    (sent,) = (new if anew else old).sent
    assert (sent["verb"], sent["start_id"], sent["reason"]) == ("withdraw", "s1", reason)
    assert not (old if anew else new).sent


def test_a_start_that_reached_nobody_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perform, "reach", lambda *_, **__: pytest.fail("it asks for a link"))
    perform._Connection("ipc:///nowhere/s", REQUESTS["start"]).withdraw(
        START, errors.Unreachable("nobody")
    )


def test_a_further_page_of_state_that_is_gone_is_not_taken_for_empty() -> None:
    for epoch, ends in (("", False), ("e1", True)):
        request = {"verb": "list", "id": "1", "epoch": epoch}
        talk = Conversation("list", Plain(request), REQUESTS["list"], "ipc:///nowhere/s")
        talk.begin(0.0)
        nothing = NothingKept("nothing is kept")
        if ends:
            with pytest.raises(errors.Unreachable, match="nothing is kept"):
                perform._without_one(nothing, talk, request)
        else:
            assert isinstance(perform._without_one(nothing, talk, request), Done)


@pytest.mark.parametrize("greeted", [False, True])
def test_who_is_hung_up_on_before_a_word_looks_why(
    monkeypatch: pytest.MonkeyPatch, greeted: bool
) -> None:
    """A coordinator hangs up on users whom it does not serve. To ``stop``, a link that breaks
    would otherwise say that it has ended."""

    class Refuses(Says):
        def send(self, frame: bytes, by: float) -> None:
            raise ConnectionError

    link: Any = Refuses()
    link.greeted = greeted
    looks: list[str] = []
    monkeypatch.setattr(perform, "reach", lambda *_, **__: link)
    monkeypatch.setattr(perform, "Link", lambda socket: link)
    monkeypatch.setattr(autostart, "ensure", lambda *_, **__: looks.append("there"))
    monkeypatch.setattr(endpoint, "connect", lambda *_: looks.append("ours") or object())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
    request = {"verb": "stop", "owner": {"pid": 7}}
    assert perform.converse("ipc:///nowhere/s", request, wire.Stop.may).result == "ok"
    assert looks == ([] if greeted else ["there", "ours"])


def test_what_keeps_a_verb_from_connecting_is_no_broken_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be repeated until the deadline, and the coordinator blamed for it."""

    def no_descriptor(*where: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("unitsync.link.autostart.ensure", lambda *where, **how: None)
    monkeypatch.setattr("unitsync.link.endpoint.connect", no_descriptor)
    call = Call("wait", ["a"], {"--endpoint": [f"ipc://{tmp_path}/none"]}, {})
    with pytest.raises(errors.Unreachable, match="Too many open files"):
        perform.perform(call)


def test_a_note_of_a_command_is_not_worth_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a word on stderr."""
    asked: list[tuple[dict[str, Any], Any]] = []

    def converse(address: str, request: dict[str, Any], may: Any) -> Any:
        asked.append((request, may))
        return plain(wire.Ok(id=""))

    monkeypatch.setattr(perform, "converse", converse)
    call = Call("run", ["ide"], {}, {"UNITSYNC_STARTUP": "one"}, ["true"])
    run_verb._tell(call, "e1", "note", text="43 %", run=2)
    run_verb._tell(call, "e1", "complete")
    (note, may), (complete, acts) = asked
    assert note == {
        "verb": "note",
        "unit": "ide",
        "startup": "one",
        "epoch": "e1",
        "render": "none",
        "text": "43 %",
        "run": 2,
    }
    assert (may.autostart, may.acts, may.waits) == (Autostart.NEVER, True, False)
    assert (complete["render"], acts.autostart) == ("text", Autostart.ALWAYS)
