"""Mailboxes and the dispatcher that runs the actors with mail.

An actor costs no task: it is an object with a mailbox, and one dispatcher on the
event loop runs those that have mail, each message to completion, in the order of
arrival. What an actor does with a message is its own business.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from unitsync.errors import LimitReached

MAILBOX_MAX: Final = 2_000_000
"""Messages that one actor may have waiting; within a turn that is at most a few for
each of its prerequisites."""


class MailboxFull(Exception):
    """The turn is to be taken back; ``limit`` is what to say about it."""

    def __init__(self, messages: int) -> None:
        text = f"a unit cannot be told of more than {messages:,} changes at once"
        super().__init__(text)
        self.limit = LimitReached(text, limit="mailbox", maximum=messages)


class Actor:
    """Subclasses handle one message at a time in ``receive``. What that returns is for who
    calls it; nobody hears of it where the message came by mail."""

    __slots__ = ("mailbox",)

    def __init__(self) -> None:
        self.mailbox: list[Any] | None = None

    def receive(self, message: Any) -> object:
        raise NotImplementedError(type(self))


class Dispatcher:
    __slots__ = ("_runnable",)

    def __init__(self) -> None:
        self._runnable: deque[Actor] = deque()

    def tell(self, actor: Actor, message: Any) -> None:
        """Put *message* into the mailbox of *actor*. Raises MailboxFull at MAILBOX_MAX."""
        mailbox = actor.mailbox
        if mailbox is None:
            actor.mailbox = [message]
            self._runnable.append(actor)
        elif len(mailbox) < MAILBOX_MAX:
            mailbox.append(message)
        else:
            raise MailboxFull(MAILBOX_MAX)

    def run(self) -> None:
        """Run actors until none has mail. What an actor raises comes out of here, with
        the mail of all others still in place: see ``drop_mail``."""
        runnable = self._runnable
        while runnable:
            actor = runnable.popleft()
            mailbox, actor.mailbox = actor.mailbox, None
            for message in mailbox or ():
                actor.receive(message)

    def drop_mail(self) -> None:
        """Empty every mailbox: the turn that sent the mail is being taken back."""
        for actor in self._runnable:
            actor.mailbox = None
        self._runnable.clear()
