"""A connection to the coordinator without zmq: ZMTP 3.0 over a unix socket
(rfc.zeromq.org/spec/23, NULL mechanism), as a REQ peer. For a verb, importing zmq would take
longer than everything else together.

Imports only what the interpreter has already loaded, and ``_socket``.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from unitsync import surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_GLANCE_S = 5
"""How long one system call may wait for the reply. If a signal comes just before the call
begins, Python notices it only when the call ends."""
_LONG_BYTES = 8 if sys.maxsize > 1 << 32 else 4
_SO_PEERCRED = 17
_SO_SNDTIMEO = 21
_READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
_COMMAND, _LONG, _MORE = 4, 2, 1
"""Flags of a frame."""


def reach(address: str, *, by: float, starting: bool = False) -> Link:
    """A connection to our coordinator at *address*, made by *by*. With *starting*, which says
    that we would start a coordinator, waits while another process starts one.

    Raises OSError, also for a folder or a peer that must not be trusted, and if it is our turn
    to start a coordinator. Raises ValueError for what is not an address. endpoint.connect()
    says in words what is wrong."""
    user = surroundings.invoking_user(os.environ)
    path = address.removeprefix("ipc://")
    if path == address or path[:1] != "/" or len(os.fsencode(path)) > surroundings.PATH_BYTES_MAX:
        raise ValueError(address)
    link = _reach(path, user, by)
    if link is None and starting and user == os.geteuid():
        from unitsync.spawn_lock import await_another

        link = await_another(os.path.dirname(path), user, lambda: _reach(path, user, by), by)
    if link is None:
        raise ConnectionRefusedError
    return link


def _reach(path: str, user: int, by: float) -> Link | None:
    """A connection to *path*, or None if nobody listens there. Raises OSError."""
    import _socket

    patience_s = min(surroundings.CONNECT_PATIENCE_S, max(0.001, by - monotonic()))
    try:
        folder = os.lstat(os.path.dirname(path))
        if (
            folder.st_mode >> 12 != 4  # S_ISDIR, and no link
            or not surroundings.folder_owner_trusted(folder.st_uid, user)
            or not surroundings.folder_mode_trusted(folder.st_mode)
        ):
            raise PermissionError
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # With a Python timeout, connect() would fail at once if the backlog is full.
        timeval = divmod(int(patience_s * 1_000_000), 1_000_000)
        packed = b"".join(part.to_bytes(_LONG_BYTES, sys.byteorder) for part in timeval)
        link.setsockopt(_socket.SOL_SOCKET, _SO_SNDTIMEO, packed)
        link.connect(path)
        peer = link.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)
        if not surroundings.peer_trusted(int.from_bytes(peer[4:8], sys.byteorder), user):
            raise PermissionError
        link.settimeout(patience_s)
        return Link(link)
    except BaseException as exc:
        link.close()
        if isinstance(exc, FileNotFoundError | ConnectionRefusedError):
            return None
        raise


class Link:
    """Sends and receives frames as a REQ peer. It can send another request even if the reply
    to the last one did not come in time."""

    def __init__(self, socket: Any) -> None:
        """*socket* is connected. Raises OSError."""
        self._socket = socket
        # Both at once: with NULL a peer need not wait for the other's greeting (RFC 23).
        socket.sendall(_GREETING + _READY)
        self._buffer = b""
        self._is_ready = False
        self.greeted = False
        """Whether the coordinator has sent us anything. It closes the connections of users whom
        it does not serve before that."""

    def close(self) -> None:
        self._socket.close()

    __del__ = close  # wherever it is dropped; otherwise Python could warn of an open socket

    def send(self, frame: bytes, by: float) -> None:
        """Send *frame*. Raises OSError, and TimeoutError if there is no greeting by *by*."""
        size = len(frame)
        head = b"\x00" + bytes((size,)) if size < 256 else b"\x02" + size.to_bytes(8, "big")
        if not self._is_ready:
            # libzmq closes the connection if a message comes before it has sent its READY.
            self._greet(by)
        self._socket.settimeout(max(0.001, by - monotonic()))
        try:
            self._socket.sendall(b"\x01\x00" + head + frame)
        except TimeoutError:  # half of it may have been sent
            raise ConnectionError from None

    def receive(self, by: float) -> bytes:
        """The one frame of the next message. Raises OSError, and TimeoutError at *by*."""
        while True:
            flags, body = self._frame(by)
            # A delimiter with the MORE flag comes before it. A command needs no answer.
            if not flags & (_COMMAND | _MORE):
                return body

    def _greet(self, by: float) -> None:
        while not self.greeted:
            greeting = self._buffer[:64]
            if len(greeting) < 64:
                self._read(by)
                continue
            if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f" or greeting[10] < 3:
                raise ConnectionError("not a ZMTP 3 peer")
            self._buffer = self._buffer[64:]
            self.greeted = True
        flags, body = self._frame(by)
        if not flags & _COMMAND or body[:6] != b"\x05READY":
            raise ConnectionError("the peer refuses us")
        self._is_ready = True

    def _frame(self, by: float) -> tuple[int, bytes]:
        """Flags and body of the next frame. It is taken only when all of it has arrived."""
        while True:
            buffer = self._buffer
            start = 9 if buffer and buffer[0] & _LONG else 2
            if len(buffer) >= start:
                end = start + int.from_bytes(buffer[1:start], "big")
                if len(buffer) >= end:
                    self._buffer = buffer[end:]
                    return buffer[0], buffer[start:end]
            self._read(by)

    def _read(self, by: float) -> None:
        """Add what arrives next to the buffer. Raises OSError, and TimeoutError at *by*."""
        while True:
            left_s = by - monotonic()
            self._socket.settimeout(max(0.001, min(left_s, _GLANCE_S)))
            try:
                more = self._socket.recv(1 << 18)
            except TimeoutError:
                if left_s <= _GLANCE_S:
                    raise
                continue
            if not more:
                raise ConnectionError
            self._buffer += more
            return
