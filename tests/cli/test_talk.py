"""What a verb does between its request and its end, in the process of the tests."""

from __future__ import annotations

import signal
import sys
from time import monotonic
from typing import Any

import pytest

from unitsync import errors, express, owner, wire
from unitsync.cli import run, talk
from unitsync.requests import Requests

REQUESTS = Requests(wire.Owner(pid=7), render=wire.Render.TEXT)


class Asked:
    """In the place of a client: keeps what it is asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.options: list[dict[str, Any]] = []

    def call(self, request: wire.AnyRequest, **options: Any) -> wire.AnyReply:
        self.requests.append(request)
        self.options.append(options)
        return wire.Ok(id=request.id)


@pytest.mark.parametrize(
    ("request_", "waits"),
    [
        (REQUESTS.start("ide"), True),
        (REQUESTS.wait(["ide"]), True),
        (REQUESTS.complete("ide"), False),
    ],
    ids=["start", "wait", "complete"],
)
def test_what_the_express_path_has_begun_is_carried_on(
    monkeypatch: pytest.MonkeyPatch, request_: Any, waits: bool
) -> None:
    """As another request it would be granted twice, or wait for twice its time."""
    sent = {"id": "abc", "epoch": "e1", "since_run": 3}
    began = {"request": sent, "began": monotonic() - 5, "overdue": True}
    monkeypatch.setattr(express, "resumed", began)
    asked: Any = Asked()
    talk.carry_on(asked, request_, timeout_s=9)
    (request,) = asked.requests
    assert (request.id, request.epoch) == ("abc", "e1")
    if waits:
        assert 5 <= request.waited_s < 50
    if isinstance(request, wire.Start):
        assert request.since_run == 3
    assert asked.options == [{"timeout_s": 9, "overdue": True}]

    talk.carry_on(asked, request_)  # the next one is none of that
    assert asked.requests[1] == request_


@pytest.mark.parametrize(
    ("before", "status"), [(signal.SIG_DFL, 128 + signal.SIGTERM), (signal.SIG_IGN, 0)]
)
def test_a_signal_that_ends_a_verb(
    monkeypatch: pytest.MonkeyPatch, before: signal.Handlers, status: int
) -> None:
    class Client(Asked):
        def call(self, request: wire.AnyRequest, **options: Any) -> wire.AnyReply:
            signal.raise_signal(signal.SIGTERM)
            return super().call(request, **options)

    client: Any = Client()
    ended = 0
    kept = signal.signal(signal.SIGTERM, before)
    try:
        talk.converse(client, REQUESTS.start("ide"))
    except SystemExit as end:
        ended = int(str(end.code))
    finally:
        after = signal.signal(signal.SIGTERM, kept)
    assert ended == status
    assert after == before


class Full:
    """A stream on a disk that has no room left."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    flush = close = fileno = lambda self: self.write("")


@pytest.mark.parametrize(
    ("reply", "tells"),
    [
        (wire.Granted(id="", run=1, out=["line"]), False),
        (wire.Ok(id="", out=["line"]), False),
        (wire.Ok(id="", out=["ide"], units=["ide"]), True),
        (
            wire.StatusReply(
                id="", out=["line"], unit=wire.UnitInfo("a", wire.Status.PENDING, True)
            ),
            True,
        ),
    ],
    ids=["granted", "done", "which of them", "status"],
)
def test_what_was_done_stays_done_where_stdout_is_full(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    reply: wire.AnyReply,
    tells: bool,
) -> None:
    """A script goes on by the status; but what it has asked for it must get, or hear."""
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(talk, "silence", lambda descriptor: None)
    if tells:
        with pytest.raises(errors.UnitsyncError, match="cannot write to stdout"):
            talk.finish(reply)
    else:
        assert talk.finish(reply) == 0
        assert capfd.readouterr().err.startswith("warning: cannot write to stdout")


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (errors.Unreachable("nobody is there"), "nobody is there"),
        (ImportError("zmq"), "unitsync is not installed completely any more: zmq"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=["unreachable", "uninstalled", "interrupted"],
)
def test_the_status_of_a_command_outlasts_what_keeps_its_end_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    problem: BaseException,
    why: str,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(run, "open_client", fail)
    run.record_end(None, "ide", "e1", owner.this_process(), "")
    assert capfd.readouterr().err == f"warning: the end of ide could not be recorded: {why}\n"
