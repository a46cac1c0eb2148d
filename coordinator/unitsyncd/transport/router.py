"""The ZeroMQ side: a ROUTER that plain REQ sockets talk to.

The event loop watches the socket's descriptor and drains the socket without blocking. The
descriptor is edge-triggered (zmq_getsockopt(3), ZMQ_FD). So ``EVENTS`` must be looked at
again after draining and after every send.
"""

from __future__ import annotations

import asyncio
import ctypes
import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from time import monotonic
from typing import Final, Protocol, TypeAlias

import zmq
from loguru import logger

from unitsync import wire
from unitsync.errors import LimitReached, ProtocolError, UnitsyncError
from unitsyncd import faults
from unitsyncd.core.wording import error_reply
from unitsyncd.transport.access import Access, Peer
from unitsyncd.transport.backpressure import LONG_BYTES, Backpressure
from unitsyncd.transport.connection_limit import ConnectionLimit, FileBudget

Envelope: TypeAlias = tuple[bytes, bytes]
"""(routing id of the peer, one frame)"""

BATCH_MAX: Final = 16
"""Requests that one turn of the loop takes. All of them are answered at its end. With
larger turns, clients wait for each other, and then the coordinator waits for them. For 32
clients, 16 gives a quarter more requests per second than 512 does, or 4."""
BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
TURN_S: Final = 0.02
"""After this time a turn takes no further request. libzmq hands over the requests of all
clients in rotation, so nobody waits for everything that another client has sent."""
UNHANDLED_MAX: Final = 250
"""Messages of one client that libzmq reads ahead."""
KNOWN_PEERS_MAX: Final = 65_536
PARTS_PER_TURN: Final = 5000
"""If a message has more parts than a request, so many are read and dropped at a time: some
milliseconds. libzmq delivers nothing else until that message has been read."""
HANDSHAKE_MS: Final = 5000
"""A client that has not completed the ZMTP handshake by then is disconnected."""
REPLIES_QUEUED_MAX: Final = 25_000
"""Replies that a client may leave unread. A client with thousands of requests in flight on
one socket may get all replies in one turn, so this is more than it may have held back
(20,000). For replies shorter than LONG_BYTES this is the only bound: 100 MB."""
DROPPED_EVERY_S: Final = 10.0
"""Dropped replies are logged at most this often."""
FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
"""libzmq closes the connection if a frame is larger, and a REQ would hang. The documented
limit, wire.MESSAGE_BYTES_MAX, is far below that: beyond it, the client gets an error."""
# As plain ints: pyzmq's are enum flags, and each use of one costs as much as a send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_ROUTING_ID_BYTES: Final = 5
"""Length of the ids that libzmq assigns. Their first byte is 0."""
FAREWELL_MS: Final = 1000
"""How long the last replies may take to leave when the coordinator ends."""


class Turns(Protocol):
    """Answers requests: all those of a turn at the end of the turn."""

    @property
    def epoch(self) -> str:
        """The present epoch, for the errors that the router itself sends."""

    def begin_turn(self) -> None: ...

    def handle(self, peer: bytes, frame: bytes) -> None:
        """Handle one request of the turn, before the next one is read."""

    def end_turn(self) -> Sequence[Envelope]:
        """The replies that are due."""


