"""The cheap path of the verbs that scripts call.

Starting Python takes 7 ms; loading zmq, msgspec and typer takes ten times that. Here a
verb in its plain form talks to the coordinator without any of them: ZMTP 3.0
(rfc.zeromq.org/spec/23, NULL mechanism, as a REQ peer) by hand over the local socket,
with a few lines of msgpack. Exit status and text come ready-made in the reply, so that
both paths print the same bytes; tests/cli runs its cases through both.

Whatever is not plain is left to the full command line: other options, help, no
coordinator yet, a folder or peer that is not ours, an answer that is not understood,
a link that breaks. It then goes on with the same request id (``resumed``), so that
nothing happens twice.

Imports nothing but what the interpreter has loaded anyway, and ``_socket``.
"""

import os
import sys
from time import monotonic

from unitsync import surroundings
from unitsync.printing import safe, silence, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    Message: TypeAlias = dict[str, Any]

PATIENCE_S = 30
"""wire.WAITING_PATIENCE_S"""
REPLY_SLACK_S = 5
"""session.REPLY_SLACK_S"""
TIMEOUT_S = 300.0
"""options.TIMEOUT_DEFAULT_S"""
_WITHDRAW_S = 1
_REASON_MAX = 1000
"""Characters; a longer one is cut, which counts in bytes."""
_DIGITS_MAX = 19
"""A whole number of so many digits has no more than 64 bits."""
_SO_PEERCRED = 17
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"

resumed: "Message | None" = None
"""What the full command line is to go on with: id, epoch, since_run and the seconds
``waited``. None if nothing was sent."""


class Leave(Exception):
    """This is not for the express path."""


def main() -> "NoReturn":
    """Run the verb in ``sys.argv`` and end the process with its exit status."""
    try:
        status = _run(sys.argv[1:])
    except Leave:
        from unitsync.cli import main as full

        full()
    # Nothing is left to be cleaned up, and the interpreter takes its time for it.
    os._exit(status)


def _run(words: list[str]) -> int:
    """Raises Leave."""
    environ = os.environ
    request, timeout_s = _plain(words, environ)
    user = surroundings.invoking_user(environ)
    link = _connect(environ.get("UNITSYNC_ENDPOINT") or surroundings.default_address(user), user)
    request["id"] = os.urandom(8).hex()
    request["owner"] = _owner()
    try:
        if timeout_s is None:
            return _finish(_ask(link, request, REPLY_SLACK_S))
        return _wait(link, request, timeout_s)
    except (OSError, ValueError, KeyError):
        raise Leave from None


# --- the command line ---------------------------------------------------------------


def _plain(words: list[str], environ: "os._Environ[str]") -> "tuple[Message, float | None]":
    """The request that *words* ask for and, for a verb that waits, its time limit in
    seconds. Raises Leave for all that is not plain."""
    if not words:
        raise Leave
    shim = environ.get("UNITSYNC_CODER_SHIM") == "1"
    names, flags = _split(words[1:])
    request: Message = {"verb": words[0], "render": "coder" if shim else "text"}
    if startup := environ.get("UNITSYNC_STARTUP"):
        request["startup"] = startup
    elif shim and (agent := surroundings.coder_agent()) is not None:
        number = surroundings.pid_namespace()
        request["startup"] = f"coder-{number}-{agent.pid}-{agent.start}"
    verb, count = words[0], len(names)
    timeout_s: float | None = None
    if verb == "want" and count > 1 and not flags:
        request["unit"], request["prerequisites"] = names[0], names[1:]
    elif verb == "start" and count == 1 and flags.keys() <= {"--after", "--timeout"}:
        request["unit"] = names[0]
        request["after"] = [n for text in flags.get("--after", ()) for n in text.split(",") if n]
        request["on_owner_exit"] = _on_owner_exit(environ, shim)
        timeout_s = _timeout(flags, environ, shim)
    elif verb == "wait" and count and flags.keys() <= {"--timeout"}:
        request["units"] = names
        timeout_s = _timeout(flags, environ, shim)
    elif verb == "complete" and count == 1 and flags.keys() <= {"--exit-code"}:
        code = flags.get("--exit-code", ["0"])[-1]
        if not code.isascii() or not code.isdigit() or len(code) > _DIGITS_MAX:
            raise Leave
        request["unit"], request["exit_code"], request["even_so"] = names[0], int(code), shim
    elif verb == "fail" and count == 1 and flags.keys() <= {"--reason"}:
        reason = " ".join(flags.get("--reason", [""])[-1].split())
        if len(reason) > _REASON_MAX:
            raise Leave
        request["unit"], request["reason"] = names[0], reason
    elif (verb == "status" and count == 1) and not flags:
        request["unit"] = names[0]
    elif not (verb == "ping" and not count and not flags):
        raise Leave
    return request, timeout_s


