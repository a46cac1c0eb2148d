"""Whatever arrives at the socket: valid requests with any values, frames that were
changed, messages of any number of parts, bytes that are no ZMTP."""

from __future__ import annotations

import os
import random
import select
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from fuzz.messages import harmless, messages, mutated, replies
from journal.driving import Driver, check_sound, rebuilt, state
from support.daemon import Daemon, Dealer, Req, Sockets
from support.figures import figures_of
from unitsync import errors, wire
from unitsync.link import by_hand as wire_by_hand
from unitsyncd.storage.journal import Journal

MIB = 1024 * 1024


# --- valid requests, without sockets ----------------------------------------------


@given(st.lists(st.lists(harmless, min_size=1, max_size=4), min_size=1, max_size=6))
@example([[wire.Want(id="", unit="a", prerequisites=[]), wire.Why(id="", offset=2**63 - 1)]])
@settings(max_examples=150 * ROUNDS)
def test_any_requests(batches: list[list[wire.AnyRequest]]) -> None:
    """Each is answered once or held back, and what came of them survives a crash."""
    folder = tempfile.mkdtemp(prefix="us-")
    journal = Journal(f"{folder}/journal.db")
    try:
        driver = Driver(journal)
        given, answered = 0, 0
        for batch in batches:
            given += len(batch)
            answered += len(driver.turn(*batch))
            check_sound(driver.registry)
            assert driver.defects == []
        held = driver.supervisor._handlers.waiters.all()
        assert given == answered + len(held)
        assert state(rebuilt(driver)) == state(driver.registry)
        driver.now += 40
        expired = driver.supervisor.expire(driver.now, driver.at)
        assert len(expired) == len(held)
        assert driver.defects == []
    finally:
        journal.close()
        shutil.rmtree(folder)


@given(st.one_of(harmless, messages(wire.Stop)))
@settings(max_examples=250 * ROUNDS)
def test_a_request_says_the_same_on_the_other_side(request: wire.AnyRequest) -> None:
    frame = wire.encode(request)
    if request.v > wire.PROTOCOL:
        with pytest.raises(errors.ProtocolError) as caught:
            wire.decode_request(frame)
        assert caught.value.details["id"] == request.id
    else:  # NaN is not equal to itself
        assert repr(wire.decode_request(frame)) == repr(request)


@given(replies)
@settings(max_examples=250 * ROUNDS)
def test_a_reply_says_the_same_on_the_other_side(reply: wire.AnyReply) -> None:
    arrived: Any = wire.decode_reply(wire.encode(reply))
    assert (type(arrived), wire.encode(arrived)) == (type(reply), wire.encode(reply))


@given(st.binary(max_size=200))
@settings(max_examples=500 * ROUNDS)
def test_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_reply):
        try:
            decode(data)
        except errors.ProtocolError:
            pass


# --- a coordinator behind a socket ------------------------------------------------


def frames(count: int) -> list[bytes]:
    """Valid requests of all kinds."""
    found: list[bytes] = []

    @given(harmless)
    @settings(max_examples=count, database=None)
    def collect(request: wire.AnyRequest) -> None:
        found.append(wire.encode(request))

    collect()
    return found


