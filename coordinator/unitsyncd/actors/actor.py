"""Mailboxes and the dispatcher that runs the actors with mail.

An actor needs no task: it is an object with a mailbox. One dispatcher on the event loop
runs the actors that have mail. Each message is handled to completion, in the order of
arrival. The actor decides what to do with it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from unitsync.errors import LimitReached

MAILBOX_MAX: Final = 2_000_000
"""Messages that may wait in one mailbox. Within a turn, an actor gets at most a few for each
of its prerequisites."""


class MailboxFull(Exception):
    """The turn must be undone. ``limit`` is the error for the client."""

    def __init__(self, messages: int) -> None:
        text = f"a unit cannot be told of more than {messages:,} changes at once"
        super().__init__(text)
        self.limit = LimitReached(text, limit="mailbox", maximum=messages)


class Actor:
    """Subclasses handle one message at a time in ``receive``. Its result goes to a direct
    caller. For a message from the mailbox, the result is dropped."""

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
        """Run actors until none has mail. If an actor raises, the exception comes out of
        here, and the mail of all others is still in place: see ``drop_mail``."""
        runnable = self._runnable
        while runnable:
            actor = runnable.popleft()
            mailbox, actor.mailbox = actor.mailbox, None
            for message in mailbox or ():
                actor.receive(message)

    def drop_mail(self) -> None:
        """Empty every mailbox, because the turn that sent the mail is being undone."""
        for actor in self._runnable:
            actor.mailbox = None
        self._runnable.clear()
