"""Keys, the filter and what is chosen, with a real coordinator and Textual's own terminal."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from textual.events import Paste
from textual.pilot import Pilot

from support.coordinators import PATIENCE_S, Coordinator
from unitsync import AsyncClient, errors
from unitsync.watch.app import Lines, Watch

pytestmark = pytest.mark.asyncio


class Screen:
    """The app, and what it shows."""

    def __init__(self, app: Watch, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        lines = self.app.query_one(Lines).lines
        return "\n".join("".join(text for text, _ in line) for line in lines)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.text
            await self.pilot.pause(0.02)

    async def shows(self, *texts: str, without: str = "\0") -> None:
        await self.until(
            lambda: all(each in self.text for each in texts) and without not in self.text
        )

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


@asynccontextmanager
async def watching(
    place: Coordinator, *names: str, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Screen]:
    client = AsyncClient(place.address, autostart=False, startup="")
    app = Watch(client, names)
    async with app.run_test(size=size) as pilot:
        yield Screen(app, pilot)


def a_startup(place: Coordinator, completed: int = 2) -> None:
    with place.client() as client:
        client.want("ide", "deps")
        client.want("deps", "clone")
        client.start("clone")
        client.start("lint")
        client.fail("lint", "exit status 2")
        for number in range(completed):
            client.start(f"step-{number}")
            client.complete(f"step-{number}")


async def test_choosing(place: Coordinator) -> None:
    a_startup(place)
    async with watching(place) as screen:
        await screen.shows("── lint", " failed 0 s ago: exit status 2")
        await screen.press("j", "j")
        await screen.shows("── clone", " started ")
        await screen.press("down", "down")
        await screen.shows("── ide", "└─ deps: pending")
        await screen.press("end")
        await screen.shows("── step-0", " it took 0.")
        await screen.press("g", "j")
        await screen.shows("── lint")
        await screen.press("pagedown")
        await screen.shows("── step-0")
        await screen.press("pageup", "down")
        await screen.shows("── lint")


async def test_what_is_chosen_is_told_anew_when_it_changes(place: Coordinator) -> None:
    a_startup(place)
    async with watching(place) as screen:
        await screen.shows("── lint")
        await screen.press("j", "j", "enter")
        await screen.shows("── clone", without="▾ running")
        with place.client() as client:
            client.note("clone", "43 %")
        await screen.shows("): 43 %")
        with place.client() as client:
            client.complete("clone")
        await screen.shows(" completed 0 s ago", " it took ")
        await screen.press("escape")
        await screen.shows("▾ completed 3", "── clone")


async def test_a_unit_that_was_chosen_ends_among_many(place: Coordinator) -> None:
    """Its group is folded: the heading stands for it, and Enter unfolds the group."""
    a_startup(place, completed=30)
    async with watching(place, size=(80, 60)) as screen:
        await screen.shows("── lint")
        await screen.press("j", "j")
        await screen.shows("── clone", "▸ completed 30")
        with place.client() as client:
            client.complete("clone")
        await screen.shows("▸ completed 31", "── clone", " completed 0 s ago", without="running")
        await screen.press("enter")
        await screen.shows("▾ completed 31", "── completed", " Enter: fold 31 units")


async def test_folding(place: Coordinator) -> None:
    a_startup(place, completed=30)
    async with watching(place, size=(80, 90)) as screen:
        await screen.shows("▸ completed 30", without="step-1")
        await screen.press("G", "enter")
        await screen.shows("▾ completed 30", "step-29", "step-0")
        await screen.press("j", "f")
        await screen.shows("▸ completed 30", without="step-1")


async def test_the_filter(place: Coordinator) -> None:
    a_startup(place)
    async with watching(place) as screen:
        await screen.shows("── lint")
        await screen.press("slash", "c", "l", "q")
        await screen.shows(" /clq   0 of 6", "no unit matches")
        await screen.press("backspace")
        await screen.shows(" /cl   1 of 6", "── clone", without="lint")
        await screen.press("ctrl+u", "d", "asterisk", "space", "i", "d")
        await screen.shows(" /d* id   2 of 6", "ide", "deps", without="lint")
        await screen.press("ctrl+w", "enter", "j")
        await screen.shows(" /d*  1 of 6  Esc all", without="ide")
        await screen.press("escape")
        await screen.shows("lint", "j/k choose")
        await screen.press("slash", "l", "left_square_bracket")
        await screen.shows("not a pattern")
        await screen.press("escape", "slash", "backspace")
        await screen.shows("lint", "j/k choose")
        await screen.press("slash")
        screen.app.post_message(Paste("li\nnt"))
        await screen.shows(" /li nt ")


async def test_help_and_small_screens(place: Coordinator) -> None:
    a_startup(place)
    async with watching(place) as screen:
        await screen.shows("── lint")
        await screen.press("question_mark")
        await screen.shows("any key: back", without="lint")
        await screen.press("q")
        await screen.shows("── lint")
        for size in ((1, 1), (20, 2), (60, 5), (300, 80)):
            await screen.pilot.resize_terminal(*size)
            await screen.until(lambda size=size: len(screen.app.query_one(Lines).lines) == size[1])


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_leaving(place: Coordinator, key: str) -> None:
    async with watching(place) as screen:
        await screen.shows("no units yet")
        await screen.press(key)
    assert screen.app.return_value in (0, None)
    assert screen.app.return_code == 0


async def test_only_these_units(place: Coordinator) -> None:
    a_startup(place)
    async with watching(place, "cl*", "deps") as screen:
        await screen.shows("0 of 2 completed", "clone", "deps", without="lint")
        with place.client() as client:
            client.want("clean")
        await screen.shows("0 of 3 completed", "clean")


async def test_what_cannot_go_on_ends_it(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*names: str) -> None:
        raise errors.NotPermitted("not yours")

    client = AsyncClient(place.address, autostart=False, startup="")
    monkeypatch.setattr(client, "list", refuse)
    app = Watch(client)
    async with app.run_test():
        pass
    assert (app.return_value, str(app.problem)) == (77, "not yours")


async def test_only_changed_lines_are_drawn_again(
    place: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_startup(place)
    async with watching(place) as screen:
        await screen.shows("── lint")
        lines = screen.app.query_one(Lines)
        drawn: list[int] = []
        monkeypatch.setattr(
            lines, "refresh", lambda *regions, **how: drawn.extend(each.y for each in regions)
        )
        changed = list(lines.lines)
        changed[3] = [("other", "")]
        lines.show(changed)
        lines.show(changed)
        assert drawn == [3]
