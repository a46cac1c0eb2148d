"""The server: from a socket that listens to the end by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from threading import Timer
from typing import Final

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from unitsync.web.app import App

CONNECTIONS_MAX: Final = 250
"""More than pages may follow: each of these holds one, and asks on others."""
BEGIN_S: Final = 10.0
"""The time from connecting to the end of the first request."""
END_S: Final = 1
"""How long answers may still take at the end, and then the threads that make them."""


def serve(app: App, listening: socket.socket, begun: Callable[[], None]) -> int:
    """Serve until a signal comes. Calls *begun* when it does what it should about one. Returns the
    exit status. The process has to end then. Raises what ends *app*."""
    config = Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=END_S,
    )
    status = 1
    try:
        status = asyncio.run(_serve(_Server(config), app, listening, begun))
        return status
    finally:
        # ``python -m unitsync`` would wait for the threads, and they for a coordinator.
        late = Timer(END_S, os._exit, (status,))
        late.daemon = True
        late.start()


async def _serve(
    server: _Server, app: App, listening: socket.socket, begun: Callable[[], None]
) -> int:
    ended_by = 0

    def end(number: int) -> None:
        nonlocal ended_by
        ended_by = number
        app.end()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    begun()
    running = asyncio.ensure_future(app.run())
    running.add_done_callback(lambda _: end(ended_by))
    try:
        await server.serve([listening])
    finally:
        running.cancel()
        await asyncio.wait([running])
    if not running.cancelled():
        running.result()
    return 130 if ended_by == signal.SIGINT else 0


class _Server(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # see _serve


class _Connection(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(BEGIN_S, self._hang_up)

    def _hang_up(self) -> None:
        asked: object = self.cycle  # None at first, though it is not declared so
        if asked is None:
            self.transport.close()
