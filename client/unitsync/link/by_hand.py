"""The wire without zmq and msgspec: for a verb, importing these would take longer than everything
else together.

- where our coordinator listens, and whom to trust there
- a connection to it: ZMTP 3.0 over a unix socket (rfc.zeromq.org/spec/23, NULL mechanism), as
  a REQ peer
- messages: the part of msgpack that the command line needs. tests/fuzz/test_msgpack.py
  compares it with msgspec.

Imports only what the interpreter has already loaded, and ``_socket``.
"""

import os
import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONNECT_PATIENCE_S = 5
"""How long a busy coordinator may take to accept a connection."""
PATH_BYTES_MAX = 107
"""sun_path of unix(7), less its final zero byte."""
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_GLANCE_S = 5
"""How long one system call may wait for the reply. If a signal comes just before the call
begins, Python notices it only when the call ends."""
_LONG_BYTES = 8 if sys.maxsize > 1 << 32 else 4
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
_COMMAND, _LONG, _MORE = 4, 2, 1
"""Flags of a frame."""
_READ_BYTES = 1 << 16


# --- where ----------------------------------------------------------------------------


def invoking_user(environ: "Mapping[str, str]") -> int:
    """Our effective uid. For root under sudo, the uid of the user who called sudo."""
    euid = os.geteuid()
    by_sudo = environ.get("SUDO_UID", "")
    if euid == 0 and by_sudo.isascii() and by_sudo.isdigit():
        return int(by_sudo)
    return euid


def address_of(given: "str | None", environ: "Mapping[str, str]" = os.environ) -> str:
    """Where the coordinator is: at the *given* address, else where UNITSYNC_ENDPOINT says, else in
    the folder of the invoking user."""
    return given or environ.get("UNITSYNC_ENDPOINT") or default_address(invoking_user(environ))


def default_address(user: int) -> str:
    return f"ipc:///tmp/unitsync-{user}/coordinator.sock"


def trusted(uid: int, user: int) -> bool:
    """Whether *user* trusts a coordinator that runs as *uid*, or a folder that *uid* owns."""
    return uid in (user, os.geteuid(), 0)


def folder_mode_trusted(mode: int) -> bool:
    """Whether nobody else may list or change a folder with this mode. Others may have
    permission to pass through: ``serve --allow`` needs that, and peers are checked anyway."""
    return not mode & 0o066


# --- the connection -------------------------------------------------------------------


def reach(address: str, *, by: float, starting: bool = False) -> "Link":
    """A connection to our coordinator at *address*, made by *by*. With *starting*, which says
    that we would start a coordinator, waits while another process starts one.

    Raises OSError, also for a folder or a peer that must not be trusted, and if it is our turn
    to start a coordinator. Raises ValueError for what is not an address. endpoint.connect()
    says in words what is wrong."""
    user = invoking_user(os.environ)
    path = address.removeprefix("ipc://")
    if path == address or path[:1] != "/" or len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ValueError(address)
    link = _reach(path, user, by)
    if link is None and starting and user == os.geteuid():
        from unitsync.link.spawn_lock import await_another

        link = await_another(os.path.dirname(path), user, lambda: _reach(path, user, by), by)
    if link is None:
        raise ConnectionRefusedError
    return link


def _reach(path: str, user: int, by: float) -> "Link | None":
    """A connection to *path*, or None if nobody listens there. Raises OSError."""
    import _socket

    try:
        folder = os.lstat(os.path.dirname(path))
        if (
            folder.st_mode >> 12 != 4  # S_ISDIR, and no link
            or not trusted(folder.st_uid, user)
            or not folder_mode_trusted(folder.st_mode)
        ):
            raise PermissionError
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        connect(link, path, by)
        if not trusted(peer_of(link)[1], user):
            raise PermissionError
        return Link(link)
    except BaseException as exc:
        link.close()
        if isinstance(exc, FileNotFoundError | ConnectionRefusedError):
            return None
        raise


def connect(link: "Any", path: str, by: float) -> None:
    """Connect *link*, a unix socket without a Python timeout, to *path*. It and every further
    call of *link* take CONNECT_PATIENCE_S at most, and not longer than until *by*. Raises
    OSError: BlockingIOError if the backlog is full."""
    import _socket

    # With a Python timeout, connect() would fail at once if the backlog is full.
    patience_us = int(1e6 * max(0.001, min(CONNECT_PATIENCE_S, by - monotonic())))
    parts = (part.to_bytes(_LONG_BYTES, sys.byteorder) for part in divmod(patience_us, 10**6))
    timeval = b"".join(parts)
    link.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
    link.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, timeval)
    link.connect(path)


def peer_of(link: "Any") -> tuple[int, int]:
    """pid and uid of the other side of *link*."""
    import _socket

    peer = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(peer[:4], sys.byteorder), int.from_bytes(peer[4:8], sys.byteorder)


# --- what is said on it -----------------------------------------------------------------


def message(frame: bytes) -> bytes:
    """The bytes of a message with this one *frame*, and the delimiter that comes before it."""
    size = len(frame)
    head = b"\x00" + bytes((size,)) if size < 256 else b"\x02" + size.to_bytes(8, "big")
    return b"\x01\x00" + head + frame


def frame_in(buffer: "bytes | bytearray", at: int = 0) -> tuple[int, int]:
    """Where the body of the frame that begins at *at* begins and ends. Its flags are the byte
    *at*. The end is 0 if the frame has not arrived as a whole."""
    if len(buffer) <= at:
        return at, 0
    start = at + (9 if buffer[at] & _LONG else 2)
    end = start + int.from_bytes(buffer[at + 1 : start], "big")
    return start, end if start <= len(buffer) >= end else 0


