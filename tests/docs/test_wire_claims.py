"""Claims of the protocol page that are about single requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import zmq

from unitsync.testing import coordinator

__all__ = ["coordinator"]

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(coordinator: str) -> Iterator[Ask]:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(coordinator)

        def ask(verb: str, **fields: Any) -> dict[str, Any]:
            socket.send(msgspec.msgpack.encode({"verb": verb, "id": "1", **fields}))
            return msgspec.msgpack.decode(socket.recv())  # type: ignore[no-any-return]

        yield ask


def code(reply: dict[str, Any]) -> str:
    return str(reply.get("code", reply["result"]))


def test_which_number_is_taken_for_which(ask: Ask) -> None:
    assert code(ask("start", unit="a", patience_s=3)) == "granted"
    for no_integer in (3.0, True, "3"):
        assert code(ask("complete", unit="a", exit_code=no_integer)) == "protocol"
    assert code(ask("start", unit="a", patience_s="3")) == "protocol"
    assert code(ask("complete", unit="a", exit_code=3)) == "ok"


def test_versions(ask: Ask) -> None:
    assert code(ask("want", unit="a", prerequisites=[], of_a_later_version=1)) == "ok"
    assert code(ask("start", unit="a", on_skip="of a later version")) == "protocol"
    assert code(ask("of_a_later_version")) == "protocol"
    assert code(ask("ping", v=99)) == "protocol"
    assert ask("status", unit="a")["unit"].get("run", 0) == 0


def test_requests_that_make_no_sense(ask: Ask) -> None:
    assert code(ask("wait", units=[])) == "usage"
    assert code(ask("ping", epoch="another")) == "state_changed"


def test_an_owner_without_a_start_is_not_watched(ask: Ask) -> None:
    assert code(ask("start", unit="a", owner={"pid": 1})) == "granted"
    assert ask("status", unit="a")["unit"]["owner"]["watched"] is False


def test_list_and_why_have_no_lines(ask: Ask) -> None:
    for request in ({"verb": "list"}, {"verb": "why"}, {"verb": "why", "unit": "a"}):
        assert "out" not in ask(**request, render="text")
