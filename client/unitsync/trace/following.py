"""``trace --follow``: sends each startup when it has come to its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from threading import Timer
from time import monotonic, sleep, time
from typing import Final

from unitsync import AsyncClient, errors, wire
from unitsync.clients.event_stream import EventStream
from unitsync.link import collector
from unitsync.link import endpoint as endpoints
from unitsync.output.answers import print_err, print_lines
from unitsync.output.unread import when_unread
from unitsync.process.trace_context import trace_id
from unitsync.startup.analysis.events import Event, first_event
from unitsync.startup.analysis.values import Startup
from unitsync.text.printing import counted, safe
from unitsync.trace import otlp
from unitsync.trace.ends import Ends
from unitsync.trace.spans import spans
from unitsync.trace.taken import Taken

PAUSE_S: Final = (1.0, 60.0)
"""Until a collector that was away is tried again: at first, and at the most."""
AWAY_S: Final = 1.0
"""How often to look for a coordinator if there is none."""
LOOK_S: Final = 1.0
LOAD: Final = 10
"""From one look whether the startup is at rest to the next: at least LOOK_S, and at least LOAD
times as long as a look took."""
END_S: Final = 2.0
"""How long a request may go on when this process is to end."""
NICENESS: Final = 10
"""The scripts of the startup come first."""
TEXT_MAX: Final = 1000


def follow(address: str, url: str) -> int:
    """Send each startup to *url*, from the newest on, or from the one after the last that was sent
    there. Goes on until this process is to end: by a signal, or because nobody reads stdout any
    more. Raises UnitsyncError."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    when_unread(lambda: os.kill(os.getpid(), signal.SIGTERM))
    collector.check_installed()
    os.nice(NICENESS)
    place = endpoints.resolve(address or None)
    if not os.path.isdir(place.folder):
        _notice(f"there is no coordinator at {place.address} yet; waiting for it")
        while not os.path.isdir(place.folder):
            sleep(AWAY_S)
    taken = Taken(place.folder, url, lambda: _notice("another process sends there already"))
    try:
        return asyncio.run(_run(_Following(place.address, url, taken)))
    finally:
        taken.close()


async def _run(following: _Following) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    status: int | None = None

    def end(number: int) -> None:
        """What has been sent is not sent again: a request that is under way may come to its end."""
        nonlocal status
        if status is None:
            status = number
            late = Timer(END_S, os._exit, (number,))
            late.daemon = True
            late.start()
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, 130)
    try:
        await following.run()
    except asyncio.CancelledError:
        if status is None:
            raise
    return status or 0


class _Following:
    def __init__(self, address: str, url: str, taken: Taken) -> None:
        # It only looks: it begins no state, and does not undo a stop.
        self._client = AsyncClient(address, autostart=False, startup="")
        self._url = url
        self._taken = taken
        self._said = ""

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except errors.Unavailable as problem:
                self._say_once(f"{problem.message}; waiting for it")
            await asyncio.sleep(AWAY_S)

    async def _follow(self) -> None:
        """Never returns."""
        epochs = (await self._client.startups()).epochs
        since = first_event(self._first(epochs)) - 1 if epochs else 0
        stream = self._client.events(
            since=since,
            follow=True,
            on_away=lambda problem: self._say_once(f"{problem.message}; waiting for its return"),
        )
        ends = Ends(self._taken.epoch if self._taken.spans is None else "")
        look_at = 0.0
        while True:
            wait_s = None
            if ends.due is not None:
                wait_s = max(0.0, ends.due - time(), look_at - monotonic())
            for event in await _next_page(stream, wait_s):
                self._said = ""
                if (left := ends.hear(event)) is not None:
                    await self._deliver(left)
            began = monotonic()
            if ends.due is not None and began >= look_at and time() >= ends.due:
                over = ends.look(time())
                look_at = monotonic() + max(LOOK_S, LOAD * (monotonic() - began))
                if over is not None:
                    await self._deliver(over)

    def _first(self, epochs: Sequence[wire.Epoch]) -> wire.Epoch:
        """The startup to begin with."""
        known = [epoch.epoch for epoch in epochs]
        if self._taken.epoch not in known:
            # If what was sent last has been forgotten, all that is kept came after it.
            begin = known[0] if self._taken.epoch else known[-1]
            self._taken.keep(begin, 0)  # so that it is sent even if this process ends first
        return epochs[known.index(self._taken.epoch)]

    async def _deliver(self, startup: Startup) -> None:
        """Return when it was taken, or will never be."""
        trace, made = trace_id(startup.epoch), list(spans(startup))
        for pause_s in pauses():
            try:
                # In a thread, so that signals are heard meanwhile.
                await asyncio.to_thread(
                    otlp.send,
                    made,
                    trace,
                    self._url,
                    begin=self._taken.before(startup.epoch),
                    taken=lambda count: self._taken.keep(startup.epoch, count),
                )
            except otlp.Unwanted as problem:
                self._taken.keep(startup.epoch, None)
                _notice(f"{problem.message}; it will not be sent again")
                break
            except errors.UsageError:
                raise
            except errors.UnitsyncError as problem:
                self._say_once(f"{problem.message}; trying again")
                await asyncio.sleep(pause_s)
            else:
                self._taken.keep(startup.epoch, None)
                print_lines([f"sent trace {trace:032x}: {counted(len(made), 'span')}"])
                break
        self._said = ""

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            _notice(text)


def pauses() -> Iterator[float]:
    pause_s, most_s = PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, most_s)


async def _next_page(stream: EventStream, wait_s: float | None) -> Iterable[Event]:
    """None of it if it does not come within *wait_s*."""
    try:
        async with asyncio.timeout(wait_s) as waiting:
            return await stream.next_page() or ()
    except TimeoutError:
        if not waiting.expired():
            raise
        return ()


def _notice(text: str) -> None:
    print_err([f"unitsync: {safe(text)[:TEXT_MAX]}"])
