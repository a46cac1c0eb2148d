"""The link of ``up``: an asyncio client without libzmq, which speaks as the command line does
(link/by_hand.py). Loading libzmq takes as long as some small plans, and its threads would take part
in every message."""

from __future__ import annotations

import asyncio

from unitsync import errors, wire
from unitsync.clients.base import LinkLost
from unitsync.clients.in_flight import InFlight, again
from unitsync.link import endpoint as endpoints
from unitsync.link.by_hand import (
    GREETING,
    READY,
    check_greeting,
    check_ready,
    frame_in,
    is_last,
    message,
)

_READ_BYTES = 1 << 16


class StreamLink(InFlight):
    def __init__(self, endpoint: endpoints.Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        """Raises LinkLost if nobody listens there, and what endpoint.connect() raises."""
        super().__init__(loop)
        connected = endpoints.connect(endpoint)
        if connected is None:
            raise LinkLost
        self._socket = connected
        connected.setblocking(False)
        self._arrived = bytearray()
        self._greeted = False
        self._ready = False
        self._unsent = bytearray(GREETING + READY)
        self._held = bytearray()
        """Messages for a coordinator that is not ready for them."""
        self._waits_to_write = False
        loop.add_reader(connected, self._receive)
        self._write()

    def send(self, frame: bytes) -> None:
        if self._closed:
            raise LinkLost
        if not self._ready:
            self._held += message(frame)
            return
        was_empty = not self._unsent
        self._unsent += message(frame)
        if was_empty:
            self._write()

    def _write(self) -> None:
        """Send what the socket takes now, and the rest as soon as it takes more."""
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading says so as well
        del self._unsent[:sent]
        if bool(self._unsent) != self._waits_to_write:
            self._waits_to_write = not self._waits_to_write
            if self._waits_to_write:
                self._loop.add_writer(self._socket, self._write)
            else:
                self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        if self._closed:
            return
        try:
            while data := self._socket.recv(_READ_BYTES):
                self._arrived += data
                self._take()
                if len(data) < _READ_BYTES:
                    return
            raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            self.close(LinkLost)
        except errors.ProtocolError as problem:
            self.close(again(problem))

    def _take(self) -> None:
        """Deliver what has arrived as a whole. Raises ConnectionError, ProtocolError."""
        at, arrived = 0, self._arrived
        if not self._greeted:
            if len(arrived) < len(GREETING):
                return
            check_greeting(arrived)
            self._greeted = True
            at = len(GREETING)
        while True:
            start, end = frame_in(arrived, at)
            if not end:
                break
            flags, body = arrived[at], arrived[start:end]
            at = end
            if not self._ready:
                check_ready(flags, body)
                self._ready = True
                self._unsent += self._held
                self._held.clear()
                self._write()
            elif is_last(flags):
                self._deliver(wire.decode_reply(bytes(body)))
        del arrived[:at]

    def _disconnect(self, *, lost: bool) -> None:
        if self._is_ours() and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()