def memory(daemon: Daemon) -> int:
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def files(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def drain(dealer: Dealer, mark: str) -> int:
    """Read until the reply to the ping *mark*, which was sent last; how many came before
    it. Each must be a reply."""
    count = 0
    while True:
        frames = dealer.socket.recv_multipart()
        assert frames[0] == b""
        reply = wire.decode_reply(frames[-1])
        if isinstance(reply, wire.Pong) and reply.id == mark:
            return count
        count += 1


def forget_everything(req: Req) -> None:
    assert req.ask(wire.Reset(id=os.urandom(8).hex(), all=True, force=True)).exit == 0


def test_changed_frames(daemon: Daemon, sockets: Sockets, chance: random.Random) -> None:
    """None of them is left without an answer, unless it is a wait."""
    source = frames(300)
    req = sockets.req(daemon.endpoint)
    sizes = []
    for number in range(15 * ROUNDS):
        dealer = sockets.dealer(daemon.endpoint)
        sent = [mutated(chance.choice(source), source, chance) for _ in range(200)]
        for frame in sent:
            dealer.socket.send_multipart((b"", frame))
        dealer.send(wire.Ping(id=f"mark-{number}"))
        assert drain(dealer, f"mark-{number}") <= len(sent)
        dealer.socket.close()
        forget_everything(req)
        sizes.append(memory(daemon))
    assert sizes[-1] - sizes[2] < (20 + ROUNDS) * MIB, sizes


def test_who_says_anything_and_never_reads(
    daemon: Daemon, sockets: Sockets, chance: random.Random
) -> None:
    """Others are answered meanwhile, and it is served no further than that."""
    source = frames(100)
    req = sockets.req(daemon.endpoint)
    units = [wire.Declaration(f"unit-{number:040}", ["a"]) for number in range(1000)]
    assert req.ask(wire.Declare(id="d", units=units)).exit == 0
    source += [wire.encode(wire.List(id="l", limit=100)), wire.encode(wire.Why(id="y"))] * 10
    before = memory(daemon)
    deaf = [sockets.dealer(daemon.endpoint) for _ in range(3)]
    for dealer in deaf:
        dealer.socket.set(zmq.RCVHWM, 1)
        dealer.socket.set(zmq.SNDHWM, 0)
        dealer.socket.disconnect(daemon.endpoint)
        dealer.socket.connect(daemon.endpoint)
    for number in range(15 * ROUNDS):
        for dealer in deaf:
            for _ in range(100):
                frame = chance.choice(source)
                if chance.random() < 0.3:
                    frame = mutated(frame, source, chance)
                dealer.socket.send_multipart((b"", frame))
        assert isinstance(req.ask(wire.Ping(id=str(number))), wire.Pong)
    assert memory(daemon) - before < (150 + 10 * ROUNDS) * MIB
    for dealer in deaf:
        dealer.socket.close()
    while figures_of(daemon.process.pid, daemon.path.parent)["clients"] > 1:
        pass
    # What they have left unread is forgotten with the next thousand of long replies. Some
    # of it may have been to reset everything.
    assert req.ask(wire.Declare(id="e", units=units)).exit == 0
    for number in range(1000):
        req.ask(wire.List(id=str(number), limit=100))


def test_messages_of_any_number_of_parts(
    daemon: Daemon, sockets: Sockets, chance: random.Random
) -> None:
    source = frames(50)
    dealer = sockets.dealer(daemon.endpoint)
    for number in range(20 * ROUNDS):
        for _ in range(50):
            parts = [
                chance.choice((b"", chance.randbytes(chance.randrange(300)), chance.choice(source)))
                for _ in range(chance.choice((1, 2, 2, 3, 5, 200)))
            ]
            dealer.socket.send_multipart(parts)
        dealer.send(wire.Ping(id=f"mark-{number}"))
        drain(dealer, f"mark-{number}")


def test_what_is_no_zmtp(daemon: Daemon, sockets: Sockets, chance: random.Random) -> None:
    """Connections that say anything, and hang up at any moment."""
    source = frames(50)
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Ping(id="1"))
    before = files(daemon)
    opening = wire_by_hand.GREETING + wire_by_hand.READY
    for _ in range(150 * ROUNDS):
        said = opening
        for _ in range(chance.randrange(4)):
            frame = chance.choice(source)
            said += b"\x01\x00\x02" + len(frame).to_bytes(8, "big") + frame
        if chance.random() < 0.9:
            said = mutated(said, [*source, opening], chance)
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(daemon.path))
            link.setblocking(False)
            try:
                link.send(said[: chance.choice((len(said), chance.randrange(len(said))))])
            except OSError:
                pass  # it has hung up
            if chance.random() < 0.3:
                select.select([link], [], [], 0.005)
    assert isinstance(req.ask(wire.Ping(id="2")), wire.Pong)
    deadline = time.monotonic() + 10
    while files(daemon) > before + 2:
        assert time.monotonic() < deadline, "connections are left over"
        time.sleep(0.02)
