"""What the express path has instead of zmq and msgspec: ZMTP 3.0 by hand over a unix
socket (rfc.zeromq.org/spec/23, NULL mechanism), and as much of msgpack as it needs.

Imports nothing but what the interpreter has loaded anyway, and ``_socket``.
"""

import os
import sys

from unitsync import surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_GLANCE_S = 5
"""How long one system call may wait for the reply. A signal that comes after Python last
looked for one and before the call has begun is noticed only when that ends."""
_CONNECT_PATIENCE_S = 5
"""endpoint.CONNECT_PATIENCE_S"""
_LONG_BYTES = 8 if sys.maxsize > 1 << 32 else 4
_SO_PEERCRED = 17
_SO_SNDTIMEO = 21
_READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"


def reach(address: str = "", by: float = 0) -> "Link":
    """A connection to our coordinator, at *address* if it was named. While another process
    starts one, that is waited for until *by*. Raises OSError, also for a folder or a peer
    that must not be trusted, and where it is for us to start one; ValueError."""
    user = surroundings.invoking_user(os.environ)
    address = address or os.environ.get("UNITSYNC_ENDPOINT") or surroundings.default_address(user)
    path = address.removeprefix("ipc://")
    if path == address or path[:1] != "/" or len(os.fsencode(path)) > surroundings.PATH_BYTES_MAX:
        raise ValueError(address)
    link = _reach(path, user, by)
    starts = os.environ.get("UNITSYNC_AUTOSTART") != "0" and user == os.geteuid()
    if link is None and by and starts:
        from unitsync.spawn_lock import await_another

        link = await_another(os.path.dirname(path), user, lambda: _reach(path, user, by), by)
    if link is None:
        raise ConnectionRefusedError
    return link


def _reach(path: str, user: int, by: float) -> "Link | None":
    """None if nobody listens at *path*. Takes until *by* at the longest, if that is not 0."""
    import _socket
    from time import monotonic

    patience_s = min(_CONNECT_PATIENCE_S, max(0.001, by - monotonic() if by else 60))
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
        # With a timeout of Python's, connect() fails at once where the backlog is full.
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
    """Frames out, frames in, as a REQ peer."""

    def __init__(self, socket: "Any") -> None:
        """*socket* is connected. Raises OSError."""
        self._socket = socket
        # Both at once: a peer that uses NULL knows beforehand what will be said (RFC 23).
        socket.sendall(_GREETING + _READY)
        self._buffer = b""
        self._greeted = False

    def close(self) -> None:
        self._socket.close()

    __del__ = close  # wherever it is dropped: who has Python warn of it would be told

    def ask(self, frame: bytes, reply_within_s: float) -> bytes:
        """The one frame that answers *frame*. Raises OSError, ValueError."""
        size = len(frame)
        head = b"\x00" + bytes((size,)) if size < 256 else b"\x02" + size.to_bytes(8, "big")
        self._reply_within_s = reply_within_s
        if not self._greeted:
            greeting = self._take(64)
            if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f" or greeting[10] < 3:
                raise ValueError("not a ZMTP 3 peer")
            # libzmq hangs up on a message that comes before it has sent its own READY.
            flags = self._take(1)[0]
            ready = self._take(int.from_bytes(self._take(8 if flags & 2 else 1), "big"))
            if not flags & 4 or ready[:6] != b"\x05READY":
                raise ValueError("the peer refuses us")
            self._greeted = True
        self._socket.sendall(b"\x01\x00" + head + frame)
        while True:
            flags = self._take(1)[0]
            length = int.from_bytes(self._take(8 if flags & 2 else 1), "big")
            body = self._take(length)
            if flags & 4:
                continue  # a command that asks for no answer
            if not flags & 1:
                return body  # the delimiter before it had the MORE flag

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self._receive()
            if not more:
                raise ConnectionError
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _receive(self) -> bytes:
        left_s = self._reply_within_s
        while True:
            self._socket.settimeout(min(left_s, _GLANCE_S))
            try:
                more: bytes = self._socket.recv(65536)
                return more
            except TimeoutError:
                left_s -= _GLANCE_S
                if left_s <= 0:
                    raise


# --- msgpack ------------------------------------------------------------------------


def pack(value: object) -> bytes:
    """*value* in msgpack: str, bool, int of 64 bits without a sign, float, list, dict.
    Raises ValueError."""
    if isinstance(value, str):
        data = value.encode()
        size = len(data)
        if size < 32:
            return bytes((0xA0 | size,)) + data
        return b"\xdb" + size.to_bytes(4, "big") + data
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes((value,))
        if 0 <= value < 1 << 64:
            return b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, float):
        import _struct

        return b"\xcb" + _struct.pack(">d", value)
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return b"\xdf" + len(value).to_bytes(4, "big") + items
    raise ValueError(value)


def unpack(data: bytes, at: int) -> "tuple[Any, int]":
    """The value that begins at *at*, and where it ends. Raises ValueError, IndexError,
    RecursionError, TypeError."""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind < 0x90:
        return _unpack_map(data, at, kind & 15)
    if kind < 0xA0:
        return _unpack_list(data, at, kind & 15)
    if kind < 0xC0:
        return data[at : at + (kind & 31)].decode(), at + (kind & 31)
    if kind >= 0xE0:
        return kind - 256, at
    if kind in (0xC0, 0xC2, 0xC3):
        return (None, None, False, True)[kind - 0xC0], at
    if kind == 0xCB:
        import _struct

        if at + 8 > len(data):
            raise ValueError("cut off")
        return _struct.unpack_from(">d", data, at)[0], at + 8
    if 0xCC <= kind <= 0xD3:
        width = 1 << (kind & 3)
        return int.from_bytes(data[at : at + width], "big", signed=kind >= 0xD0), at + width
    if kind in _SIZED:
        width, read = _SIZED[kind]
        size = int.from_bytes(data[at : at + width], "big")
        return read(data, at + width, size)
    raise ValueError(f"msgpack type {kind:#x}")


def _unpack_str(data: bytes, at: int, size: int) -> "tuple[Any, int]":
    if at + size > len(data):
        raise ValueError("cut off")
    return data[at : at + size].decode(), at + size


def _unpack_list(data: bytes, at: int, size: int) -> "tuple[Any, int]":
    values = []
    for _ in range(size):
        value, at = unpack(data, at)
        values.append(value)
    return values, at


def _unpack_map(data: bytes, at: int, size: int) -> "tuple[Any, int]":
    values = {}
    for _ in range(size):
        key, at = unpack(data, at)
        values[key], at = unpack(data, at)
    return values, at


_SIZED = {
    0xD9: (1, _unpack_str),
    0xDA: (2, _unpack_str),
    0xDB: (4, _unpack_str),
    0xDC: (2, _unpack_list),
    0xDD: (4, _unpack_list),
    0xDE: (2, _unpack_map),
    0xDF: (4, _unpack_map),
}
