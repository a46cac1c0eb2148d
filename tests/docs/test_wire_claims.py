"""Claims of the protocol page that are about single requests."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
import zmq

import docpages as pages
from faults.places import Place, a_place
from faults.scripts import until
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


def test_a_refused_want_registers_its_unit(ask: Ask) -> None:
    assert code(ask("want", unit="a", prerequisites=["a"])) == "cycle"
    assert ask("status", unit="a")["unit"]["is_ready"]
    assert code(ask("declare", units=[{"unit": "b", "prerequisites": ["b"]}])) == "cycle"
    assert ask("status", unit="b")["unit"]["status"] == "not registered"


def test_a_start_by_who_runs_it_is_granted_the_same_run(ask: Ask) -> None:
    owner = {"pid": 1, "watched": False}
    for number in range(2):
        reply = ask("start", unit="a", id=f"s{number}", owner=owner)
        assert (reply["result"], reply["run"]) == ("granted", 1)
        assert ("already" in reply["note"]) is bool(number)
    assert code(ask("start", unit="a", id="other", owner={"pid": 2})) == "already_started"
    assert ask("complete", unit="a", owner={"pid": 3})["status"] == "completed"


def test_what_nobody_has_heard_of_can_be_taken_back(ask: Ask) -> None:
    assert code(ask("withdraw", unit="a", start_id="s")) == "ok"
    assert ask("status", unit="a")["unit"]["status"] == "pending"
    assert code(ask("start", unit="a", id="s")) == "interrupted"


def test_completing_what_is_pending_is_a_run(ask: Ask) -> None:
    ask("want", unit="a", prerequisites=[])
    assert "note" in ask("complete", unit="a")
    assert ask("status", unit="a")["unit"]["run"] == 1


def test_every_name_is_checked(ask: Ask) -> None:
    for verb in ("unwant", "complete", "fail", "status", "why", "start"):
        assert code(ask(verb, unit="a b", prerequisites=[])) == "invalid_name", verb
    for verb in ("wait", "reset"):
        assert code(ask(verb, units=["a b"])) == "invalid_name", verb
    assert code(ask("ping", id="x" * 4097)) == "limit_reached"


def test_pages_of_a_size_that_there_cannot_be(ask: Ask) -> None:
    ask("declare", units=[{"unit": f"u{number}"} for number in range(1100)])
    for limit, count in ((-1, 1), (0, 1), (1, 1), (5000, 1000)):
        assert len(ask("list", limit=limit)["units"]) == count


def test_each_copy_of_a_request_is_answered(coordinator: str, ask: Ask) -> None:
    wait = {"verb": "wait", "id": "w", "units": ["a"], "patience_s": 30}
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(coordinator)
        for _ in range(3):
            socket.send_multipart([b"", msgspec.msgpack.encode(wait)])
        ask("want", unit="a", prerequisites=[])
        ask("complete", unit="a")
        heard = [msgspec.msgpack.decode(socket.recv_multipart()[1]) for _ in range(3)]
    assert {reply["id"] for reply in heard} == {"w"}


def test_a_start_that_is_held_back_and_withdrawn_is_not_answered(
    coordinator: str, ask: Ask
) -> None:
    start = {"verb": "start", "id": "s", "unit": "a", "after": ["b"], "patience_s": 30}
    back = {"verb": "withdraw", "id": "w", "unit": "a", "start_id": "s"}
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(coordinator)
        for request in (start, back):
            socket.send_multipart([b"", msgspec.msgpack.encode(request)])
        assert msgspec.msgpack.decode(socket.recv_multipart()[1])["id"] == "w"
        ask("want", unit="b", prerequisites=[])
        ask("complete", unit="b")
        socket.send_multipart([b"", msgspec.msgpack.encode({"verb": "ping", "id": "p"})])
        assert msgspec.msgpack.decode(socket.recv_multipart()[1])["id"] == "p"


def test_list_and_why_have_no_lines(ask: Ask) -> None:
    for request in ({"verb": "list"}, {"verb": "why"}, {"verb": "why", "unit": "a"}):
        assert "out" not in ask(**request, render="text")


# --- where there is no coordinator --------------------------------------------------


def connecting(place: Place) -> str:
    """What comes of it, in the words of the page."""
    with socket.socket(socket.AF_UNIX) as link:
        number = link.connect_ex(place.endpoint.path)
    beside = "stopped" if (place.home / "stopped").exists() else ""
    full = ".sock.full" if list(place.home.glob("*.sock.full")) else ""
    return f"{errno.errorcode.get(number, '')} {beside}{full}".strip()


def test_what_connecting_gives_where_there_is_no_coordinator() -> None:
    """Each row of that table; and `unitsync ping` is the way out where it says so."""
    rows = pages.rows(pages.read("reference/wire-protocol.md").partition("Where there is no")[2])
    said = [" ".join([*re.findall(r"\bE[A-Z]+", row[0]), *pages.code(row[0])]) for row in rows[:4]]
    told = []
    with a_place() as place, place.client() as client:
        told.append(connecting(place))
        client.ping()
        assert connecting(place) == ""
        place.kill()
        told.append(connecting(place))
        client.ping()
        place.stop()
        told.append(connecting(place))
        client.ping()
        assert connecting(place) == ""
    with a_place() as place:
        place.start({"UNITSYNC_MAX_CONNECTIONS": "2"})
        with ExitStack() as stack:
            for _ in range(2):  # each with one connection, and none before it to look
                held = stack.enter_context(socket.socket(socket.AF_UNIX))
                held.connect(str(place.home / "coordinator.sock"))
            until(lambda: bool(connecting(place)))
            told.append(connecting(place))
        until(lambda: connecting(place) == "")
    assert sorted(told) == sorted(row.replace("….sock.full", ".sock.full") for row in said)
