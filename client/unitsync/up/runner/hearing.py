"""What the command of a unit says with sd_notify(3) under ``up``."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
from contextlib import suppress
from typing import Final, Protocol

from unitsync import errors, wire
from unitsync.aio import AsyncClient
from unitsync.link.conversation import ACT_IF_THERE
from unitsync.process import command
from unitsync.process.notifications import Receiver, Said
from unitsync.text.printing import note_line

NOTE_EVERY_S: Final = 1.0
"""At most one note is sent in this time: the latest."""
_AT_ONCE_MAX: Final = 64
"""So many datagrams of one command are taken before others have their turn."""


class QuietNote(wire.Note, tag="note", frozen=True):
    """A note that is not worth a coordinator if there is none."""

    may = ACT_IF_THERE


class Listener(Protocol):
    """Whose command it is."""

    @property
    def name(self) -> str: ...

    @property
    def run(self) -> int: ...

    def on_ready(self) -> None:
        """It says that it is ready."""

    def on_note(self, text: str) -> None:
        """It says what it is doing, or somebody else does."""


class Hearing:
    """Hears what the command that gets *environment* says, where the address is put. Says so to
    *listener*, and lets *client* send the latest note. Hears nothing if there can be no socket."""

    def __init__(
        self,
        environment: dict[bytes, bytes],
        user: str,
        listener: Listener,
        client: AsyncClient,
    ) -> None:
        """*user*: whom the command runs as, "" for ourselves."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._client = client
        self._run = listener.run
        self._next: str | None = None
        self._sent: str | None = ""
        """What the coordinator has as the note of the unit; None if that is not known."""
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._receiver: Receiver | None = None
        outer = environment.get(command.NOTIFY_SOCKET, b"")
        self._socket = command.notify_socket(environment)
        if self._socket is not None:
            self._socket.setblocking(False)
            self._receiver = Receiver(self._socket, outer, _users(user), patience_s=0)
            self._loop.add_reader(self._socket, self._take)

    def _take(self) -> bool:
        """Whether there may be more."""
        for _ in range(_AT_ONCE_MAX):
            try:
                said = self._receiver.receive() if self._receiver is not None else None
            except OSError:
                return False
            if said is None:
                return False
            self._heard(said)
        return True

    def _heard(self, said: Said) -> None:
        if said.ready:
            self._listener.on_ready()
        if said.status is not None:
            text = note_line(said.status)
            self._listener.on_note(text)
            self._next = text
            self._send_next()

    def _send_next(self) -> None:
        if self._next in (None, self._sent):
            self._next = None
        elif self._timer is None and self._sending is None:
            self._begin_to_send()
            self._timer = self._loop.call_later(NOTE_EVERY_S, self._paused)

    def _paused(self) -> None:
        self._timer = None
        self._send_next()

    def _begin_to_send(self) -> None:
        assert self._next is not None
        text = self._sent = self._next
        self._next = None
        self._sending = self._loop.create_task(self._tell(text))

    async def _tell(self, text: str) -> None:
        said, unit = self._client.said(), self._listener.name
        try:
            note = QuietNote(**said, unit=unit, text=text, run=self._run)
            if isinstance(await self._client.call(note), wire.Error):
                self._sent = None
        except errors.UnitsyncError:
            self._sent = None
            if self._next is None and not self._over:  # it may be back after the pause
                self._next = text
        self._sending = None
        self._send_next()

    @property
    def all_is_sent(self) -> bool:
        """Whether the coordinator has what was said last."""
        return self._sent is not None and self._next is None and self._sending is None

    def noted(self, text: str) -> None:
        """If ``all_is_sent``: the coordinator has *text* as the note, whoever has said it."""
        if text != self._sent:
            self._sent = text
            self._listener.on_note(text)

    def end(self) -> None:
        """The command has ended. What it has said before is heard now."""
        if self._receiver is not None:
            self._loop.remove_reader(self._socket)
            self._socket.shutdown(socket.SHUT_RD)
            while self._take():
                pass
            self._receiver.close()
            self._receiver = None

    def over(self, *, failed: bool) -> None:
        """The unit has ended, or is tried again. If it has *failed*, the last note is sent, before
        whatever is sent next."""
        self.end()
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if failed and self._next not in (None, self._sent):
            self._begin_to_send()
        self._next = None


def _users(user: str) -> set[int]:
    """Who may speak for a command that runs as *user*."""
    users = {0, os.getuid()}
    if user:
        with suppress(KeyError):
            users.add(pwd.getpwnam(user).pw_uid)
    return users
