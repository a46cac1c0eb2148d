"""Signals that come at the wrong moment.

Python runs a signal's handler between two of its own instructions. A signal that comes
after the last instruction before poll(2), but before poll(2) has begun, would go unnoticed
until the poll ends. For a waiting verb that takes half a minute.
"""

from __future__ import annotations

import os
import signal
import threading


class Wakeup:
    """Inside this ``with`` block, every signal that has a handler makes ``fd`` readable.

    ``fd`` is -1 if that is not possible: outside the main thread, because only that handles
    signals, and if somebody else (an event loop) already uses the wake-up descriptor.
    """

    def __enter__(self) -> Wakeup:
        self.fd = -1
        if threading.current_thread() is not threading.main_thread():
            return self
        fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        other = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        if other == -1:
            self.fd = fd
        else:
            signal.set_wakeup_fd(other)
            os.close(fd)
            os.close(self._write_end)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.fd >= 0:
            signal.set_wakeup_fd(-1)
            os.close(self.fd)
            os.close(self._write_end)

    def drain(self) -> None:
        """Empty ``fd``, so that only signals from now on make it readable."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
