"""What the verbs of the Python clients send, refuse and report, without a coordinator."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from support.requests import Requests
from unitsync import errors, verbs, wire
from unitsync.client_base import check_timeout, encode, expect
from unitsync.client_verbs import failure

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
            (lambda: requests.reset(), "name units, or use --all"),
            (lambda: requests.reset("a", all=True), "name units, or use --all"),
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
