"""What only the asyncio client can do: many requests at once, and being cancelled."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.test_express import Deaf, deaf
from unitsync import AsyncClient, Client, errors, wire
from unitsync.clients.async_dealer import AsyncLink
from unitsync.clients.base import LinkLost
from unitsync.link import conversation, endpoint
from unitsync.link.absent import NotYet

__all__ = ["deaf"]

PATIENCE_S = 20.0
FOREVER_S = 1000.0


class Waits:
    """An ``on_waiting`` callback that a task can wait for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __call__(self, notice: wire.Waiting) -> None:
        self._event.set()

    def again(self) -> None:
        self._event.clear()

    async def happened(self) -> None:
        await asyncio.wait_for(self._event.wait(), PATIENCE_S)


class Gate:
    """Holds the connecting of a client back until it is opened."""

    def __init__(self, sync: AsyncClient) -> None:
        self._connect = sync._connect
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()
        sync._connect = self._hold  # type: ignore[method-assign]

    async def _hold(self, *details: Any) -> Any:
        self._reached.set()
        await self._opened.wait()
        return await self._connect(*details)

    async def reached(self) -> None:
        await asyncio.wait_for(self._reached.wait(), PATIENCE_S)

    def open(self) -> None:
        self._opened.set()


@pytest.mark.asyncio
async def test_thousands_wait_on_one_socket(coordinator: str) -> None:
    waiting = 0

    def count(notice: wire.Waiting) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == len(names):
            all_wait.set()

    names = [f"u{n}" for n in range(2000)]
    all_wait = asyncio.Event()
    before = len(os.listdir("/proc/self/fd"))
    async with AsyncClient(on_waiting=count) as sync:
        await sync.start("gate")

        async def one(name: str) -> None:
            async with sync.unit(name, after=["gate"], timeout_s=None):
                pass

        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(one(name))
            await asyncio.wait_for(all_wait.wait(), 2 * PATIENCE_S)
            assert len(os.listdir("/proc/self/fd")) - before < 20
            await sync.complete("gate")
        units = await sync.list()
    assert {unit.status for unit in units} == {wire.Status.COMPLETED}
    assert len(units) == len(names) + 1


@pytest.mark.asyncio
async def test_cancelling_takes_the_start_back(coordinator: str) -> None:
    waits = Waits()
    async with AsyncClient(on_waiting=waits) as sync:
        task = asyncio.create_task(sync.start("ide", after=["clone"]))
        await waits.happened()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        unit = await sync.status("ide")
        assert (unit.status, unit.waiting_clients) == (wire.Status.PENDING, 0)
        assert unit.history[-1].reason == "cancelled"


@pytest.mark.asyncio
async def test_a_grant_that_crosses_the_cancellation_fails_the_run(
    coordinator: str, other: Client
) -> None:
    waits = Waits()
    other.start("clone")
    async with AsyncClient(on_waiting=waits) as sync:
        task = asyncio.create_task(sync.start("ide", after=["clone"]))
        await waits.happened()
        other.complete("clone")
        claimed = sync._link
        assert claimed is not None
        send = claimed.send

        def send_and_be_cancelled(frame: bytes) -> None:
            send(frame)
            request = wire.decode_request(frame)
            if isinstance(request, wire.Start):  # the claim: see it granted, do not hear of it
                while other.status("ide").status is not wire.Status.STARTED:
                    pass
                task.cancel()

        claimed.send = send_and_be_cancelled  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await task
        claimed.send = send  # type: ignore[method-assign]
        unit = await sync.status("ide")
        assert (unit.status, unit.reason) == (wire.Status.FAILED, "cancelled")


@pytest.mark.asyncio
async def test_a_start_that_is_cancelled_while_it_connects_again_is_taken_back(
    coordinator: str, other: Client
) -> None:
    waits = Waits()
    async with AsyncClient(on_waiting=waits) as sync:
        task = asyncio.create_task(sync.start("ide", after=["clone"]))
        await waits.happened()
        gate = Gate(sync)
        assert sync._link is not None
        sync._link.close(LinkLost)
        await gate.reached()
        task.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert other.status("ide").history[-1].reason == "cancelled"


@pytest.mark.asyncio
async def test_a_timeout_around_it_takes_it_back(coordinator: str, other: Client) -> None:
    async with AsyncClient() as sync:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sync.start("ide", after=["clone"])
    assert other.status("ide").waiting_clients == 0


@pytest.mark.asyncio
async def test_cancelling_one_leaves_the_others_waiting(coordinator: str) -> None:
    async with AsyncClient() as sync:
        await sync.start("clone")
        first = asyncio.create_task(sync.start("a", after=["clone"]))
        second = asyncio.create_task(sync.start("b", after=["clone"]))
        await sync.ping()
        first.cancel()
        await sync.complete("clone")
        assert (await second).run == 1
        with pytest.raises(asyncio.CancelledError):
            await first


