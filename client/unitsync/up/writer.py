"""Writing to stdout and stderr without waiting for whoever reads them: that can be a pager, or a
terminal with a slow connection."""

from __future__ import annotations

import asyncio
import io
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

_BEHIND_BYTES: Final = 1 << 20
"""If more than this is not written yet, no further output is to come."""
_LOST_BYTES: Final = 1 << 26
"""If more than this is not written yet, what comes nevertheless is dropped."""
_PIECE_BYTES: Final = 1 << 14
_PATIENCE_S: Final = 2.0
"""How long a reader may read nothing, once nobody wants to wait for it any more."""


class Writer:
    """Writes to *descriptor*, in a thread: other processes may share it, so it must stay blocking.
    *on_problem* is called once if nothing more can be written. Its TimeoutError means that the
    reader was given up."""

    def __init__(self, descriptor: int, on_problem: Callable[[OSError], None]) -> None:
        self._descriptor = descriptor
        self._on_problem = on_problem
        self._loop = asyncio.get_running_loop()
        self._queue = queue.SimpleQueue[bytes]()
        self._begun = False
        self._given = 0
        """How many bytes are to be written, with those that are."""
        self._written = 0
        """How many are. Only the thread changes it."""
        self._waits = False
        """Whether the loop has once waited for the thread, which then tells it of each write.
        Before that, it would be woken for everything that is printed, and for nothing."""
        self._gone = False
        self._missing = False
        self._idle = asyncio.Event()
        self._seen = 0
        """How many were written at the last ``_look``."""
        self._hurried: asyncio.TimerHandle | None = None
        self.on_room: Callable[[], None] = lambda: None
        """Called when ``is_behind`` may have become false."""

    @property
    def is_behind(self) -> bool:
        """Whether its reader is so slow that no further output should come."""
        return self._left > _BEHIND_BYTES

    @property
    def is_idle(self) -> bool:
        return not self._left

    @property
    def _left(self) -> int:
        """How many bytes are not written yet."""
        return 0 if self._gone else self._given - self._written

    def write(self, data: bytes) -> None:
        """Write *data*, soon. Returns at once."""
        if self._gone or not data:
            return
        if self._left > _LOST_BYTES:
            self._missing = True
            return
        if self._missing:
            self._missing = False
            data = b"[unitsync: output is missing here; unitsync logs has it]\n" + data
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._work, daemon=True).start()
        self._given += len(data)
        self._waits = self._waits or self.is_behind
        self._queue.put(data)

    def hurry(self) -> None:
        """From now on, give up if nothing is read for a moment."""
        if self._hurried is None and not self._gone:
            self._look()

    async def over(self) -> None:
        """Return when everything is written, or it was given up."""
        self._waits = True
        while self._left:
            self._idle.clear()
            await self._idle.wait()
        if self._hurried is not None:
            self._hurried.cancel()

    def _look(self) -> None:
        if self._left and self._hurried is not None and self._written == self._seen:
            self._give_up(TimeoutError())
            return
        self._seen = self._written
        self._hurried = self._loop.call_later(_PATIENCE_S, self._look)

    def _give_up(self, problem: OSError) -> None:
        if not self._gone:
            self._gone = True
            self._took()
            self._on_problem(problem)

    def _took(self) -> None:
        if not self._left:
            self._idle.set()
        if not self.is_behind:
            self.on_room()

    # --- in the thread --------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            pieces = [self._queue.get()]
            while not self._queue.empty():
                pieces.append(self._queue.get())
            left = memoryview(b"".join(pieces))
            try:
                while left:
                    count = os.write(self._descriptor, left[:_PIECE_BYTES])
                    left = left[count:]
                    self._written += count
                    if self._waits:
                        self._call(self._took)
            except OSError as problem:
                self._call(self._give_up, problem)
                return

    def _call(self, method: Callable[..., None], *what: OSError) -> None:
        try:
            self._loop.call_soon_threadsafe(method, *what)
        except RuntimeError:  # the loop has been closed
            pass


class _Terminal(io.BufferedIOBase):
    name = "terminal"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._writer.write(bytes(data))
        return len(data)


def terminal(writer: Writer, encoding: str) -> io.TextIOWrapper:
    """The terminal that *writer* writes to, for text."""
    out = _Terminal(writer)
    return io.TextIOWrapper(out, encoding, "backslashreplace", write_through=True)
