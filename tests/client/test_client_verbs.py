"""What the verbs of the Python clients send, refuse and report, without a coordinator."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from msgspec.structs import replace

from support.requests import Asked, Requests
from unitsync import errors, wire
from unitsync.clients.base import check_timeout, encode, expect
from unitsync.clients.verbs import Verbs, failure
from unitsync.verb import verbs

requests = Requests(wire.Owner(pid=7), startup="boot")


class TestRequests:
    def test_each_has_an_id_of_its_own(self) -> None:
        assert len({requests.ping().id for _ in range(100)}) == 100

    def test_a_single_name_is_not_its_letters(self) -> None:
        assert requests.start("ide", after="clone").after == ["clone"]
        assert requests.wait("clone").units == ["clone"]

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: requests.want("a", 1), "must be a str, not int"),
            (lambda: requests.want(None), "must be a str, not NoneType"),
            (
                lambda: requests.want("a", "b", requires="done"),
                "requires: 'done' is not one of success, ",
            ),
            (lambda: requests.wait("a", requires=None), "requires: 'None' is not one of"),
            (lambda: requests.start("a", on_owner_exit="die"), "'die'"),
            (lambda: requests.wait(), "no unit"),
            (lambda: requests.retry("a", 5), "must be a str, not int"),
            (lambda: requests.ready_to_start("a", on_skip="die"), "'die'"),
            (lambda: requests.ready(None), "must be a str, not NoneType"),
            (lambda: requests.reset(), "no unit was named"),
            (lambda: requests.reset("a", all=True), "either units or --all"),
        ],
    )
    def test_refuses_what_is_none(self, build: Any, message: str) -> None:
        with pytest.raises(errors.UsageError, match=message):
            build()

    @pytest.mark.parametrize("timeout_s", [-1, math.nan, "5m"])
    def test_what_is_no_timeout_is_refused(self, timeout_s: Any) -> None:
        with pytest.raises(errors.UsageError, match="timeout_s"):
            check_timeout(timeout_s)

    @pytest.mark.parametrize(
        "request_",
        [
            requests.want("a", "b", "\udcff"),
            requests.declare({"\udcff": []}),
            requests.declare({"a": ["b", "\udcff"]}),
        ],
    )
    def test_a_name_that_is_no_utf8_is_no_name(self, request_: wire.AnyRequest) -> None:
        with pytest.raises(errors.InvalidName):
            encode(request_)

    def test_a_number_that_is_too_large_is_no_request(self) -> None:
        with pytest.raises(errors.UsageError, match="not a request"):
            encode(wire.Start(id="1", unit="a", since_run=1 << 64))

    def test_a_block_starts_its_unit_as_start_does(self) -> None:
        given: dict[str, Any] = {
            "after": ["b"],
            "requires": "start",
            "optional": True,
            "on_owner_exit": "warn",
            "on_skip": "wait",
        }
        with pytest.raises(Asked) as caught:
            requests.client.unit("a", **given).__aenter__().send(None)
        start = requests.start("a", **given)
        assert replace(caught.value.request, id=start.id) == start

    def test_a_start_is_taken_back_for_the_owner_that_it_named(self) -> None:
        class Interrupted(Verbs):
            back: wire.Withdraw | None = None

            def _prepare(self) -> None:
                pass

            async def _converse(self, *_: Any) -> Any:
                raise KeyboardInterrupt

            def _take_back(self, withdraw: wire.Withdraw, why: BaseException) -> None:
                self.back = withdraw

        client = Interrupted(
            "ipc:///nowhere/s", owner=wire.Owner(7), startup="boot", render=wire.Render.TEXT
        )
        start = wire.Start(id="1", unit="ide", owner=wire.Owner(8))
        with pytest.raises(KeyboardInterrupt):
            client.call(start).send(None)
        assert client.back is not None
        assert client.back == wire.Withdraw(
            id=client.back.id,
            startup="boot",
            owner=wire.Owner(8),
            unit="ide",
            start_id="1",
            reason="interrupted",
        )

    @pytest.mark.parametrize("answer", [wire.Ready, wire.Granted])
    def test_an_older_coordinator_grants_what_does_not_claim(self, answer: Any) -> None:
        class Answered(Verbs):
            def _prepare(self) -> None:
                pass

            async def _converse(self, request: Any, *_: Any) -> Any:
                assert request == replace(requests.ready_to_start("ide"), id=request.id)
                return answer(id=request.id, run=1)

        client = Answered("ipc:///nowhere/s", owner=wire.Owner(pid=7), startup="boot")
        with pytest.raises(StopIteration) as done:
            client.ready_to_start("ide").send(None)
        assert done.value.value is None

    @pytest.mark.parametrize("verb", ["list", "why"])
    def test_all_pages_are_of_one_epoch(self, verb: str) -> None:
        asked: list[Any] = []

        class Paged(Verbs):
            def _prepare(self) -> None:
                pass

            async def _converse(self, request: Any, *_: Any) -> Any:
                asked.append(request)
                more: dict[str, Any] = {"epoch": "e1", "next": 7 if len(asked) == 1 else -1}
                if verb == "list":
                    return wire.ListReply(id="", units=[], total=0, **more)
                return wire.WhyReply(id="", **more)

        client = Paged("ipc:///nowhere/s", owner=wire.Owner(7))
        with pytest.raises(StopIteration) as done:
            getattr(client, verb)().send(None)
        assert [(page.offset, page.epoch) for page in asked] == [(0, ""), (7, "e1")]
        assert verb == "list" or done.value.value.next == -1

    def test_a_request_that_is_too_large_is_not_sent(self) -> None:
        names = [f"{n:0255}" for n in range(70_000)]
        with pytest.raises(errors.LimitReached) as caught:
            encode(requests.want("a", *names))
        assert caught.value.maximum == wire.MESSAGE_BYTES_MAX


def test_the_command_and_python_have_the_same_choices() -> None:
    pairs = (
        *((verbs.REQUIREMENTS, wire.Requirement), (verbs.OWNER_EXITS, wire.OnOwnerExit)),
        (verbs.SKIPS, wire.OnSkip),
    )
    assert [known for known, _ in pairs] == [tuple(kind) for _, kind in pairs]


class TestExpect:
    def test_an_error_is_raised_with_its_attributes(self) -> None:
        reply = wire.Error(
            id="1",
            code="skipped",
            message="no",
            hint="why",
            details={"unit": "ide", "cause": "clone", "reason": "exit 1", "path": ["ide", "clone"]},
        )
        with pytest.raises(errors.Skipped) as caught:
            expect(reply, wire.Granted)
        assert (caught.value.cause, caught.value.path) == ("clone", ["ide", "clone"])
        assert (caught.value.message, caught.value.hint) == ("no", "why")

    def test_another_reply_is_a_protocol_error(self) -> None:
        with pytest.raises(errors.ProtocolError, match="Ok instead of Granted"):
            expect(wire.Ok(id="1"), wire.Granted)


class _Cancelled(asyncio.CancelledError):
    """As anyio and others derive their own."""


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (None, None),
        (SystemExit(), None),
        (SystemExit(0), None),
        (SystemExit(3), "exit status 3"),
        (SystemExit("no disk"), "exit status 1: no disk"),
        (KeyboardInterrupt(), "interrupted"),
        (asyncio.CancelledError(), "cancelled"),
        (_Cancelled(), "cancelled"),
        (ValueError("no such\n  branch"), "ValueError: no such branch"),
        (ValueError(), "ValueError"),
        (ValueError("\udcff"), "ValueError: ?"),
        (_Mute(), "_Mute"),
    ],
)
def test_why_a_block_failed(exc: BaseException | None, reason: str | None) -> None:
    assert failure(exc) == reason


def test_a_reason_is_cut_to_the_bound_of_the_wire() -> None:
    reason = failure(ValueError("ä" * 5000))
    assert reason is not None
    assert wire.TEXT_BYTES_MAX - 2 < len(reason.encode()) <= wire.TEXT_BYTES_MAX
