"""A real coordinator and plain sockets with bytes written by hand: whatever arrives is
answered with a clear error, changes nothing, and the coordinator goes on."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from msgspec.structs import replace

from support.daemon import Daemon, Req, Sockets, daemons_in_a_folder
from unitsync import wire
from unitsync.clients import owner as owners
from unitsync.names.patterns import is_pattern

PING = b"\x82\xa4verb\xa4ping\xa2id\xa21a"
"""{"verb": "ping", "id": "1a"}"""
WANT = b"\x84\xa4verb\xa4want\xa2id\xa12\xa4unit\xa3ide\xadprerequisites\x91\xa9git-clone"
"""{"verb": "want", "id": "2", "unit": "ide", "prerequisites": ["git-clone"]}"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One for all tests of this page, each of which begins with nothing in it."""
    with daemons_in_a_folder() as daemons:
        yield daemons.ready()


@pytest.fixture
def req(daemon: Daemon, sockets: Sockets) -> Req:
    req = sockets.req(daemon.endpoint)
    assert req.ask(wire.Reset(id=os.urandom(8).hex(), all=True, force=True)).exit == 0
    return req


NOT_GIVEN_UP: Any = {"given_up": "", "given_up_by": None, "given_up_why": ""}


@pytest.fixture
def guarded(req: Req) -> Any:
    """The socket, on a coordinator with something in it; afterwards nothing of that may
    have changed, but that histories tell of starts that were refused."""
    assert wire.decode_reply(req(WANT)).exit == 0
    owner = wire.Owner(pid=1, watched=False)
    req.ask(wire.Start(id="3", unit="git-clone", owner=owner))

    def status(unit: str) -> wire.UnitInfo:
        reply = req.ask(wire.StatusOf(id="", unit=unit))
        assert isinstance(reply, wire.StatusReply)
        refused = "start refused for its declaration"
        history = [entry for entry in reply.unit.history if entry.what != refused]
        return replace(reply.unit, history=history, **NOT_GIVEN_UP)

    def all_there_is() -> list[object]:
        listed = req.ask(wire.List(id=""))
        assert isinstance(listed, wire.ListReply)
        units = [replace(unit, **NOT_GIVEN_UP) for unit in listed.units]
        return [units, req(wire.encode(wire.Ping(id=""))), status("ide"), status("git-clone")]

    before = all_there_is()
    yield req
    assert all_there_is() == before


