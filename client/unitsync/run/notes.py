"""What ``run`` does with what its command says with sd_notify(3). Loaded when it says something for
the first time; then it runs in threads beside the one that waits for the command.

Imports only what the interpreter has already loaded, and ``_socket``.
"""

import _thread
import os

from unitsync.process.notifications import Receiver
from unitsync.text.printing import note_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EVERY_S = 1.0
"""At most one note is sent in this time: the latest."""
AGAIN_MAX_S = 30.0
"""The pause after a note that could not be sent. It is EVERY_S at first, and doubles each time."""
LAST_S = 1.0
"""How long the end of a command that has failed waits until its last note is sent."""
_MAY_COME_BACK = ("unavailable", "unreachable", "stopped", "not_kept")


def listen(socket: "Any", outer: bytes, notes: "Notes", ready: "Callable[[], None]") -> None:
    """Hear what is said until *socket* is shut down."""
    receiver = Receiver(socket, outer, {0, os.getuid()})
    try:
        while (said := receiver.receive()) is not None:
            if said.ready:
                ready()
            if said.status is not None:
                notes.say(said.status)
    finally:
        receiver.close()


class Notes:
    """Sends notes to the coordinator with *send*, in a thread of its own, which there is only
    while there is something to send."""

    def __init__(self, send: "Callable[[str], Any]") -> None:
        self._send = send
        self._lock = _thread.allocate_lock()
        self._next: str | None = None
        """What is to be sent next."""
        self._sent: str | None = None
        """What the coordinator has as the note of the unit; None if that is not known."""
        self._works = False
        self._over = False
        self._pause = _thread.allocate_lock()
        """Released when there is to be no pause any more."""
        self._pause.acquire()
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def say(self, status: str) -> None:
        """The unit is doing *status* now."""
        text = note_line(status)
        with self._lock:
            self._next = text
            if self._works or text == self._sent:
                return
            self._works = True
        _thread.start_new_thread(self._work, ())

    def end(self, *, failed: bool) -> None:
        """The command has ended. What is left to be sent is sent at once if it has *failed*, and
        dropped otherwise: then nobody would see it."""
        with self._lock:
            self._over = True
            if not failed:
                self._next = None
            works = self._works
        self._pause.release()
        if failed and works:
            self._done.acquire(timeout=LAST_S)

    def _work(self) -> None:
        pause_s = EVERY_S
        while True:
            with self._lock:
                text, self._next = self._next, None
                if text is None or text == self._sent:
                    self._works = False
                    if self._over:
                        self._done.release()
                    return
            if self._was_sent(text):
                self._sent, pause_s = text, EVERY_S
            else:
                self._sent, pause_s = None, min(pause_s * 2, AGAIN_MAX_S)
                with self._lock:
                    if self._next is None and not self._over:
                        self._next = text
            if not self._over:
                self._pause.acquire(timeout=pause_s)

    def _was_sent(self, text: str) -> bool:
        """Whether the coordinator has heard of *text*, or will never want to."""
        try:
            reply = self._send(text)
        except Exception as problem:
            return getattr(problem, "code", "") not in _MAY_COME_BACK
        return reply.result != "error" or reply.code not in _MAY_COME_BACK
