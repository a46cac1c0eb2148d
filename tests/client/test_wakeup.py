"""Signals, for who waits and for the program around it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from unitsync import Client
from unitsync.clients.wakeup import Wakeup

PATIENCE_S = 20.0


@pytest.fixture
def noted() -> Iterator[list[int]]:
    """The SIGUSR1 that came: its handler is there for as long as the test is."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGUSR1, note)
    yield came
    signal.signal(signal.SIGUSR1, before)


def is_readable(fd: int, timeout_s: float) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


def test_a_signal_wakes_who_waits(noted: list[int]) -> None:
    with Wakeup() as wakeup:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert is_readable(wakeup.fd, PATIENCE_S)
            wakeup.drain()
            assert not is_readable(wakeup.fd, 0)
            wakeup.drain()  # with nothing in it, it returns as well
    assert noted == [signal.SIGUSR1] * 2
    assert signal.set_wakeup_fd(-1) == -1, "nothing is left of it"


@pytest.mark.asyncio
async def test_an_event_loop_goes_on_getting_its_signals(coordinator: str) -> None:
    """A program that uses the blocking client within its asyncio loop: its own handlers,
    for Ctrl-C and SIGTERM mostly, run afterwards as before."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        with Wakeup() as wakeup:
            assert wakeup.fd == -1, "the loop has such an arrangement"
            await one_signal(came)
        await one_signal(came)
        with Client() as client:
            client.want("ide", "clone")
            await one_signal(came)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def one_signal(came: asyncio.Event) -> None:
    came.clear()
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(came.wait(), PATIENCE_S)


def test_another_thread_leaves_signals_to_the_main_one() -> None:
    found: list[int] = []

    def enter() -> None:
        with Wakeup() as wakeup:
            found.append(wakeup.fd)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [-1]
