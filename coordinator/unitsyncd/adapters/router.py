"""The ZeroMQ side: a ROUTER that plain REQ sockets talk to.

The socket's descriptor is watched by the event loop and drained without blocking. It
is edge-triggered (zmq_getsockopt(3), ZMQ_FD), so that ``EVENTS`` has to be looked at
again after draining and after every send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import zmq
from loguru import logger

from unitsync import wire
from unitsync.errors import LimitReached, NotPermitted, ProtocolError, UnitsyncError
from unitsyncd import faults
from unitsyncd.core.wording import error_reply

Envelope: TypeAlias = tuple[bytes, bytes]
"""(routing id of the peer, one frame)"""

BATCH_MAX: Final = 512
"""Requests that one turn of the loop takes."""
BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
BACKLOG: Final = 1024
"""Connections that the kernel holds until libzmq accepts them."""
SPARE_CONNECTIONS: Final = 50
"""How many have to go before more are let in after the maximum was reached."""
KNOWN_PEERS_MAX: Final = 65_536
REPLIES_QUEUED_MAX: Final = 100_000
"""Replies that a client may leave unread. One that has thousands of requests in flight on
its socket gets them all in one turn."""
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
"""libzmq cuts the connection beyond this, and a REQ would hang; the documented limit,
wire.MESSAGE_BYTES_MAX, is far below and answered with an error."""
_MORE: Final = zmq.NOBLOCK | zmq.SNDMORE
FAREWELL_MS: Final = 1000
"""How long the last replies may take to leave when the coordinator ends."""


class Router:
    def __init__(
        self,
        address: str,
        *,
        permits: Callable[[int, int], bool],
        on_batch: Callable[[list[Envelope]], Sequence[Envelope]],
        connections_max: int,
        on_full: Callable[[bool], None],
    ) -> None:
        """Bind to *address*; *permits* says whether a peer (uid, gid) may talk, and
        *on_batch* turns requests into the replies that are due. *on_full* is told when
        there is no more room for connections, and when there is again: libzmq ends the
        process when it accepts beyond the limit of open files."""
        self._permits = permits
        self._on_batch = on_batch
        self._known: set[bytes] = set()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 16)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, REPLIES_QUEUED_MAX)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.set(zmq.BACKLOG, BACKLOG)
        self._socket.set(zmq.LINGER, FAREWELL_MS)
        self._connections_max = connections_max
        self._connections = 0
        self._full = False
        self._on_full = on_full
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._socket.bind(address)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Handle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._drain)
        loop.add_reader(self._monitor.fileno(), self._count)
        self._count()
        self._look_again()

    def close(self) -> None:
        """Stop listening; replies already sent leave within FAREWELL_MS."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_reader(self._monitor.fileno())
        if self._again is not None:
            self._again.cancel()
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()
        self._context.term()

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send without ever blocking. A peer that is gone, or that has left
        REPLIES_QUEUED_MAX replies unread, gets nothing."""
        send = self._socket.send
        for number, (peer, frame) in enumerate(envelopes):
            if number == 1:
                faults.reach("sent one")
            try:
                # Only the first part can fail; send_multipart costs three times as much.
                send(peer, _MORE)
                send(b"", _MORE)
                send(frame, zmq.NOBLOCK)
            except zmq.Again:
                logger.warning("a client does not read its replies; one was dropped")
            except zmq.ZMQError as exc:
                if exc.errno != zmq.EHOSTUNREACH:
                    raise
        if envelopes:
            faults.reach("sent")
        self._look_again()

    def _look_again(self) -> None:
        """Drain once more if something arrived that no edge will tell of."""
        assert self._loop is not None
        if self._again is None and self._readable():
            self._again = self._loop.call_soon(self._drain)

    def _count(self) -> None:
        """Take note of connections that came and went."""
        while True:
            try:
                event = self._monitor.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            came = int.from_bytes(event[:2], "little") == zmq.EVENT_ACCEPTED
            self._connections += 1 if came else -1
        full = self._connections >= self._connections_max - (SPARE_CONNECTIONS if self._full else 0)
        if full is not self._full:
            self._full = full
            self._on_full(full)

    def _readable(self) -> bool:
        return bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def _drain(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        batch: list[Envelope] = []
        refused: list[Envelope] = []
        size = 0
        while len(batch) + len(refused) < BATCH_MAX and size < BATCH_BYTES_MAX:
            try:
                peer = self._socket.recv(zmq.NOBLOCK)
                frames = self._frames(peer)
            except zmq.Again:
                break
            try:
                frame = self._checked(peer, frames)
            except UnitsyncError as problem:
                refused.append((peer, wire.encode(error_reply("", "", problem))))
            else:
                size += len(frame)
                batch.append((peer, frame))
        replies = self._on_batch(batch) if batch else ()
        self.send([*refused, *replies])

    def _frames(self, peer: bytes) -> list[bytes] | None:
        """The rest of the message; None if *peer* may not talk to us."""
        if peer in self._known:
            frames = [self._socket.recv(zmq.NOBLOCK)]
            while self._socket.getsockopt(zmq.RCVMORE):
                frames.append(self._socket.recv(zmq.NOBLOCK))
            return frames
        parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        if not self._permitted(parts[0]):
            return None
        if len(self._known) >= KNOWN_PEERS_MAX:
            self._known.clear()
        self._known.add(peer)
        return [part.bytes for part in parts]

    def _permitted(self, part: zmq.Frame) -> bool:
        """libzmq gives an ipc peer as ``localhost:uid:gid:pid`` (SO_PEERCRED)."""
        try:
            uid, gid, _ = str(part.get("Peer-Address")).rsplit(":", 3)[-3:]
            return self._permits(int(uid), int(gid))
        except (zmq.ZMQError, ValueError):
            return False

    def _checked(self, peer: bytes, frames: list[bytes] | None) -> bytes:
        if frames is None:
            raise NotPermitted(
                "this coordinator does not serve you",
                hint="it serves its own user and root; serve --allow adds others",
            )
        if len(frames) != 2 or frames[0]:
            raise ProtocolError("a request is one frame, sent by a REQ socket")
        if len(frames[1]) > wire.MESSAGE_BYTES_MAX:
            raise LimitReached(
                f"a message has at most {wire.MESSAGE_BYTES_MAX:,} bytes, "
                f"this one {len(frames[1]):,}",
                hint="spread it over several requests",
                limit="message size",
                maximum=wire.MESSAGE_BYTES_MAX,
            )
        return frames[1]
