"""How other commands reach a running ``up``: ``kill``, ``rerun``, ``down``, and another ``up``.

The ``up`` listens at a socket beside the coordinator's, ``up-PID.sock``. Each connection carries
one request and one answer, both a line of JSON. The folder lets in only its owner and root. The
peer's pid must be the one in the name: a socket that another process has left is not believed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from unitsync.errors import UnitsyncError, Unreachable, from_code

_NAME: Final = "up-{}.sock"
_LAST_ANSWERS_S: Final = 1.0
"""How long an ``up`` that ends waits for answers on their way."""
_REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024


class Silent(Unreachable):
    """It listens, but does not answer."""


class Request(msgspec.Struct, frozen=True):
    """``units``: those that it is about; none stands for all."""

    do: Literal["describe", "kill", "rerun", "down", "up"]
    units: list[str] = []
    grace_s: float | None = None
    plans: list[str] = []
    only: list[str] = []
    fail_fast: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``lines`` for people, or the error of unitsync.errors with this ``code``."""

    lines: list[str] = []
    units: list[str] = []
    plan: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""


class Listener:
    """The socket of this process, in *folder*. *handle* answers each request."""

    def __init__(self, folder: str, handle: Callable[[Request], Awaitable[Answer]]) -> None:
        self._folder = folder
        self._name = _NAME.format(os.getpid())
        self._handle = handle
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        with _in_folder(self._folder) as short:
            path = f"{short}/{self._name}"
            _remove(path)
            here = socket.socket(socket.AF_UNIX)
            os.fchmod(here.fileno(), 0o600)  # the file gets that mode, less the umask
            here.bind(path)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=here, limit=_REQUEST_BYTES_MAX
        )

    async def __aexit__(self, *exc: object) -> None:
        _remove(os.path.join(self._folder, self._name))
        self._server.close()
        if self._answering:  # who has ended the last unit is told so
            await asyncio.wait(self._answering, timeout=_LAST_ANSWERS_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
            if (task := asyncio.current_task()) is not None:
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            try:
                answer = await self._handle(request)
            except UnitsyncError as problem:
                answer = Answer(code=problem.code, message=problem.message, hint=problem.hint)
            except OSError as problem:
                answer = Answer(code=UnitsyncError.code, message=str(problem))
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        except (OSError, ValueError, msgspec.MsgspecError):
            pass  # it is gone, or is none of ours
        finally:
            writer.close()


def running(folder: str) -> list[int]:
    """The pids of the ``up`` processes with a socket in *folder*. Removes those of dead ones."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        pid = name.removeprefix("up-").removesuffix(".sock")
        if name == _NAME.format(pid) and pid.isascii() and pid.isdigit():
            if os.path.exists(f"/proc/{pid}"):
                found.append(int(pid))
            elif _is_abandoned(folder, name):
                _remove(os.path.join(folder, name))
    return found


def _is_abandoned(folder: str, name: str) -> bool:
    """Whether nobody listens there. A process that cannot be seen may live in another container."""
    with socket.socket(socket.AF_UNIX) as link, _in_folder(folder) as short:
        link.setblocking(False)
        try:
            link.connect(f"{short}/{name}")
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


def ask(folder: str, pid: int, request: Request, *, patience_s: float | None = None) -> Answer:
    """What the ``up`` with this *pid* answers. Raises the error that it answers with, Unreachable
    if it does not listen, and Silent if it says nothing for *patience_s* seconds (None: forever).
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(patience_s)
        try:
            with _in_folder(folder) as short:
                link.connect(f"{short}/{_NAME.format(pid)}")
            credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("3i", credentials)[0] != pid:
                raise ConnectionError
            link.sendall(msgspec.json.encode(request) + b"\n")
            with link.makefile("rb") as stream:
                answer = msgspec.json.decode(stream.readline(), type=Answer)
        except TimeoutError:
            raise Silent(
                f"unitsync up with pid {pid} does not answer",
                hint=f"is it stopped? kill -CONT {pid}",
            ) from None
        except (OSError, msgspec.MsgspecError):
            raise Unreachable(
                f"unitsync up with pid {pid} does not answer", hint="unitsync list shows its units"
            ) from None
    if answer.code:
        raise from_code(answer.code, answer.message, answer.hint, {})
    return answer


@contextmanager
def _in_folder(folder: str) -> Iterator[str]:
    """A short name of *folder*: the path of a socket has 107 bytes at the most."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)
