"""What ``up`` shows: at a terminal a line for each unit, elsewhere prefixed lines; at the end a
summary."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import time
from typing import TYPE_CHECKING, Final

from unitsync.process.command import same_file
from unitsync.text.printing import (
    NAMES_WIDE,
    columns,
    counted,
    duration,
    joined,
    padded,
    safe,
    span,
)
from unitsync.text.terminal import MARKS, Screen, cut, fitted
from unitsync.up.runner.job import Job
from unitsync.up.runner.states import State
from unitsync.up.writer import Writer, terminal

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_LINE_BYTES_MAX: Final = 65_536
"""A longer line is printed in parts."""
_EVERY_S: Final = 0.125
_SHORT_S: Final = 1.0
_MARKS: Final = {
    State.WAITING: MARKS["waiting"],
    State.LAUNCHING: MARKS["launching"],
    State.RUNNING: MARKS["running"],
    State.RETRYING: ("↻", "~"),
    State.STOPPING: ("◼", "#"),
    State.COMPLETED: MARKS["completed"],
    State.FAILED: MARKS["failed"],
    State.SKIPPED: MARKS["not run"],
    State.NOT_STARTED: MARKS["not run"],
}
"""For each state the mark in front of the unit, and the one for terminals that know only ASCII."""
_COLOURS: Final = {
    State.LAUNCHING: "cyan",
    State.RUNNING: "cyan",
    State.RETRYING: "yellow",
    State.STOPPING: "yellow",
    State.COMPLETED: "green",
    State.FAILED: "red",
    State.SKIPPED: "yellow",
    State.NOT_STARTED: "dim",
    State.WAITING: "dim",
}
_ORDER: Final = (
    State.FAILED,
    State.STOPPING,
    State.RETRYING,
    State.LAUNCHING,
    State.RUNNING,
    State.WAITING,
    State.SKIPPED,
    State.NOT_STARTED,
    State.COMPLETED,
)
"""Who is shown first if there is not room for all."""


class _Display:
    """What all displays have: they never wait for whoever reads stdout and stderr."""

    def __init__(self) -> None:
        self._out = Writer(1, self._unwritten)
        # One for both keeps the order of what goes to the same file.
        self._err = self._out if same_file(1, 2) else Writer(2, lambda problem: None)

    def _unwritten(self, problem: OSError) -> None:
        """Nothing can be written to stdout any more."""

    @property
    def is_behind(self) -> bool:
        return self._out.is_behind

    def on_room(self, call: Callable[[], None]) -> None:
        self._out.on_room = call

    def hurry(self) -> None:
        for writer in (self._out, self._err):
            writer.hurry()

    def say(self, lines: Iterable[str]) -> None:
        """Print *lines* on stderr."""
        encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
        self._err.write(joined(lines).encode(encoding, "backslashreplace"))

    async def close(self, lines: Iterable[str]) -> None:
        """Say these last *lines*, and return when everything is written. But if somebody is in a
        hurry, a reader that reads nothing is not waited for."""
        await self._out.over()
        self.say(lines)
        await self._err.over()


class PlainDisplay(_Display):
    """Prints what happens to the units on stderr. With *output*, also what they print, on stdout:
    whole lines, each behind the name of its unit."""

    def __init__(self, names: Iterable[str], *, output: bool = True) -> None:
        super().__init__()
        self._with_output = output and sys.stdout is not None
        self._width = min(NAMES_WIDE, max(map(columns, names), default=0))
        self._begun: dict[str, bytes] = {}
        """The beginnings of lines that have no end yet."""

    def moved(self, job: Job) -> None:
        if job.state.ended and (begun := self._begun.pop(job.name, b"")):
            self._print(job, begun)
        if not job.earlier and job.state is not State.WAITING:
            self.say([f"unitsync: {safe(job.name)} {described(job, job.since)}"])

    def output(self, job: Job, data: bytes) -> None:
        if not self._with_output:
            return
        whole, end, rest = (self._begun.get(job.name, b"") + data).rpartition(b"\n")
        if len(rest) > _LINE_BYTES_MAX:
            whole, end, rest = whole + end + rest, b"\n", b""
        self._begun[job.name] = rest
        if end:
            self._print(job, whole)

    def _print(self, job: Job, lines: bytes) -> None:
        prefix = padded(safe(job.name), self._width).encode() + b" | "
        self._out.write(prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n")

    def _unwritten(self, problem: OSError) -> None:
        self._with_output = False
        if isinstance(problem, TimeoutError):
            text = "nobody reads the output: the rest of it is only in the logs"
            self.warn(text, "unitsync logs")
        elif problem.errno != errno.EPIPE:
            self.warn(f"the output cannot be printed: {problem.strerror}")

    def waiting(self, lines: Iterable[str]) -> None:
        self.say(map(safe, lines))

    def warn(self, text: str, hint: str = "") -> None:
        self.say([f"warning: {safe(text)}", *([f"hint: {safe(hint)}"] if hint else ())])


class LiveDisplay(_Display):
    """Draws a line for each unit of *jobs*, again and again, as rich does it."""

    def __init__(self, jobs: Callable[[], Sequence[Job]]) -> None:
        super().__init__()
        self._jobs = jobs
        self._live: Live | None = None
        self._timer: asyncio.TimerHandle | None = None

    def moved(self, job: Job) -> None:
        if self._live is None:
            self._start()

    def output(self, job: Job, data: bytes) -> None:
        pass  # the next drawing shows its last line

    def waiting(self, lines: Iterable[str]) -> None:
        pass  # the line of the unit says so

    def warn(self, text: str, hint: str = "") -> None:
        if self._live is None:
            self._start()
        assert self._live is not None
        self._live.console.print(f"warning: {safe(text)}", markup=False, highlight=False)
        if hint:
            self._live.console.print(f"hint: {safe(hint)}", markup=False, highlight=False)

    async def close(self, lines: Iterable[str]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._live.update(self._drawn(last=True), refresh=True)
            self._live.stop()
            self._live = None
            asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        await super().close(lines)

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(file=terminal(self._out, sys.stdout.encoding), highlight=False),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        self._timer = loop.call_soon(self._draw)  # type: ignore[assignment]

    def _draw(self) -> None:
        assert self._live is not None
        if self._out.is_idle:  # otherwise the terminal has not taken the last drawing yet
            self._live.update(self._drawn(), refresh=True)
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._draw)

    def _resized(self) -> None:
        """The terminal has broken our lines in its own way: begin on an empty screen."""
        assert self._live is not None
        self._live.stop()
        self._live.console.clear()
        self._live.start()

    def _drawn(self, *, last: bool = False) -> Text:
        from rich.text import Text

        assert self._live is not None
        console = self._live.console
        encoding = console.encoding.lower()
        screen = Screen(console.width, ascii_only=not encoding.startswith("utf"))
        drawn = Text(no_wrap=True, end="")
        jobs = self._jobs()
        drawing = list(rows(jobs, screen, console.height - 1, time()))
        if last:
            drawing.pop()  # the summary has the counts
            if left := len(jobs) - len(drawing):
                drawing.append([(f"   and {left:,} more", "dim")])
        for number, pieces in enumerate(drawing):
            drawn.append("\n" if number else "")
            for text, colour in pieces:
                drawn.append(text, colour)
        return drawn


Row = list[tuple[str, str]]
"""A line as pieces of text, each with a colour."""


def rows(jobs: Sequence[Job], screen: Screen, height: int, now: float) -> Iterator[Row]:
    """A row for each job, none wider than the screen, then the counts. If there are more than
    *height*, those that matter most."""
    shown = list(jobs)
    room = max(1, height - 1)
    if len(shown) > room:
        first = sorted(shown, key=lambda job: _ORDER.index(job.state))[:room]
        keep = {job.name for job in first}
        shown = [job for job in shown if job.name in keep]
    wide = max((columns(job.name) for job in jobs), default=0)
    names = min(wide, max(8, screen.width // 3))
    for job in shown:
        yield _row(job, screen, names, now)
    yield [(fitted(" " + counts(jobs), screen.width), "bold")]


def _row(job: Job, screen: Screen, names: int, now: float) -> Row:
    colour = _COLOURS[job.state]
    mark = _MARKS[job.state][screen.ascii_only]
    text = described(job, now)
    left = screen.width - names - 5
    row: Row = [(f" {mark} ", colour), (cut(fitted(job.name, names), names), ""), (" ", "")]
    last = safe(_last_said(job))
    text = fitted(text, left)
    row.append((text, colour))
    left -= columns(text) + 2
    if last and left > 8:
        row.append(("  " + fitted(last, left), "dim"))
    return row


def _last_said(job: Job) -> str:
    """What stands behind the state of *job*: its note while it runs, else the last line of its
    output."""
    if job.state.ended and job.state is not State.FAILED:
        return ""
    return (job.note if job.state.active else "") or job.last.last()


def described(job: Job, now: float) -> str:
    """What is going on with *job*."""
    took_s = job.lasted_s(now)
    for_it = f" for {duration(took_s)}" if took_s >= _SHORT_S else ""
    after = f" after {span(round(took_s, 1))}" if took_s >= 0.1 else ""
    reason = f": {safe(job.reason)}" if job.reason else ""
    match job.state:
        case State.WAITING:
            return _waits_for(job)
        case State.LAUNCHING:
            return f"launching{for_it}"
        case State.RUNNING:
            return f"{'ready' if job.unit.ready else 'running'}{for_it}"
        case State.RETRYING:
            return f"failed{reason}; trying again"
        case State.STOPPING:
            return f"stopping{for_it}"
        case State.COMPLETED:
            return "completed earlier" if job.earlier else f"completed{after}"
        case State.FAILED:
            return f"failed{after}{reason}"
        case State.SKIPPED:
            return f"skipped{reason}"
        case State.NOT_STARTED:
            return f"not started{reason}"


def _waits_for(job: Job) -> str:
    names = sorted(job.open)
    if not names:
        return "waiting"
    left = len(names[3:]) + job.open_unnamed
    more = f" and {left:,} more" if left else ""
    return f"waits for {', '.join(names[:3])}{more}"


def counts(jobs: Sequence[Job]) -> str:
    """``12 units: 9 completed (4 earlier), 1 failed, 2 running``."""
    numbers = Counter(job.state for job in jobs)
    earlier = sum(job.earlier for job in jobs)
    more = {State.COMPLETED: f" ({earlier:,} earlier)" if earlier else ""}
    parts = [
        f"{numbers[state]:,} {state}{more.get(state, '')}"
        for state in reversed(_ORDER)
        if numbers[state]
    ]
    return f"{counted(len(jobs), 'unit')}: {', '.join(parts)}"


def summary(jobs: Sequence[Job], took_s: float) -> list[str]:
    """How it went, with the last lines of the units that failed."""
    earlier = sum(job.earlier for job in jobs)
    if earlier == len(jobs) > 0:
        return [
            f"unitsync: nothing to do: {_all_completed(earlier)} earlier in this startup",
            "hint: after `unitsync reset --all`, everything runs again",
        ]
    lines = [f"unitsync: {counts(jobs)}, in {span(took_s)}"]
    for job in jobs:
        if job.state is State.FAILED:
            lines.append(f"{job.name} failed: {safe(job.reason)}")
            last = job.last.all()
            lines += [f"  | {safe(line)}" for line in last]
            hint = safe(job.hint) or f"unitsync {'logs' if last else 'status'} {job.name}"
            lines.append(f"  hint: {hint}")
    return lines


def _all_completed(number: int) -> str:
    return "its one unit completed" if number == 1 else f"all {number:,} units completed"


def at_terminal() -> bool:
    """Whether the live display can be shown."""
    return (
        sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    )
