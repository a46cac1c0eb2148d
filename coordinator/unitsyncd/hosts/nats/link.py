"""The connection to the log, NATS JetStream: requests with a time limit, and answers that are
either clear or not. No rules about hosts.

A write whose answer did not come may have been done, and may even be done later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import nats.errors
from loguru import logger
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from unitsync.text.printing import LOG_FULL
from unitsyncd.hosts.nats.tasks import raise_if_cancelled
from unitsyncd.hosts.settings import HostsSettings, address

WRITE_S: Final = 3.0
"""A write takes milliseconds. Whether one that was given up is in the log has to be found out."""
ASK_S: Final = 1.5
"""A question takes less. While a leader is elected, for 6 to 8 s, nobody answers; who asks again
soon learns soon that there is one."""
PING_S: Final = 2
"""Two pings without an answer end a connection: a link that swallows everything is known to be
down after 6 s."""
RECONNECT_S: Final = 0.5
CONNECT_S: Final = 2
AGAIN_S: Final = 0.1
AGAIN_MAX_S: Final = 3.0
"""Pause between connections, on average, doubled after each that failed: a wrong password does not
become right soon. Each host takes another one."""
LOOK_S: Final = 0.5
"""nats-py does not tell that a connection has ended as long as it has something to send on it."""
CLOSE_S: Final = 2.0
SERVER_MIN: Final = (2, 12)
"""The first with atomic batches."""

logging.getLogger("nats").addHandler(logging.NullHandler())
logging.getLogger("nats").propagate = False


NO_SUITABLE_PEERS: Final = 10005
"""The only answer with status 503 that will not be another one soon."""
_MAXIMUM_BYTES: Final = 10077


class Unclear(Exception):
    """No answer, or none that tells whether it was done."""


class Rejected(Exception):
    """The server has not done it. *code* says why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


class Unusable(Exception):
    """The log is there, but not fit: that does not change by itself."""


