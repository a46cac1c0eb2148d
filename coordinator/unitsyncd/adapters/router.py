"""The ZeroMQ side: a ROUTER that plain REQ sockets talk to.

The socket's descriptor is watched by the event loop and drained without blocking. It
is edge-triggered (zmq_getsockopt(3), ZMQ_FD), so that ``EVENTS`` has to be looked at
again after draining and after every send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from time import monotonic
from typing import Final, TypeAlias

import zmq
from loguru import logger

from unitsync import wire
from unitsync.errors import LimitReached, NotPermitted, ProtocolError, UnitsyncError
from unitsyncd import faults
from unitsyncd.adapters.gate import Gate, Room
from unitsyncd.adapters.unread import LONG_BYTES, Unread
from unitsyncd.core.wording import error_reply

Envelope: TypeAlias = tuple[bytes, bytes]
"""(routing id of the peer, one frame)"""

BATCH_MAX: Final = 16
"""Requests that one turn of the loop takes. All of them are answered at its end: with
larger turns clients wait for each other, and the coordinator then for them. For 32
clients 16 gives a quarter more requests per second than 512, and than 4."""
BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
TURN_S: Final = 0.02
"""A turn that has taken so long takes no further request. libzmq hands over those of all
clients in rotation, so that nobody waits for all that another one has sent."""
UNHANDLED_MAX: Final = 250
"""Messages of one client that libzmq reads ahead."""
KNOWN_PEERS_MAX: Final = 65_536
REPLIES_QUEUED_MAX: Final = 25_000
"""Replies that a client may leave unread. One that has thousands of requests in flight on
its socket gets them all in one turn: more than it may have held back, 20,000. Those that
are shorter than LONG_BYTES are bounded by this alone, at 100 MB."""
DROPPED_EVERY_S: Final = 10.0
"""How often it is logged, at the most, that replies were dropped."""
FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
"""libzmq cuts the connection beyond this, and a REQ would hang; the documented limit,
wire.MESSAGE_BYTES_MAX, is far below and answered with an error."""
# As plain ints: pyzmq's are enum flags, and each use of one costs as much as a send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
FAREWELL_MS: Final = 1000
"""How long the last replies may take to leave when the coordinator ends."""


class Router:
    def __init__(
        self,
        address: str,
        *,
        permits: Callable[[int, int], bool],
        open_to_all: bool,
        on_batch: Callable[[Iterable[Envelope]], Sequence[Envelope]],
        epoch: Callable[[], str],
        room: Room,
        on_full: Callable[[bool], bool],
    ) -> None:
        """Bind to *address*; *permits* says whether a peer (uid, gid) may talk. With
        *open_to_all* it is asked for each message: a peer names itself, and may take
        the name of one that is gone. *on_batch* turns requests into the replies that are
        due; *epoch* gives the present one, for what is refused here. *on_full* is told, in a
        thread of its own, when there is no more room for connections, and when there is
        again: see Gate."""
        self._permits = permits
        self._known_max = 0 if open_to_all else KNOWN_PEERS_MAX
        self._on_batch = on_batch
        self._epoch = epoch
        self._known: set[bytes] = set()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 16)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, REPLIES_QUEUED_MAX)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.set(zmq.RCVHWM, UNHANDLED_MAX)
        self._socket.set(zmq.BACKLOG, room.backlog)
        self._socket.set(zmq.LINGER, FAREWELL_MS)
        self._socket.copy_threshold = LONG_BYTES
        self._unread = Unread()
        self._dropped = 0
        self._tell_dropped_at = 0.0
        self._gate = Gate(self._socket, room=room, on_full=on_full)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as exc:
            raise OSError(exc.errno, exc.strerror, address) from None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Handle | None = None

    @property
    def connections(self) -> int:
        return self._gate.connections

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._drain)
        self._gate.start()
        self._look_again()

    def close(self) -> None:
        """Stop listening; replies already sent leave within FAREWELL_MS."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        if self._again is not None:
            self._again.cancel()
        self._gate.close()
        self._socket.close()
        self._context.term()

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Send without ever blocking. A peer that is gone, or that leaves too much
        unread, gets nothing."""
        send, unread = self._socket.send, self._unread
        for number, (peer, frame) in enumerate(envelopes):
            if number == 1:
                faults.reach("sent one")
            size = len(frame)
            if size >= LONG_BYTES and not unread.has_room(peer, size):
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
                    unread.sent(peer, size, tracker)
            except zmq.Again:
                self._drop()
            except zmq.ZMQError as exc:
                if exc.errno != zmq.EHOSTUNREACH:
                    raise
        if envelopes:
            faults.reach("sent")
        self._look_again()

    def _drop(self) -> None:
        """Take note of a reply to a client that does not read."""
        self._dropped += 1
        now = monotonic()
        if now >= self._tell_dropped_at:
            self._tell_dropped_at = now + DROPPED_EVERY_S
            logger.warning("clients do not read; replies dropped so far: {}", self._dropped)

    def _look_again(self) -> None:
        """Drain once more if something arrived that no edge will tell of."""
        assert self._loop is not None
        if self._again is None and self._readable():
            self._again = self._loop.call_soon(self._drain)

    def _readable(self) -> bool:
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def _drain(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        refused: list[Envelope] = []
        arriving = self._arriving(refused)
        first = next(arriving, None)
        replies: Sequence[Envelope] = ()
        try:
            if first is not None:
                replies = self._on_batch(chain((first,), arriving))
        finally:  # a defect is no reason to look no further
            self.send([*refused, *replies])

    def _arriving(self, refused: list[Envelope]) -> Iterator[Envelope]:
        """What may be handled in this turn, read when it is asked for; what may not is
        answered in *refused*."""
        size = 0
        until = monotonic() + TURN_S
        for _ in range(BATCH_MAX):
            try:
                peer = self._socket.recv(_NOBLOCK)
                frames = self._frames(peer)
            except zmq.Again:
                return
            try:
                frame = self._checked(frames)
            except UnitsyncError as problem:
                epoch = "" if isinstance(problem, NotPermitted) else self._epoch()
                refused.append((peer, wire.encode(error_reply("", epoch, problem))))
            else:
                yield peer, frame
                size += len(frame)
            if size >= BATCH_BYTES_MAX or monotonic() >= until:
                return

    def _frames(self, peer: bytes) -> list[bytes] | None:
        """The rest of the message; None if *peer* may not talk to us."""
        part = self._socket.recv(_NOBLOCK, copy=False)
        if peer not in self._known and not self._admitted(peer, part):
            while part.more:
                part = self._socket.recv(_NOBLOCK, copy=False)
            return None
        frames = [part.bytes]
        while part.more:
            part = self._socket.recv(_NOBLOCK, copy=False)
            if len(frames) < 3:
                frames.append(part.bytes)
        return frames

    def _admitted(self, peer: bytes, part: zmq.Frame) -> bool:
        if not self._permitted(part):
            return False
        if len(self._known) >= self._known_max:
            self._known.clear()
        if self._known_max:
            self._known.add(peer)
        return True

    def _permitted(self, part: zmq.Frame) -> bool:
        """libzmq gives an ipc peer as ``localhost:uid:gid:pid`` (SO_PEERCRED)."""
        try:
            uid, gid, _ = str(part.get("Peer-Address")).rsplit(":", 3)[-3:]
            return self._permits(int(uid), int(gid))
        except (zmq.ZMQError, ValueError):
            return False

    def _checked(self, frames: list[bytes] | None) -> bytes:
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