def packed(**fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


# --- a plain REQ socket -----------------------------------------------------------


def test_bytes_written_by_hand(req: Req) -> None:
    reply = msgspec.msgpack.decode(req(PING))
    assert reply["result"] == "pong"
    assert reply["id"] == "1a"
    assert reply["protocol"] == 1
    assert len(reply["epoch"]) == 16
    assert msgspec.msgpack.decode(req(WANT))["result"] == "ok"
    start = b"\x83\xa4verb\xa5start\xa2id\xa13\xa4unit\xa3ide"
    reply = msgspec.msgpack.decode(req(start))
    assert reply["result"] == "waiting"
    assert reply["waiting_for"][0]["name"] == "git-clone"
    status = b"\x83\xa4verb\xa6status\xa2id\xa14\xa4unit\xa9git-clone"
    assert msgspec.msgpack.decode(req(status))["unit"]["status"] == "not registered"


def test_what_a_newer_client_adds_is_ignored(req: Req) -> None:
    reply = msgspec.msgpack.decode(
        req(packed(verb="ping", id="x", colour="red", more={"deep": [1, 2, 3]}))
    )
    assert reply["result"] == "pong"


def test_one_waits_and_the_others_go_on(sockets: Sockets, daemon: Daemon, req: Req) -> None:
    waiting = sockets.dealer(daemon.endpoint)
    waiting.send(wire.Wait(id="w", units=["ide"], patience_s=30.0))
    assert isinstance(req.ask(wire.Start(id="s", unit="ide")), wire.Granted)
    assert isinstance(req.ask(wire.Complete(id="c", unit="ide")), wire.Ok)
    reply = waiting.told()
    assert (reply.id, type(reply)) == ("w", wire.Ok)


def test_thousands_of_replies_for_one_socket(sockets: Sockets, daemon: Daemon, req: Req) -> None:
    """All at once, and it has not read any of them."""
    count = 5000
    many = sockets.dealer(daemon.endpoint)
    many.socket.set(zmq.SNDHWM, 0)
    many.socket.set(zmq.RCVHWM, 10)
    for number in range(count):
        many.send(wire.Wait(id=f"w{number}", units=["ide"], patience_s=30.0))
    many.send(wire.Ping(id="last"))
    assert many.told().id == "last"
    req.ask(wire.Start(id="s", unit="ide"))
    req.ask(wire.Complete(id="c", unit="ide"))
    ids = {many.told().id for _ in range(count)}
    assert ids == {f"w{number}" for number in range(count)}


# --- what is no request -----------------------------------------------------------

DEEP = b"\x91" * 50_000 + b"\xc0"
MALFORMED = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "json": b'{"verb": "ping", "id": "1"}',
    "never used": b"\xc1",
    "an empty map": b"\x80",
    "an array": b"\x92\xa4ping\xa11",
    "a number": b"\x07",
    "nil": b"\xc0",
    "deep": DEEP,
    "deep inside": b"\x83\xa4verb\xa4ping\xa2id\xa11\xa1x" + DEEP,
    "cut short": PING[:-1],
    "more behind it": PING + b"\x00",
    "twice": PING + PING,
    "a huge array that is not there": b"\xdd\xff\xff\xff\xff",
    "a huge map that is not there": b"\xdf\xff\xff\xff\xff",
    "a huge text that is not there": b"\x82\xa4verb\xa4ping\xa2id\xdb\xff\xff\xff\xff",
    "an extension": b"\xc7\x03\x05abc",
    "no utf-8": b"\x82\xa4verb\xa4ping\xa2id\xa2\xff\xfe",
    "half a surrogate": b"\x82\xa4verb\xa4ping\xa2id\xa3\xed\xa0\x80",
    "numbers for names": b"\x82\x01\xa4ping\x02\xa11",
    "megabytes of it": b"\x93" + b"\x00" * 3_000_000,
    "unknown verb": packed(verb="frobnicate", id="7"),
    "no verb": packed(id="7"),
    "a verb that is a number": packed(verb=3, id="7"),
    "a reply": packed(result="ok", id="7"),
    "no id": packed(verb="ping"),
    "an id that is a number": packed(verb="ping", id=7),
    "no unit": packed(verb="start", id="7"),
    "a unit that is nothing": packed(verb="start", id="7", unit=None),
    "a unit that is bytes": packed(verb="start", id="7", unit=b"ide"),
    "prerequisites that are a text": packed(verb="want", id="7", unit="a", prerequisites="b"),
    "prerequisites that are numbers": packed(verb="want", id="7", unit="a", prerequisites=[1]),
    "an unknown requirement": packed(
        verb="want", id="7", unit="a", prerequisites=[], requires="luck"
    ),
    "optional is a number": packed(verb="want", id="7", unit="a", prerequisites=[], optional=1),
    "patience is a text": packed(verb="start", id="7", unit="a", patience_s="long"),
    "an exit status that is a text": packed(verb="complete", id="7", unit="a", exit_code="0"),
    "an owner that is a number": packed(verb="start", id="7", unit="a", owner=7),
    "an owner without pid": packed(verb="start", id="7", unit="a", owner={"command": "x"}),
    "an unknown policy": packed(verb="start", id="7", unit="a", on_owner_exit="cry"),
    "an unknown rendering": packed(verb="ping", id="7", render="html"),
    "a version that is a text": packed(verb="ping", id="7", v="1"),
    "a page that is a fraction": packed(verb="list", id="7", offset=1.5),
    "a page beyond all numbers": b"\x83\xa4verb\xa4list\xa2id\xa17\xa6offset\xcb" + b"\x7f" * 8,
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED)
def test_malformed(guarded: Req, frame: bytes) -> None:
    error = wire.decode_reply(guarded(frame))
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("protocol", 1)
    assert error.message.startswith("not a request: ")
    assert error.err[0] == f"error: {error.message}"
    assert error.id == ("7" if b"\xa2id\xa17" in frame else "")
    assert len(error.message) < 1000


def test_the_id_comes_back_where_it_can_be_read(guarded: Req) -> None:
    assert wire.decode_reply(guarded(packed(verb="want", id="7"))).id == "7"
    assert wire.decode_reply(guarded(packed(verb="ping", id=7))).id == ""
    assert wire.decode_reply(guarded(b"\xc1")).id == ""