class Router:
    def __init__(
        self,
        listening: int,
        *,
        access: Access,
        turns: Turns,
        budget: FileBudget,
        on_full: Callable[[bool], bool],
    ) -> None:
        """*listening* is the descriptor of a listening unix socket that nobody can find
        yet. The router owns it from now on. *access* says who may talk: libzmq closes all
        other connections before it reads a byte. *on_full* is called when there is no more
        room for connections, and when there is room again: see ConnectionLimit."""
        self._turns = turns
        self._always_look = access.shared
        self._peers: dict[bytes, Peer] = {}
        self._dropping = False
        """Whether the next parts belong to a message that has been refused."""
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 16)
        # libzmq numbers its peers starting from rand(3). Unseeded, the numbers are predictable.
        ctypes.CDLL(None).srand(secrets.randbits(32))
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, REPLIES_QUEUED_MAX)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.set(zmq.RCVHWM, UNHANDLED_MAX)
        self._socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        for user in access.users:
            self._socket.set(zmq.IPC_FILTER_UID, _signed(user))
        for group in access.groups:
            self._socket.set(zmq.IPC_FILTER_GID, _signed(group))
        self._socket.set(zmq.LINGER, FAREWELL_MS)
        self._socket.copy_threshold = LONG_BYTES
        self._backpressure = Backpressure()
        self._dropped = 0
        self._tell_dropped_at = 0.0
        self._limit = ConnectionLimit(self._socket, listening, budget=budget, on_full=on_full)
        self._socket.set(zmq.USE_FD, listening)
        self._socket.bind("ipc://unitsync")
        self._limit.bound()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Handle | None = None

    @property
    def connections(self) -> int:
        return self._limit.connections

    def peer(self, routing_id: bytes) -> Peer | None:
        """Who has sent the request that is being handled. For other routing ids, the answer
        may be missing or out of date."""
        return self._peers.get(routing_id)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._drain)
        self._limit.begin(loop)
        self._look_again()

    def close(self) -> None:
        """Stop listening. Replies already sent have FAREWELL_MS to leave."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        if self._again is not None:
            self._again.cancel()
        self._limit.close()
        self._socket.close()
        self._context.term()

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send without ever blocking. A peer that is gone, or that leaves too much
        unread, gets nothing."""
        send, backpressure = self._socket.send, self._backpressure
        for number, (peer, frame) in enumerate(envelopes):
            if number == 1:
                faults.reach("sent one")
            size = len(frame)
            if size >= LONG_BYTES and not backpressure.has_room(peer, size):
                self._drop()
                continue
            try:
                # Only the first part can fail; send_multipart costs three times as much.
                send(peer, _MORE)
                send(b"", _MORE)
                if size < LONG_BYTES:
                    send(frame, _NOBLOCK)
                else:
                    tracker = send(frame, _NOBLOCK, copy=False, track=True)
                    backpressure.sent(peer, size, tracker)
            except zmq.Again:
                self._drop()
            except zmq.ZMQError as exc:
                if exc.errno != zmq.EHOSTUNREACH:
                    raise
        if envelopes:
            faults.reach("sent")
        self._look_again()

    def _drop(self) -> None:
        """Count a dropped reply to a client that does not read."""
        self._dropped += 1
        now = monotonic()
        if now >= self._tell_dropped_at:
            self._tell_dropped_at = now + DROPPED_EVERY_S
            logger.warning("clients do not read; replies dropped so far: {}", self._dropped)

    def _look_again(self) -> None:
        """Drain once more if something has arrived without a new edge on the descriptor."""
        assert self._loop is not None
        if self._again is None and self._readable():
            self._again = self._loop.call_soon(self._drain)

    def _readable(self) -> bool:
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def _drain(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        due: list[Envelope] = []
        try:
            self._turn(due)
        finally:  # after a defect too, so that the router goes on
            self.send(due)

    def _turn(self, due: list[Envelope]) -> None:
        """A turn with the requests that have arrived, if any. *due* gets the replies."""
        arriving = self._arriving(due)
        if (first := next(arriving, None)) is None:
            return
        self._turns.begin_turn()
        try:
            for peer, frame in chain((first,), arriving):
                self._turns.handle(peer, frame)
        finally:  # requests handled before a defect still get their replies
            due.extend(self._turns.end_turn())

    def _arriving(self, refused: list[Envelope]) -> Iterator[Envelope]:
        """The requests to handle in this turn. Each is read only when the one before it has
        been handled. *refused* gets the replies to messages that are refused."""
        size = 0
        until = monotonic() + TURN_S
        if self._dropping and not self._drop_parts():
            return
        for _ in range(BATCH_MAX):
            try:
                peer = self._socket.recv(_NOBLOCK)
                first = self._socket.recv(_NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                frame = self._request(peer, first)
            except UnitsyncError as problem:
                refused.append((peer, wire.encode(error_reply("", self._turns.epoch, problem))))
                if self._dropping:
                    return
            else:
                yield peer, frame
                size += len(frame)
            if size >= BATCH_BYTES_MAX or monotonic() >= until:
                return

    def _request(self, peer: bytes, first: zmq.Frame) -> bytes:
        """The request of *peer*, in the message whose part *first* has been read. Raises
        ProtocolError, LimitReached."""
        second = self._socket.recv(_NOBLOCK, copy=False) if first.more else None
        self._dropping = second is not None and second.more
        if len(peer) != _ROUTING_ID_BYTES or peer[0]:
            raise ProtocolError(
                "a client that chooses its own routing id is not served",
                hint="leave ZMQ_ROUTING_ID (ZMQ_IDENTITY) as it is",
            )
        if second is None or second.more or len(first):
            raise ProtocolError("a request is one frame, sent by a REQ socket")
        if len(second) > wire.MESSAGE_BYTES_MAX:
            raise LimitReached(
                f"a message has at most {wire.MESSAGE_BYTES_MAX:,} bytes, this one {len(second):,}",
                hint="spread it over several requests",
                limit="message size",
                maximum=wire.MESSAGE_BYTES_MAX,
            )
        if self._always_look or peer not in self._peers:
            self._look_at(peer, second)
        return second.bytes

    def _look_at(self, peer: bytes, part: zmq.Frame) -> None:
        """Remember who *peer* is. If other users may talk, this is done for each message: a
        user may have guessed the routing id of a peer that is gone."""
        if len(self._peers) >= KNOWN_PEERS_MAX:
            self._peers.clear()
        # libzmq describes an ipc peer as localhost:uid:gid:pid.
        uid, gid, pid = str(part.get("Peer-Address")).rsplit(":", 3)[-3:]
        self._peers[peer] = Peer(int(uid), int(gid), int(pid))

    def _drop_parts(self) -> bool:
        """Drop parts of the refused message. Whether that was the last of them."""
        for _ in range(PARTS_PER_TURN):
            if not self._socket.recv(_NOBLOCK, copy=False).more:
                self._dropping = False
                return True
        return False


def _signed(number: int) -> int:
    """*number*, an unsigned integer of 32 bits, as the signed one that pyzmq takes."""
    return number - (1 << 32) if number >> 31 else number