class Link:
    def __init__(self, settings: HostsSettings) -> None:
        """*settings* are fit. Nothing is connected until ``run``."""
        self._settings = settings
        self._tls: ssl.SSLContext | None = settings.tls()
        self._client: Client | None = None
        self.up = False
        self.problem = ""
        """The last one of the connection."""
        self.denied = ""
        """What the server did not permit, if there was something."""
        self.patience = 1.0
        """How many times as long as usual to wait for answers."""
        self.tried = False
        """Whether there was a link, or a try to make one has failed."""
        self._down_at = time.monotonic()
        self._warned: set[str] = set()
        """Of which problems, since the link was up last."""
        self._turned_up = asyncio.Event()
        self._turned_down = asyncio.Event()

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost, until cancelled."""
        pause = AGAIN_S
        while True:
            client = self._client = Client()
            closed = asyncio.Event()
            try:
                await client.connect(**self._options(closed))
                self._turn(True)
                pause = AGAIN_S
                while client.is_connected:
                    await _bounded(closed.wait(), LOOK_S)
            except nats.errors.NoServersError:
                pass  # why none can be reached was noted
            except Exception as problem:  # whatever it is, there is a next try
                self._note(problem)
            finally:
                self._turn(False)
                self._client = None
                await _bounded(client.close())
                _abort(client)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, AGAIN_MAX_S)

    def _options(self, closed: asyncio.Event) -> dict[str, Any]:
        async def on_error(problem: Exception) -> None:
            self._note(problem)

        async def on_closed() -> None:
            self._turn(False)
            closed.set()

        settings = self._settings
        options: dict[str, Any] = {
            "servers": settings.servers,
            "name": f"unitsync {settings.job} {settings.host}",
            "error_cb": on_error,
            "closed_cb": on_closed,
            "allow_reconnect": False,  # each failed try of a reconnection leaves a socket open
            "max_reconnect_attempts": 1,  # for each server, before connect() fails
            "reconnect_time_wait": RECONNECT_S,
            "connect_timeout": CONNECT_S,
            "ping_interval": PING_S,
            "pending_size": 0,  # a write while the link is down fails at once
            "inbox_prefix": f"_INBOX_{settings.job}_{settings.host}",
        }
        if self._tls is not None:
            options["tls"] = self._tls
        if settings.credentials:
            options["user_credentials"] = settings.credentials
        return options

    def _note(self, problem: Exception) -> None:
        text = _in_short(problem)
        if "permissions violation" in text.lower():
            self.denied = text
        self.problem, self.tried = text, True
        if self.up or text in self._warned:
            logger.debug("link to the log: {}", text)
            return
        self._warned.add(text)
        logger.warning("no link to the log at {}: {}", self._settings.addresses, text)

    def _turn(self, up: bool) -> None:
        if up == self.up:
            return
        self.up = up
        came, went = self._turned_up, self._turned_down
        if up:
            came.set()
            went.clear()
            self.problem = self.denied = ""
            self.tried = True
            self._warned.clear()
            logger.info("connected to the log at {}", self.server)
        else:
            went.set()
            came.clear()
            self._down_at = time.monotonic()
            logger.info("no link to the log: {}", self.problem or "it was closed")

    @property
    def server(self) -> str:
        """Address of the server that it is connected to, or was last."""
        url = self._client.connected_url if self._client is not None else None
        return address(url.geturl()) if url is not None else self._settings.addresses

    @property
    def down_s(self) -> float:
        """For how long there is no link."""
        return 0.0 if self.up else time.monotonic() - self._down_at

    async def until_up(self) -> None:
        await self._turned_up.wait()

    async def until_down(self) -> None:
        await self._turned_down.wait()

    @property
    def servers_known(self) -> int:
        """How many servers there are at least. Raises Unclear."""
        info = self._connected()._server_info  # there is no other way to what is in it
        return max(len(info.get("connect_urls") or ()), len(self._settings.servers))

    @property
    def version(self) -> str:
        """Of the server. Raises Unclear."""
        version = self._connected().connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    def check_server(self) -> None:
        """Raises Unusable if the server is too old, Unclear if there is no link."""
        version = self._connected().connected_server_version
        if (version.major, version.minor) < SERVER_MIN:
            least = ".".join(map(str, SERVER_MIN))
            raise Unusable(f"{self.server} is nats-server {self.version}, older than {least}")

    def _connected(self) -> Client:
        if self._client is None or not self.up:
            raise Unclear("no link to the log")
        return self._client

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = ASK_S,
    ) -> Msg:
        """Raises Unclear."""
        client = self._connected()
        try:
            answer = await client.request(
                subject, payload, timeout=timeout_s * self.patience, headers=headers
            )
        except nats.errors.NoRespondersError:
            raise Unclear("the log has no leader, or the server no JetStream") from None
        except nats.errors.TimeoutError:
            denied = f" ({self.denied})" if self.denied else ""
            raise Unclear(f"the log does not answer{denied}") from None
        except (nats.errors.Error, OSError) as problem:
            raise Unclear(f"the log: {problem}") from None
        raise_if_cancelled()
        return answer

    async def tell(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send without waiting for an answer. Raises Unclear."""
        try:
            await self._connected().publish(subject, payload, reply=reply, headers=headers)
        except (nats.errors.Error, OSError) as problem:
            raise Unclear(f"the log: {problem}") from None

    async def listen(self, subject: str, heard: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Have *heard* called with each message on *subject*. Raises Unclear."""
        try:
            return await self._connected().subscribe(subject, cb=heard)
        except (nats.errors.Error, OSError) as problem:
            raise Unclear(f"the log: {problem}") from None

    async def deafen(self, subscription: Subscription) -> None:
        """End what ``listen`` began."""
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError):
            pass  # the connection has ended before

    def api(self, what: str) -> str:
        """The subject of a request to JetStream."""
        return f"{self._settings.api_prefix}.{what}"

    def inbox(self) -> str:
        return self._connected().new_inbox()

    async def ask(self, what: str, body: object = None, timeout_s: float = ASK_S) -> dict[str, Any]:
        """Ask the API of JetStream. Raises Unclear, Rejected."""
        payload = b"" if body is None else msgspec.json.encode(body)
        return answer_to(await self.request(self.api(what), payload, timeout_s=timeout_s))


def answer_to(message: Msg) -> dict[str, Any]:
    """What JetStream answers. Raises Unclear, Rejected."""
    try:
        answer = msgspec.json.decode(message.data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise Unclear("the log answers with something else") from None
    error = answer.get("error")
    if error is not None:
        code, why = int(error.get("err_code", 0)), str(error.get("description", ""))
        if code == _MAXIMUM_BYTES:
            raise Unclear(LOG_FULL)  # somebody may give it more room
        if error.get("code") == 503 and code != NO_SUITABLE_PEERS:
            raise Unclear(f"the log: {why}")  # it is busy, or has no leader
        raise Rejected(code, why)
    return answer


def _in_short(problem: Exception) -> str:
    """``Authorization Violation``, ``Connection refused``, ``Name or service not known``."""
    text = str(problem)
    number = re.search(r"\[Errno (\d+)\]", text)
    if number is not None:
        return os.strerror(int(number[1]))
    if isinstance(problem, TimeoutError):
        return "no answer"
    text = re.sub(r"\[Errno -\d+\] ", "", text)
    return text.removeprefix("nats: ").strip("'") or type(problem).__name__


def _abort(client: Client) -> None:
    """End the connection, even if the other side takes nothing any more. nats-py has no way."""
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


async def _bounded(doing: Awaitable[object], seconds: float = CLOSE_S) -> None:
    try:
        async with asyncio.timeout(seconds):
            await doing
    except TimeoutError:
        pass