@pytest.mark.parametrize("version", [2, 3, 2**63])
def test_a_later_protocol(guarded: Req, version: int) -> None:
    for fields in ({"verb": "ping"}, {"verb": "something new", "unit": [1, 2]}):
        error = wire.decode_reply(guarded(packed(id="7", v=version, **fields)))
        assert isinstance(error, wire.Error)
        assert (error.code, error.id) == ("protocol", "7")
        assert error.message == f"this coordinator speaks protocol 1, the client {version}"
        assert error.hint


# --- what is no message of a REQ socket -------------------------------------------


def test_what_is_refused_at_the_door_bears_the_epoch_too(guarded: Req) -> None:
    epoch = wire.decode_reply(guarded(PING)).epoch
    assert epoch
    for frames in ((PING, PING), (b"\xc1",), (bytes(wire.MESSAGE_BYTES_MAX + 1),)):
        assert wire.decode_reply(guarded(*frames)).epoch == epoch


def test_more_than_one_frame(guarded: Req) -> None:
    for frames in ((PING, PING), (b"", PING), (PING, b""), (b"",) * 50):
        error = wire.decode_reply(guarded(*frames))
        assert isinstance(error, wire.Error)
        assert error.code == "protocol"
        assert "one frame" in error.message


def test_a_dealer_that_forgets_the_empty_frame(
    sockets: Sockets, daemon: Daemon, guarded: Req
) -> None:
    dealer = sockets.dealer(daemon.endpoint)
    for frames in ((PING,), (b"x", PING), (b"",)):
        error = wire.decode_reply(dealer(*frames))
        assert isinstance(error, wire.Error)
        assert error.code == "protocol"
    # It can do better.
    assert isinstance(wire.decode_reply(dealer(b"", PING)), wire.Pong)


def test_many_that_only_connect(sockets: Sockets, daemon: Daemon, guarded: Req) -> None:
    for _ in range(200):
        sockets.req(daemon.endpoint)
    assert isinstance(wire.decode_reply(guarded(PING)), wire.Pong)


def test_who_is_gone_before_the_reply(sockets: Sockets, daemon: Daemon, guarded: Req) -> None:
    """A bad frame, then the socket is closed at once, many times over."""
    for number in range(100):
        gone = sockets.dealer(daemon.endpoint)
        gone.socket.set(zmq.LINGER, 1000)
        gone.socket.send_multipart((b"", PING if number % 2 else b"\xc1"))
        gone.socket.close()
    assert isinstance(wire.decode_reply(guarded(PING)), wire.Pong)


def test_who_waits_and_is_gone(sockets: Sockets, daemon: Daemon, req: Req) -> None:
    gone = [sockets.dealer(daemon.endpoint) for _ in range(20)]
    for dealer in gone:
        dealer.send(wire.Start(id="s", unit="ide", after=["clone"], patience_s=30.0))
        dealer.send(wire.Ping(id="p"))
    for dealer in gone:
        assert dealer.told().id == "p"
        dealer.socket.close()
    req.ask(wire.Start(id="1", unit="clone"))
    assert isinstance(req.ask(wire.Complete(id="2", unit="clone")), wire.Ok)
    # None of them was granted anything.
    reply = req.ask(wire.StatusOf(id="3", unit="ide"))
    assert isinstance(reply, wire.StatusReply)
    assert (reply.unit.status, reply.unit.is_ready) == (wire.Status.PENDING, True)


# --- sizes ------------------------------------------------------------------------


def test_a_message_that_is_too_long(guarded: Req) -> None:
    error = wire.decode_reply(guarded(bytes(wire.MESSAGE_BYTES_MAX + 1)))
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("limit_reached", 1)
    assert error.details == {"limit": "message size", "maximum": 16 * 1024 * 1024}
    assert "16,777,216" in error.message
    assert "16,777,217" in error.message
    error = wire.decode_reply(guarded(bytes(wire.MESSAGE_BYTES_MAX)))
    assert isinstance(error, wire.Error)
    assert error.code == "protocol"
    error = wire.decode_reply(guarded(bytes(100 * 1024 * 1024)))
    assert isinstance(error, wire.Error)
    assert error.code == "limit_reached"


