"""Answers GET /metrics over HTTP/1.1, on a socket that already listens. One answer for each
connection; everything that a client may take is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from unitsync.link.listening import is_loopback
from unitsyncd.metrics.text import CONTENT_TYPE

CLIENTS_MAX: Final = 8
"""At the same time. The connections of further ones are closed."""
REQUEST_BYTES_MAX: Final = 8192
EXCHANGE_S: Final = 10.0
"""After this time the connection is closed, whatever is missing."""
_END: Final = b"\r\n\r\n"


class _Refused(Exception):
    def __init__(self, status: str, why: str) -> None:
        self.status = status
        self.why = why


class Responder:
    def __init__(
        self,
        listening: socket.socket,
        body: Callable[[], Awaitable[str]],
        *,
        exchange_s: float = EXCHANGE_S,
    ) -> None:
        """*body* makes the text of one answer."""
        self._listening = listening
        self._body = body
        self._exchange_s = exchange_s
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        self._server = await asyncio.start_server(
            self._exchange, sock=self._listening, limit=REQUEST_BYTES_MAX
        )

    async def close(self) -> None:
        """Who has no answer by now gets none."""
        if self._server is not None:
            self._server.close()
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._exchanges) >= CLIENTS_MAX:
            writer.transport.abort()
            return
        self._exchanges.add(task)
        writer.transport.set_write_buffer_limits(0)  # so that drain() waits until all is sent
        try:
            async with asyncio.timeout(self._exchange_s):
                writer.write(await self._answer(reader))
                await writer.drain()
            writer.close()
        except (TimeoutError, OSError, asyncio.CancelledError):  # cancelled: the coordinator ends
            writer.transport.abort()
        finally:
            self._exchanges.discard(task)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            check_request(await reader.readuntil(_END))
            return _answer("200 OK", await self._body(), CONTENT_TYPE)
        except asyncio.LimitOverrunError:
            return _answer("431 Request Header Fields Too Large", "that is too long\n")
        except asyncio.IncompleteReadError:
            return b""
        except _Refused as problem:
            return _answer(problem.status, f"{problem.why}\n")
        except Exception:
            logger.exception("a defect: no metrics")
            return _answer("500 Internal Server Error", "a defect: see coordinator.log\n")


def check_request(head: bytes) -> None:
    """Raises _Refused unless it is GET /metrics by a client that means this machine: a page in a
    browser must not get at it by a name of its own that stands for 127.0.0.1."""
    first, *fields = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused("400 Bad Request", "that is not HTTP/1.1")
    hosts = [
        value.strip()
        for name, _, value in (f.partition(":") for f in fields)
        if name.lower() == "host"
    ]
    for host in hosts:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name and not is_loopback(name.strip("[]")):
            raise _Refused("403 Forbidden", f"there are no metrics of {name!a}: ask localhost")
    if words[1].partition("?")[0] != "/metrics":
        raise _Refused("404 Not Found", "there is only /metrics")
    if words[0] != "GET":
        raise _Refused("405 Method Not Allowed", "there is only GET")


def _answer(status: str, body: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    content = body.encode()
    allow = "Allow: GET\r\n" if status.startswith("405") else ""
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        f"{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + content
