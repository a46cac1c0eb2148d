"""The verb ``web``."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from functools import partial

from unitsync.errors import not_installed
from unitsync.link import endpoint as endpoints
from unitsync.link.listening import Address, listen, why_not
from unitsync.output.answers import print_err, print_lines
from unitsync.verb.commandline import Call
from unitsync.web.access import Access
from unitsync.web.settings import Settings, settings_of

_BACKLOG = 128


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    settings = settings_of(call.flags, os.environ)
    place = endpoints.resolve(call.address or None)
    try:
        from unitsync.web.app import App
        from unitsync.web.serving import serve
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise not_installed("web serves its page", package, "web") from None
    with _listening(settings.listen) as (listening, address):
        app = App(settings, Access(settings.token, settings.hosts, address), place)
        return serve(app, listening, partial(_say, _link(settings, address)))


def _say(link: str) -> None:
    print_lines([link])
    if sys.stdout is not None and sys.stdout.isatty():
        print_err(["unitsync: Ctrl-C ends it"])


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[tuple[socket.socket, Address]]:
    """A socket that listens there, and where that is. Raises UnitsyncError."""
    try:
        listening = listen(address, _BACKLOG)
    except OSError as problem:
        if_taken = "it may be another one like this; --listen 127.0.0.1:0 takes a port that is free"
        raise why_not(f"page at {address}", problem, if_taken) from None
    with listening:
        if not address.path:
            yield listening, Address(host=address.host, port=listening.getsockname()[1])
            return
        made = os.stat(address.path)
        try:
            yield listening, address
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(address.path), made):
                    os.unlink(address.path)


def _link(settings: Settings, address: Address) -> str:
    path = f"{settings.prefix}/" + (f"?token={settings.token}" if settings.token else "")
    if address.path:
        return f"{address} http://localhost{path}"
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    named = Address(host=everywhere.get(address.host, address.host), port=address.port)
    return f"http://{named}{path}"