def test_ten_thousand_prerequisites_in_one_request(req: Req) -> None:
    names = [f"unit-{number}" for number in range(10_000)]
    done = req.ask(wire.Want(id="1", unit="ide", prerequisites=names))
    assert isinstance(done, wire.Ok), done
    reply = req.ask(wire.Start(id="2", unit="ide", wait=False, render=wire.Render.TEXT))
    assert isinstance(reply, wire.Error)
    assert reply.code == "not_ready"
    assert "9,990 more" in reply.message
    reply = req.ask(wire.StatusOf(id="3", unit="ide", render=wire.Render.TEXT))
    assert isinstance(reply, wire.StatusReply)
    assert reply.unit.prerequisites_total == 10_000
    assert len(reply.unit.prerequisites) == 1000


def test_too_many_prerequisites_in_one_request(guarded: Req) -> None:
    names = [f"unit-{number}" for number in range(200_001)]
    for request in (
        wire.Want(id="1", unit="ide", prerequisites=names),
        wire.Start(id="1", unit="ide", after=names),
        wire.Wait(id="1", units=names),
    ):
        error = guarded.ask(request)
        assert isinstance(error, wire.Error)
        assert error.code == "limit_reached"
        assert error.details["maximum"] == 200_000


# --- names ------------------------------------------------------------------------

BAD_NAMES = {
    "": "it is empty",
    "a" * 256: "it is longer than 255 bytes",
    "ä" * 128: "it is longer than 255 bytes",
    "x" * 1_000_000: "it is longer than 255 bytes",
    "-a": "it begins with '-'",
    "--help": "it begins with '-'",
    "a b": "it holds white space",
    "a\tb": "it holds white space",
    "a\n": "it holds white space",
    "a\u00a0b": "it holds white space",
    "a\u2003b": "it holds white space",
    "a\x00b": "it holds a character that cannot be printed",
    "a\x1b[31m": "it holds a character that cannot be printed",
    "a\x7fb": "it holds a character that cannot be printed",
    "a\u200bb": "it holds a character that cannot be printed",
    "a\u202eb": "it holds a character that cannot be printed",
    "a\ufeffb": "it holds a character that cannot be printed",
    "a\ue000b": "it holds a character that cannot be printed",
    "a*": "it holds *",
    "a?": "it holds ?",
    "[a]": "it holds [ ]",
    "a,b": "it holds ,",
}


@pytest.mark.parametrize(("name", "rule"), BAD_NAMES.items(), ids=range(len(BAD_NAMES)))
def test_what_is_no_name(guarded: Req, name: str, rule: str) -> None:
    requests: list[wire.AnyRequest] = [
        wire.Want(id="1", unit=name, prerequisites=[]),
        wire.Start(id="1", unit=name),
        wire.StatusOf(id="1", unit=name),
        wire.Complete(id="1", unit=name),
        wire.Fail(id="1", unit=name),
        wire.Withdraw(id="1", unit=name, start_id="2"),
    ]
    if not is_pattern(name) or not name.isprintable():
        requests.append(wire.Want(id="1", unit="ide", prerequisites=["fine", name]))
        requests.append(wire.Start(id="1", unit="ide", after=["fine", name]))
        requests.append(wire.Unwant(id="1", unit=name, prerequisites=["x"]))
        requests.append(wire.Wait(id="1", units=["ide", name]))
        requests.append(wire.Reset(id="1", units=[name]))
    if name and not is_pattern(name):  # without one it asks about everything
        requests.append(wire.Why(id="1", unit=name))
    for request in requests:
        error = guarded.ask(request)
        assert isinstance(error, wire.Error), request
        assert (error.code, error.exit) == ("invalid_name", 2)
        assert error.message.endswith(rule)
        assert all(line.isprintable() and len(line) < 300 for line in error.err)


GOOD_NAMES = [
    "a",
    "a" * 255,
    "ä" * 127,
    "a-b_c.d/e:f",
    "2",
    "_",
    "=x+y%z",
    "größe",
    "日本語",
    "🚀",
    "e\u0301",
    "'quoted\"",
    "a\\b",
    "$(reboot)",
    ".",
    "..",
    "#",
]


def test_what_is_a_name(req: Req) -> None:
    for first, second in itertools.pairwise(GOOD_NAMES):
        done = req.ask(wire.Want(id="1", unit=first, prerequisites=[second]))
        assert isinstance(done, wire.Ok), (first, second, done)
    names = [unit.name for unit in req.ask(wire.List(id="2")).units]  # type: ignore[union-attr]
    assert names == GOOD_NAMES


