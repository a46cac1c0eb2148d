"""The terminal: keys in, lines out. Only this module knows Textual."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from unitsync import AsyncClient, errors
from unitsync.link import endpoint as endpoints
from unitsync.logs import reading as log_reading
from unitsync.logs.tail import Tails
from unitsync.watch.board import Board
from unitsync.watch.drawing import draw
from unitsync.watch.following import Away, Following, Seen
from unitsync.watch.lasting import Lasting
from unitsync.watch.look import STYLES, Line, View

_TICK_S: Final = 1.0
_STYLES: Final = {word: Style.parse(look or "none") for word, look in STYLES.items()}


def _logs(address: str, epoch: str) -> Callable[[str, int], Sequence[str]]:
    """A function that reads the logs of units in the state *epoch*."""
    folder = Path(endpoints.resolve(address).folder)
    return Tails(log_reading.epoch_folder(folder, epoch) if epoch else None).of


def _hung_up() -> bool:
    """Whether the terminal is gone. Nothing else tells a process that it does not control."""
    try:
        termios.tcgetattr(0)
    except termios.error:
        return True
    return False


class Lines(Widget, can_focus=True):
    """Shows lines. Only those that have changed are written to the terminal again."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        before, self.lines = self.lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, lines, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        line = self.lines[y] if y < len(self.lines) else []
        strip = Strip([Segment(text, _STYLES[style]) for text, style in line])
        return strip.adjust_cell_length(self.size.width, Style.null())


class Watch(App[int]):
    """Asks with *client*, and shows units with *names* or that match them if they are patterns;
    all without names. *encoding*: of the terminal.

    Its result is the exit status. ``problem``: what ended it, if it did not end by itself."""

    CSS = """
    Screen { background: ansi_default; color: ansi_default; overflow: hidden; }
    Lines { width: 100%; height: 100%; background: ansi_default; color: ansi_default; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "leave", priority=True),
        Binding("ctrl+z", "suspend_process", priority=True),
    ]

    def __init__(self, client: AsyncClient, names: Sequence[str] = (), encoding: str = "") -> None:
        super().__init__(ansi_color=True)
        self.animation_level = "none"
        self.problem: errors.UnitsyncError | None = None
        self.board = Board()
        self._lasting = Lasting()
        self.view = View(encoding=encoding or "utf-8", took=self._lasting.of, only=", ".join(names))
        self._client = client
        self._names = names
        self._lines = Lines()
        self._epoch = ""
        self._why_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def compose(self) -> ComposeResult:
        yield self._lines

    def on_mount(self) -> None:
        self._lines.focus()
        self.set_interval(_TICK_S, self._tick)
        self.app_resume_signal.subscribe(self, lambda _: self._lines.refresh(), immediate=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end, number)
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._ask_why())]

    async def on_unmount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    # --- what there is --------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            await Following(self._client, self._names, self._told, self._lasting.note).run()
        except errors.UnitsyncError as problem:
            self.problem = problem
            self.exit(problem.exit_status)

    def _told(self, what: Seen | Away) -> None:
        if isinstance(what, Away):
            self.view.away = what.why
        else:
            self.view.away, self.view.known = "", True
            if what.epoch != self._epoch:
                self._epoch = what.epoch
                self.view.log = _logs(self._client.endpoint, what.epoch)
                self.view.why = None
            self.board.update(what.units)
            self._why_wanted.set()
        self.draw()

    async def _ask_why(self) -> None:
        while True:
            await self._why_wanted.wait()
            self._why_wanted.clear()
            if not (name := self.board.chosen):
                continue
            try:
                self.view.why = (await self._client.why(name)).tree
            except errors.UnitsyncError:
                continue  # what follows says so
            self.draw()

    # --- the terminal ---------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.is_headless and _hung_up():
            self._end(signal.SIGHUP)
        self.draw()

    def _end(self, number: int) -> None:
        """Leave because of a signal."""
        if not self.is_headless and _hung_up():
            os._exit(128 + number)  # Textual would wait for a terminal that takes nothing
        self.exit(128 + number)

    def draw(self) -> None:
        self.view.now = time()
        size = self.size
        self._lines.show(draw(self.board, self.view, size.width, size.height))

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.draw)

    def action_leave(self) -> None:
        self.exit(0)

    def on_paste(self, event: events.Paste) -> None:
        if self.view.typing:
            self.board.narrow(self.board.filter + " ".join(event.text.split()))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        chosen = self.board.chosen
        if self.view.help:
            self.view.help = False
        elif self.view.typing:
            self._type(event)
        else:
            self._press(event.character if event.is_printable else event.key)
        if self.board.chosen != chosen:
            self._why_wanted.set()
        self.draw()

    def _type(self, event: events.Key) -> None:
        text = self.board.filter
        match event.key:
            case "enter":
                self.view.typing = False
            case "escape":
                self.view.typing = False
                self.board.narrow("")
            case "backspace" | "ctrl+h":
                self.board.narrow(text[:-1])
                self.view.typing = bool(text)
            case "ctrl+u":
                self.board.narrow("")
            case "ctrl+w":
                self.board.narrow(text.rstrip().rpartition(" ")[0])
            case "up" | "down":
                self._press(event.key)
            case _ if event.is_printable and event.character:
                self.board.narrow(text + event.character)

    def _press(self, key: str | None) -> None:
        board, page = self.board, max(1, self.size.height - 4)
        match key:
            case "q":
                self.action_leave()
            case "?":
                self.view.help = True
            case "/":
                self.view.typing = True
            case "up" | "k":
                board.move(-1)
            case "down" | "j":
                board.move(1)
            case "pageup" | "ctrl+b":
                board.move(-page)
            case "pagedown" | "ctrl+f" | " ":
                board.move(page)
            case "home" | "g":
                board.move(-len(board.rows))
            case "end" | "G":
                board.move(len(board.rows))
            case "f":
                board.fold()
            case "enter" | "escape" if self.view.zoomed:
                self.view.zoomed = False
            case "enter" if board.heading is not None:
                board.fold()
            case "enter":
                self.view.zoomed = bool(board.chosen)
            case "escape":
                self.board.narrow("")
