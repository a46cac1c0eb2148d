"""Counts the bytes sent to clients that they have not read yet.

libzmq bounds the number of messages that wait for a client, but not their size. A page of
a list is a thousand times as long as other replies. So long replies are tracked: libzmq
tells when it has released them.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

import zmq

LONG_BYTES: Final = 4096
"""Replies from this length on are counted."""
CLIENT_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes of long replies that one client may leave unread."""
ALL_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Bytes of long replies that all clients together may leave unread. Beyond that, a client
that has any unread gets no further ones."""
_SWEEP_EVERY: Final = 1000

_Held: TypeAlias = tuple[int, zmq.MessageTracker]


class Backpressure:
    def __init__(self) -> None:
        self._held: dict[bytes, deque[_Held]] = {}
        self._bytes: dict[bytes, int] = {}
        self._all = 0
        self._until_sweep = _SWEEP_EVERY

    def has_room(self, peer: bytes, size: int) -> bool:
        """Whether *peer* may be sent *size* more bytes."""
        self._look(peer)
        held = self._bytes.get(peer, 0)
        if held + size > CLIENT_BYTES_MAX:
            return False
        if self._all + size > ALL_BYTES_MAX:
            self._sweep()
        return not held or self._all + size <= ALL_BYTES_MAX

    def sent(self, peer: bytes, size: int, tracker: zmq.MessageTracker) -> None:
        self._held.setdefault(peer, deque()).append((size, tracker))
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self._all += size
        self._until_sweep -= 1
        if not self._until_sweep:
            self._sweep()

    def _look(self, peer: bytes) -> None:
        """Forget what *peer* has read, or what was lost with its connection."""
        held = self._held.get(peer)
        if held is None:
            return
        while held and held[0][1].done:
            size, _ = held.popleft()
            self._bytes[peer] -= size
            self._all -= size
        if not held:
            del self._held[peer], self._bytes[peer]

    def _sweep(self) -> None:
        self._until_sweep = _SWEEP_EVERY
        for peer in list(self._held):
            self._look(peer)
