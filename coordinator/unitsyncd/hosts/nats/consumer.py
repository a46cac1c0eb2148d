"""Reads the latest message of each subject from the log, and then each new one, in order.

Messages are asked for in portions. So the portion bounds what may come at once, and no queue can
overflow.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from unitsyncd.hosts.nats.link import Unclear
from unitsyncd.hosts.nats.log import Log

PORTION: Final = 200
"""Messages into one turn: 10,000 at once would stall the loop for 25 ms."""
_BEAT_S: Final = 1
"""How often the server says that there is nothing new."""
_SILENCE_S: Final = 3.5
"""Three beats are missing."""
_EXPIRES_S: Final = 30
_SETTLING_S: Final = 1.0
"""So long after a consumer was made, the server that has it may not know of it yet."""
_NOTHING: Final = "404"
_PORTION_ENDED: Final = (_NOTHING, "408")
"""There is nothing, or it took too long."""


class Message(NamedTuple):
    subject: str
    data: bytes
    sequence: int
    """In the log."""


class Portion(NamedTuple):
    messages: list[Message]
    """At most PORTION."""
    is_all: bool
    """The log held no more at that moment, as far as the server knew that was asked."""


class Consumer:
    """Whatever makes it doubtful that each message came, in order, raises Unclear."""

    def __init__(self, log: Log, host: str) -> None:
        """For the *host*."""
        self._log = log
        self._host = host
        self._name = ""
        self._inbox = log.link.inbox()
        self._arrived: list[Msg] = []
        self._stirred = asyncio.Event()
        self._subscription: Subscription | None = None
        self._opened = 0.0
        self._open = 0
        """How many messages of those that were asked for may still come."""
        self._number = 0
        """Of the latest message, as the consumer counts."""

    async def open(self, filters: list[str]) -> None:
        """Begin with all that the *filters* match. Raises Unclear, Rejected."""
        self._name = await self._log.make_consumer(self._host, filters)
        self._opened = time.monotonic()
        self._subscription = await self._log.link.listen(self._inbox, self._take)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._log.link.deafen(self._subscription)
        try:
            await self._log.remove_consumer(self._name)
        except Unclear:
            pass  # the server removes it

    async def _take(self, message: Msg) -> None:
        self._arrived.append(message)
        self._stirred.set()

    def stir(self) -> None:
        """Have ``read`` return, perhaps with nothing."""
        self._stirred.set()

    async def read(self) -> Portion:
        """Wait for messages, or for word that there are none. Raises Unclear."""
        if self._open <= 0:
            self._open = 1 if self._log.one_by_one else PORTION
            await self._log.pull(self._name, self._inbox, self._open, _EXPIRES_S, _BEAT_S)
        try:
            async with asyncio.timeout(_SILENCE_S * self._log.link.patience):
                await self._stirred.wait()
        except TimeoutError:
            raise Unclear("the log does not deliver") from None
        self._stirred.clear()
        arrived, self._arrived = self._arrived, []
        messages: list[Message] = []
        is_all = False
        for message in arrived:
            status = (message.headers or {}).get("Status")
            if status is None:
                read, left = self._message(message)
                messages.append(read)
                is_all = left == 0
            elif status == "100":
                self._check_beat(message.headers or {})
                is_all = True
            elif status in _PORTION_ENDED:
                is_all = is_all or status == _NOTHING
                self._open = 0
            elif status == "503" and time.monotonic() - self._opened < _SETTLING_S:
                self._open = 0
                await asyncio.sleep(_SETTLING_S / 20)
            else:
                raise Unclear(f"the log delivers no more: {status}")
        return Portion(messages, is_all)

    def _check_beat(self, headers: dict[str, str]) -> None:
        """It says which message was the last that was sent. Raises Unclear."""
        last = headers.get("Nats-Last-Consumer", "")
        if last and last != str(self._number):
            raise Unclear(f"the log delivered {last}, and {self._number} came last")

    def _message(self, message: Msg) -> tuple[Message, int]:
        """The message, and how many are left. Raises Unclear."""
        parts = message.reply.split(".")
        # $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERIES.SEQUENCE.NUMBER.TIME.LEFT[.TOKEN]
        first = 5 if len(parts) == 9 else 7
        try:
            sequence, number = int(parts[first]), int(parts[first + 1])
            left = int(parts[first + 3])
        except (IndexError, ValueError):
            raise Unclear("the log delivers something else") from None
        if number != self._number + 1:
            raise Unclear(f"the log delivered {number} after {self._number}")
        self._number = number
        self._open -= 1
        if not (message.data or self._log.one_by_one):
            self._log.one_by_one = True
            raise Unclear("the log has an empty message")
        return Message(message.subject, message.data, sequence), left