# --- owners that cannot be --------------------------------------------------------


@pytest.mark.parametrize("pid", [0, -1, -(2**63), 1, 2**22 + 1, 2**31, 2**32 + 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("start", [0, 1, -1, 2**64 - 1])
def test_an_owner_that_is_no_process(daemon: Daemon, req: Req, pid: int, start: int) -> None:
    """Whatever a client says of its owner, the coordinator goes on."""
    namespace = os.stat("/proc/self/ns/pid").st_ino
    owner = wire.Owner(pid=pid, start=start, ns=namespace, command="nobody")
    granted = req.ask(wire.Start(id="1", unit="ide", owner=owner))
    assert isinstance(granted, wire.Granted)
    reply = req.ask(wire.StatusOf(id="2", unit="ide", render=wire.Render.TEXT))
    assert isinstance(reply, wire.StatusReply)
    assert isinstance(req.ask(wire.Complete(id="3", unit="ide", owner=owner)), wire.Ok)
    assert "Traceback" not in daemon.log


def test_a_thread_is_no_owner(daemon: Daemon, req: Req) -> None:
    """It has a pid of its own that no pidfd can be had for."""
    asked, done = threading.Event(), threading.Event()

    def thread() -> None:
        asked.set()
        done.wait()

    running = threading.Thread(target=thread)
    running.start()
    try:
        asked.wait()
        (tid,) = {int(name) for name in os.listdir("/proc/self/task")} & {running.native_id}
        owner = msgspec.structs.replace(owners.this_process(), pid=tid)
        stat = Path(f"/proc/self/task/{tid}/stat").read_text()
        owner = msgspec.structs.replace(owner, start=int(stat.rsplit(")", 1)[1].split()[19]))
        assert isinstance(req.ask(wire.Start(id="1", unit="ide", owner=owner)), wire.Granted)
        reply = req.ask(wire.StatusOf(id="2", unit="ide"))
        assert isinstance(reply, wire.StatusReply)
        assert reply.unit.status is wire.Status.STARTED
    finally:
        done.set()
        running.join()
    assert "Traceback" not in daemon.log


# --- texts that come from outside -------------------------------------------------


def test_texts_are_made_printable_and_short(req: Req) -> None:
    nasty = "x\x1b[2J\r\n\u202e" * 2000
    owner = wire.Owner(pid=7, command=nasty, watched=False)
    req.ask(wire.Start(id="1", unit="ide", owner=owner))
    other = req.ask(wire.Start(id="2", unit="ide", render=wire.Render.TEXT))
    assert isinstance(other, wire.Error)
    req.ask(wire.Fail(id="3", unit="ide", reason=nasty, owner=owner))
    shown = [
        *other.err,
        *req.ask(wire.StatusOf(id="4", unit="ide", render=wire.Render.TEXT)).out,
        *req.ask(wire.Wait(id="5", units=["ide"], render=wire.Render.TEXT)).err,
        *req.ask(wire.Complete(id="6", unit="ide", render=wire.Render.TEXT)).err,
    ]
    assert len(shown) > 6
    assert all(line.isprintable() for line in shown if line)
    assert all(len(line) < 25_000 for line in shown)


def test_it_did_all_this_without_a_defect(daemon: Daemon, req: Req) -> None:
    """Numbers at their ends, everywhere."""
    ends = (-(2**63), -1, 0, 1, 2**63 - 1, 2**64 - 1)
    for number in ends:
        for frame in (
            packed(verb="list", id="1", offset=number, limit=number),
            packed(verb="start", id="2", unit="a", since_run=number, patience_s=number),
            packed(verb="start", id="2", unit="b", after=["z"], patience_s=-float(abs(number))),
            packed(verb="complete", id="3", unit="a", exit_code=number),
            packed(verb="wait", id="4", units=["z"], patience_s=min(number, 0)),
            packed(verb="ping", id="5", v=min(number, 1)),
        ):
            wire.decode_reply(req(frame))
    for number in (float("nan"), float("-inf"), -0.0, 5e-324):
        frame = packed(verb="wait", id="6", units=["z"], patience_s=number)
        assert isinstance(wire.decode_reply(req(frame)), wire.Waiting)
    assert "Traceback" not in daemon.log