def _split(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Names, and flags with their values. Raises Leave for a flag without one."""
    names: list[str] = []
    flags: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word[:1] != "-":
            names.append(word)
            continue
        flag, given, value = word.partition("=")
        if not given:
            value = next(rest, "-")
            if value[:1] == "-":
                raise Leave
        flags.setdefault(flag, []).append(value)
    return names, flags


def _timeout(flags: dict[str, list[str]], environ: "os._Environ[str]", shim: bool) -> float:
    if "--timeout" in flags:
        text = flags["--timeout"][-1]
    else:
        text = environ.get("UNITSYNC_TIMEOUT", "")
        if not text:
            return TIMEOUT_S
    if text == "none":
        return float("inf")
    unit = _UNIT_S.get(text[-1:], 0)
    digits = text[:-1] if unit else text
    if not digits.isascii() or not digits.isdigit():
        raise Leave
    seconds = float(digits) * (unit or 1)
    return float("inf") if shim and not seconds else seconds


def _on_owner_exit(environ: "os._Environ[str]", shim: bool) -> str:
    chosen = environ.get("UNITSYNC_ON_OWNER_EXIT") or ("warn" if shim else "fail")
    if chosen not in ("fail", "complete", "ignore", "warn"):
        raise Leave
    return chosen


def _owner() -> "Message":
    script = surroundings.calling_script()
    if script is None or script.pid < 2:
        raise Leave
    namespace = surroundings.pid_namespace()
    return {
        "pid": script.pid,
        "start": script.start,
        "ns": namespace,
        "command": script.command,
    }


# --- the conversation ---------------------------------------------------------------


def _wait(link: "Any", request: "Message", timeout_s: float) -> int:
    """Ask until there is a final answer, as session.Conversation does."""
    import _signal  # type: ignore[import-not-found]

    global resumed
    began = monotonic()
    deadline = began + timeout_s
    noticed = -float("inf")
    gone: set[str] = set()
    patience: float = 0
    for number in (_signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _end)
    try:
        while True:
            now = monotonic()
            request["last"] = now >= deadline
            if request["last"]:
                patience = 0
            request["patience_s"] = patience
            resumed = {**request, "waited": now - began}
            reply = _ask(link, request, patience + REPLY_SLACK_S)
            kind = reply["result"]
            if kind not in ("waiting", "ready"):
                if reply.get("code") == "stopped":
                    raise Leave
                return _finish(reply)
            request.setdefault("epoch", reply["epoch"])
            if request["verb"] == "start":
                request.setdefault("since_run", reply.get("run", 0))
            now = monotonic()
            patience = 0
            if kind == "waiting":
                patience = max(0, min(PATIENCE_S, deadline - now))
                before = gone
                gone = {edge["name"] for edge in reply["waiting_for"] if edge.get("owner_gone")}
                if noticed + PATIENCE_S - 1 <= now < deadline or not gone <= before:
                    noticed = now
                    _print_err(reply)
    except (KeyboardInterrupt, SystemExit) as exc:
        link.close()
        _withdraw(request)
        if isinstance(exc, SystemExit):
            return int(exc.code or 0)
        _print_err({"err": ["error: interrupted"]})
        return 130


def _end(number: int, frame: object) -> "NoReturn":
    raise SystemExit(128 + number)


def _withdraw(request: "Message") -> None:
    """Take a start back: nothing may be granted to somebody who is gone."""
    if request["verb"] != "start":
        return
    back = {
        "verb": "withdraw",
        "id": os.urandom(8).hex(),
        "unit": request["unit"],
        "start_id": request["id"],
        "reason": "interrupted",
        "owner": request["owner"],
    }
    if "startup" in request:
        back["startup"] = request["startup"]
    user = surroundings.invoking_user(os.environ)
    address = os.environ.get("UNITSYNC_ENDPOINT") or surroundings.default_address(user)
    try:
        _ask(_connect(address, user), back, _WITHDRAW_S)
    except (Leave, OSError, ValueError, KeyError):
        return  # it is gone as well, or forgets the start by itself


def _finish(reply: "Message") -> int:
    """Print what *reply* brings; its exit status."""
    if reply["result"] == "error" and not reply.get("err"):
        raise Leave
    _print_err(reply)
    try:
        write_lines(sys.stdout, map(safe, reply.get("out", ())))
    except BrokenPipeError:
        silence(1)
    except OSError as exc:
        silence(1)
        why = (exc.strerror or str(exc)).lower()
        _print_err({"err": [f"error: cannot write to stdout: {why}"]})
        return 1
    return int(reply.get("exit", 0))


def _print_err(reply: "Message") -> None:
    try:
        write_lines(sys.stderr, map(safe, reply.get("err", ())))
    except OSError:
        silence(2)


# --- ZMTP ---------------------------------------------------------------------------


def _connect(address: str, user: int) -> "Any":
    """A socket with a coordinator at its other end that may be trusted. Raises Leave."""
    import _socket

    path = address.removeprefix("ipc://")
    if path == address or path[:1] != "/" or len(os.fsencode(path)) > surroundings.PATH_BYTES_MAX:
        raise Leave
    try:
        folder = os.lstat(os.path.dirname(path))
        if (
            folder.st_mode >> 12 != 4  # S_ISDIR, and no link
            or not surroundings.folder_owner_trusted(folder.st_uid, user)
            or not surroundings.folder_mode_trusted(folder.st_mode)
        ):
            raise Leave
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        link.settimeout(REPLY_SLACK_S)
        link.connect(path)
        peer = link.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)
    except (OSError, ValueError):
        raise Leave from None
    if not surroundings.peer_trusted(int.from_bytes(peer[4:8], sys.byteorder), user):
        raise Leave
    # Both at once: a peer that uses NULL knows beforehand what will be said (RFC 23).
    link.sendall(_GREETING + _READY)
    return _Link(link)


class _Link:
    """The connection after our greeting: frames out, frames in."""

    def __init__(self, socket: "Any") -> None:
        self._socket = socket
        self._buffer = b""
        self._greeted = False

    def close(self) -> None:
        self._socket.close()

    def ask(self, frame: bytes, reply_within_s: float) -> bytes:
        """The one frame that answers *frame*. Raises OSError, ValueError."""
        size = len(frame)
        head = b"\x00" + bytes((size,)) if size < 256 else b"\x02" + size.to_bytes(8, "big")
        self._socket.settimeout(reply_within_s)
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
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


def _ask(link: "_Link", request: "Message", reply_within_s: float) -> "Message":
    """The reply to *request*. Raises OSError, ValueError, KeyError."""
    global resumed
    if resumed is None:
        resumed = {**request, "waited": 0.0}
    reply = understood(link.ask(pack(request), reply_within_s))
    if reply["id"] != request["id"]:
        raise ValueError("another one's reply")
    return reply


def understood(frame: bytes) -> "Message":
    """The reply in *frame*. Raises ValueError if it is none that can be printed."""
    try:
        reply, end = unpack(frame, 0)
    except (IndexError, RecursionError, TypeError):
        raise ValueError("not msgpack") from None
    if (
        end != len(frame)
        or type(reply) is not dict
        or type(reply.get("id")) is not str
        or type(reply.get("result")) is not str
        or type(reply.get("exit", 0)) is not int
        or not all(type(line) is str for key in ("out", "err") for line in reply.get(key) or ())
    ):
        raise ValueError("not a reply")
    return reply


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
    """The value that begins at *at*, and where it ends. Numbers that are not whole are
    passed over (None). Raises ValueError, IndexError, RecursionError, TypeError."""
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
    if kind in (0xCA, 0xCB):
        return None, at + (4 if kind == 0xCA else 8)
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