def is_last(flags: int) -> bool:
    """Whether a frame with these *flags* ends a message. A delimiter comes before it, and a
    command needs no answer."""
    return not flags & (_COMMAND | _MORE)


def check_greeting(greeting: "bytes | bytearray") -> None:
    """Raises ConnectionError if a peer that begins with *greeting* does not speak our protocol."""
    if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f" or greeting[10] < 3:
        raise ConnectionError("not a ZMTP 3 peer")


def check_ready(flags: int, body: "bytes | bytearray") -> None:
    """Raises ConnectionError unless the peer's first frame says that messages may come. libzmq
    closes the connection if one comes before that."""
    if not flags & _COMMAND or body[:6] != b"\x05READY":
        raise ConnectionError("the peer refuses us")


class Link:
    """Sends and receives frames as a REQ peer. It can send another request even if the reply
    to the last one did not come in time."""

    def __init__(self, socket: "Any") -> None:
        """*socket* is connected. Raises OSError."""
        self._socket = socket
        # Both at once: with NULL a peer need not wait for the other's greeting (RFC 23).
        socket.sendall(GREETING + READY)
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
        if not self._is_ready:
            self._greet(by)
        self._socket.settimeout(max(0.001, by - monotonic()))
        try:
            self._socket.sendall(message(frame))
        except TimeoutError:  # half of it may have been sent
            raise ConnectionError from None

    def receive(self, by: float) -> bytes:
        """The one frame of the next message. Raises OSError, and TimeoutError at *by*."""
        while True:
            flags, body = self._frame(by)
            if is_last(flags):
                return body

    def _greet(self, by: float) -> None:
        while not self.greeted:
            if len(self._buffer) < len(GREETING):
                self._read(by)
                continue
            check_greeting(self._buffer)
            self._buffer = self._buffer[len(GREETING) :]
            self.greeted = True
        check_ready(*self._frame(by))
        self._is_ready = True

    def _frame(self, by: float) -> tuple[int, bytes]:
        """Flags and body of the next frame. It is taken only when all of it has arrived."""
        while True:
            start, end = frame_in(self._buffer)
            if end:
                buffer, self._buffer = self._buffer, self._buffer[end:]
                return buffer[0], buffer[start:end]
            self._read(by)

    def _read(self, by: float) -> None:
        """Add what arrives next to the buffer. Raises OSError, and TimeoutError at *by*."""
        while True:
            left_s = by - monotonic()
            self._socket.settimeout(max(0.001, min(left_s, _GLANCE_S)))
            try:
                more = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                if left_s <= _GLANCE_S:
                    raise
                continue
            if not more:
                raise ConnectionError
            self._buffer += more
            return


# --- messages -------------------------------------------------------------------------

_DEFAULTS = {
    **dict.fromkeys(("reason", "nearest", "pattern", "before", "note"), ""),
    **dict.fromkeys(("given_up", "given_up_why"), ""),
    **dict.fromkeys(("command", "epoch", "startup"), ""),
    **dict.fromkeys(("code", "message", "hint"), ""),
    **dict.fromkeys(("job", "host", "standing"), ""),
    **dict.fromkeys(
        (
            "run",
            "prerequisites_total",
            "waiting_clients",
            "more",
            "exit",
            "gate_count",
            "claim",
            "expected",
        ),
        0,
    ),
    **dict.fromkeys(("owner", "given_up_by", "requires", "tree"), None),
    **dict.fromkeys(("owner_gone", "still_runs", "optional", "gate", "next_run"), False),
    **dict.fromkeys(("own", "released", "synced", "takes_part"), False),
    **dict.fromkeys(("prerequisites", "history", "because", "units", "groups"), ()),
    **dict.fromkeys(("out", "err", "waiting_for", "hosts"), ()),
    "next": -1,
    "changed": True,
    "since": 0.0,
    "on_owner_exit": "fail",
    "watched": True,
}


class Plain:
    """A map of a reply, with its fields as attributes. Missing ones have wire.py's defaults."""

    __slots__ = ("fields",)

    def __init__(self, fields: "dict[str, Any]") -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> "Any":
        value = self.fields.get(name, _DEFAULTS.get(name))
        if isinstance(value, dict):
            return Plain(value)
        if isinstance(value, list):
            return [Plain(item) if isinstance(item, dict) else item for item in value]
        return value


def pack(value: object) -> bytes:
    """*value* in msgpack. It may be a str, bool, unsigned 64-bit int, float, list or dict.
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
        double = memoryview(bytearray(8)).cast("d")
        double[0] = value
        return b"\xcb" + _big_endian(double.tobytes())
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return b"\xdf" + len(value).to_bytes(4, "big") + items
    raise ValueError(value)


def unpack(data: bytes, at: int) -> "tuple[Any, int]":
    """The value that begins at *at*, and the offset where it ends. Raises ValueError,
    IndexError, RecursionError, TypeError."""
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
        return memoryview(_big_endian(data[at : at + 8])).cast("d")[0], at + 8
    if 0xCC <= kind <= 0xD3:
        width = 1 << (kind & 3)
        return int.from_bytes(data[at : at + width], "big", signed=kind >= 0xD0), at + width
    if kind in _SIZED:
        width, read = _SIZED[kind]
        size = int.from_bytes(data[at : at + width], "big")
        return read(data, at + width, size)
    raise ValueError(f"msgpack type {kind:#x}")


def _big_endian(double: bytes) -> bytes:
    """To the byte order of the wire, and back. A float can be cast without an import; the
    module struct would cost as much as this one."""
    return double[::-1] if sys.byteorder == "little" else double


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
