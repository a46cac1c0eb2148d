"""The end of a verb that prints what comes, if nobody reads it any more."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from threading import Thread


def end_when_unread() -> None:
    """From now on, end this process with status 0 as soon as the other end of stdout is closed, as
    by ``| head``. Without this it ends at the next line, and that may never come.

    For verbs that leave nothing behind: nothing is cleaned up.
    """
    when_unread(lambda: os._exit(0))


def when_unread(end: Callable[[], None]) -> None:
    """Call *end*, in a thread, as soon as the other end of stdout is closed."""
    if sys.stdout is None:
        return
    mode = os.fstat(1).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        Thread(target=_await_end, args=(end,), daemon=True).start()


def _await_end(end: Callable[[], None]) -> None:
    poll = select.poll()
    poll.register(1, 0)  # that it is closed is told without being asked for
    poll.poll()
    end()