@pytest.mark.asyncio
async def test_a_cancelled_block_has_failed(coordinator: str, other: Client) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with sync.unit("ide"):
            entered.set()
            await asyncio.Event().wait()

    async with AsyncClient() as sync:
        task = asyncio.create_task(work())
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    unit = other.status("ide")
    assert (unit.status, unit.reason) == (wire.Status.FAILED, "cancelled")


@pytest.mark.parametrize("again", [1, 3])
@pytest.mark.asyncio
async def test_how_a_block_ended_is_told_although_it_is_cancelled_meanwhile(
    coordinator: str, other: Client, again: int
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with sync.unit("ide"):
            entered.set()
            await leave.wait()

    async with AsyncClient() as sync:
        task = asyncio.create_task(work())
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        leave.set()
        await asyncio.sleep(0)  # it now tells that it is complete
        for _ in range(again):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert other.status("ide").status is wire.Status.COMPLETED


@pytest.mark.asyncio
async def test_a_block_in_a_coroutine_that_is_closed_has_failed(
    coordinator: str, other: Client
) -> None:
    async with AsyncClient() as sync:
        await sync.ping()

        async def units() -> Any:
            async with sync.unit("ide"):
                yield 1

        generator = units()
        await anext(generator)
        await generator.aclose()
        await sync.ping()
        unit = other.status("ide")
        assert (unit.status, unit.reason) == (wire.Status.FAILED, "GeneratorExit")


@pytest.mark.asyncio
async def test_closing_ends_waiting_calls(coordinator: str) -> None:
    waits = Waits()
    sync = AsyncClient(on_waiting=waits)
    task = asyncio.create_task(sync.start("ide", after=["clone"]))
    await waits.happened()
    await sync.close()
    with pytest.raises(errors.UsageError, match="was closed"):
        await task
    await sync.close()
    assert (await sync.ping()).protocol == wire.PROTOCOL  # and opens again
    await sync.close()


@pytest.mark.asyncio
async def test_closing_right_after_cancelling(coordinator: str) -> None:
    waits = Waits()
    sync = AsyncClient(on_waiting=waits)
    task = asyncio.create_task(sync.start("ide", after=["clone"]))
    await waits.happened()
    await asyncio.sleep(0)  # it asks again
    task.cancel()
    await sync.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sync.close()


@pytest.mark.asyncio
async def test_closing_ends_a_call_that_is_still_opening(nobody_there: str) -> None:
    sync = AsyncClient()
    task = asyncio.create_task(sync.start("ide"))
    await asyncio.sleep(0)
    assert sync._opening
    await sync.close()
    with pytest.raises(errors.UsageError, match="was closed"):
        await task
    assert not sync._background, "nothing opens another connection"
    assert sync._link is None
    await sync.ping()
    await sync.close()


@pytest.mark.asyncio
async def test_closing_ends_a_call_that_has_just_connected(coordinator: str) -> None:
    sync = AsyncClient()
    connect = sync._open

    async def connect_and_be_closed(*details: Any) -> Any:
        link = await connect(*details)
        sync._open = connect  # type: ignore[method-assign]
        await sync.close()
        return link

    sync._open = connect_and_be_closed  # type: ignore[method-assign]
    with pytest.raises(errors.UsageError, match="was closed"):
        await asyncio.wait_for(sync.ping(), PATIENCE_S)


@pytest.mark.asyncio
async def test_a_time_limit_holds_while_a_call_without_one_connects(
    coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "OVERTIME_S", 0.1)
    async with AsyncClient() as sync:
        gate = Gate(sync)
        patient = asyncio.create_task(sync.start("clone", timeout_s=None))
        await gate.reached()
        with pytest.raises(errors.TimedOut):
            await asyncio.wait_for(sync.start("ide", timeout_s=0.1), PATIENCE_S)
        gate.open()
        assert (await patient).run == 1


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_while_it_opens_is_cancelled(nobody_there: str) -> None:
    async with AsyncClient() as sync:
        task = asyncio.create_task(sync.start("ide"))
        await asyncio.sleep(0)
        assert sync._opening
        task.cancel()
        await sync.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sync.ping()


@pytest.mark.asyncio
async def test_closing_ends_a_call_that_waits_for_the_coordinators_return(mortal: Any) -> None:
    waits = Waits()
    sync = AsyncClient(on_waiting=waits)
    task = asyncio.create_task(sync.start("ide", after=["clone"]))
    await waits.happened()
    waits.again()
    mortal.kill()
    await waits.happened()
    await sync.close()
    mortal.start()
    with pytest.raises(errors.UsageError, match="was closed"):
        await task
    assert sync._link is None


@pytest.mark.asyncio
async def test_the_first_calls_share_one_connection(nobody_there: str) -> None:
    async with AsyncClient() as sync:
        pongs = await asyncio.gather(*(sync.ping() for _ in range(50)))
        assert len({pong.pid for pong in pongs}) == 1


@pytest.mark.asyncio
async def test_the_loop_goes_on_while_a_coordinator_starts(nobody_there: str) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    async with AsyncClient() as sync:
        await sync.ping()
    ticking.cancel()
    assert ticks > 5


@pytest.mark.asyncio
async def test_nothing_is_left_in_the_loop(coordinator: str) -> None:
    async with AsyncClient() as sync:
        await sync.ping()
        with pytest.raises(errors.TimedOut):
            await sync.start("ide", after=["clone"], timeout_s=0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}


PROGRAM = """
import asyncio
from unitsync import AsyncClient

async def work(sync, name):
    async with sync.unit(name):
        print(name, flush=True)
        await asyncio.Event().wait()

async def main():
    async with AsyncClient() as sync:
        async with asyncio.TaskGroup() as tasks:
            for name in "ab":
                tasks.create_task(work(sync, name))

asyncio.run(main())
"""


def test_ctrl_c_fails_the_blocks_of_a_program(
    coordinator: str, other: Client, send_sigint: Callable[[subprocess.Popen[str], int], None]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        send_sigint(process, 2)
        _, told = process.communicate(timeout=PATIENCE_S)
    assert "KeyboardInterrupt" in told
    assert "never retrieved" not in told
    for name in "ab":
        unit = other.status(name)
        assert (unit.status, unit.reason) == (wire.Status.FAILED, "cancelled")


def test_one_client_in_two_loops(coordinator: str) -> None:
    sync = AsyncClient()

    async def ping_and_close() -> int:
        try:
            return (await sync.ping()).pid
        finally:
            await sync.close()

    assert asyncio.run(ping_and_close()) == asyncio.run(ping_and_close())
    first = asyncio.new_event_loop()
    first.run_until_complete(sync.ping())
    first.close()  # without closing the client
    asyncio.run(ping_and_close())


def test_a_second_loop_does_not_wait_for_what_the_first_began(coordinator: str) -> None:
    sync = AsyncClient()
    first = asyncio.new_event_loop()
    begun = first.create_task(sync.ping())
    first.run_until_complete(asyncio.sleep(0))
    assert sync._opening

    async def ping() -> int:
        return (await asyncio.wait_for(sync.ping(), PATIENCE_S)).pid

    assert asyncio.run(ping()) == first.run_until_complete(begun).pid
    first.run_until_complete(sync.close())
    first.close()


@pytest.mark.asyncio
async def test_a_forked_child_leaves_the_loop_of_its_parent_alone(
    coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share what the loop watches its descriptors with."""
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", FOREVER_S)
    async with AsyncClient() as sync:
        await sync.ping()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(sync.ping())
                status = 0
            finally:
                os._exit(status)
        _, ended = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(ended) == 0
        await asyncio.wait_for(sync.ping(), PATIENCE_S)


@pytest.mark.asyncio
async def test_a_reply_that_is_there_when_something_is_sent_is_not_left_lying(
    deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending takes the edge that tells of it."""
    monkeypatch.setattr(conversation, "REPLY_SLACK_S", FOREVER_S)
    async with AsyncClient(deaf.address, autostart=False) as sync:
        task = asyncio.create_task(sync.complete("ide"))
        peer, request = await asyncio.to_thread(deaf.hears)
        deaf.says(peer, wire.Ok(id=request.id))
        link = sync._link
        assert link is not None
        assert select.select([link._fds[0]], [], [], PATIENCE_S)[0]
        link.send(wire.encode(wire.Ping(**sync.said())))
        await asyncio.wait_for(task, PATIENCE_S)


@pytest.mark.parametrize(
    "found", [False, errors.Unreachable("a stranger's"), NotYet("not now")], ids=str
)
@pytest.mark.asyncio
async def test_a_socket_that_cannot_connect_looks_again_and_again(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool | errors.UnitsyncError
) -> None:
    """There was somebody at first, but nobody who serves."""
    answers = [True, True, found]

    def is_there(place: endpoint.Endpoint) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, errors.UnitsyncError):
            raise answer
        return answer

    monkeypatch.setattr(endpoint, "is_there", is_there)
    place = endpoint.resolve(f"ipc://{short_path}/s")
    link = AsyncLink(place, asyncio.get_running_loop())
    with pytest.raises((LinkLost, errors.Unreachable)) as caught:
        await asyncio.wait_for(link.ask("id", b"", time.monotonic() + FOREVER_S), PATIENCE_S)
    assert caught.type is (type(found) if found else LinkLost)
    assert not answers


@pytest.mark.asyncio
async def test_a_blocked_loop_loses_no_reply(
    coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsync.link.conversation.REPLY_SLACK_S", 0.1)
    async with AsyncClient() as sync:
        await sync.ping()
        task = asyncio.create_task(sync.ping())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 (that is the point)
        assert (await task).protocol == wire.PROTOCOL
