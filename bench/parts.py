"""Coordinators put together from some of the daemon's parts: one in this process without
sockets, and one in a process of its own without a journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.load import check
from bench.servers import Server, served
from unitsync import wire
from unitsyncd.actors.incremental import RunInSteps, Work, at_once, has_more
from unitsyncd.actors.ports import Job, NobodyWatched, OwnerWatch
from unitsyncd.daemon import GC_THRESHOLDS
from unitsyncd.limits import Limits
from unitsyncd.requests.supervisor import Supervisor
from unitsyncd.saved_state import SavedState, open_state
from unitsyncd.system.owners import Owners
from unitsyncd.transport import connection_limit
from unitsyncd.transport.access import Access
from unitsyncd.transport.router import Envelope, Router

_LIMITS: Final = Limits()


class Unconnected:
    """The coordinator's own work in this process, without sockets and clients. Made by
    ``unconnected``."""

    def __init__(self, kept: SavedState | None) -> None:
        self._steps: deque[Callable[[], object]] = deque()
        """Work to do between later turns."""
        self._supervisor = bare_supervisor(NobodyWatched(), kept, self._run_in_steps)
        if kept is not None:
            kept.rhythm.run_in_steps = self._run_in_steps

    def _run_in_steps(self, work: Work) -> None:
        if has_more(work):
            self._steps.append(lambda: self._run_in_steps(work))

    def turn(self, request: wire.AnyRequest) -> tuple[float, wire.AnyReply]:
        """(seconds, reply) of a turn with just *request*."""
        frame = wire.encode(request)
        began = time.monotonic()
        ((_, reply),) = self._supervisor.turn([(b"peer", frame)], began, began)
        return time.monotonic() - began, wire.decode_reply(reply)

    def rest(self) -> list[float]:
        """Do the work between turns. The seconds that each step takes."""
        took_s = []
        while self._steps:
            began = time.monotonic()
            self._steps.popleft()()
            took_s.append(time.monotonic() - began)
        return took_s

    def ask(self, frames: Sequence[bytes], batch: int) -> float:
        """Seconds to answer *frames*, with *batch* of them in each turn. Raises Refused."""
        turns = [
            [(b"peer", frame) for frame in frames[first : first + batch]]
            for first in range(0, len(frames), batch)
        ]
        replies: list[Envelope] = []
        began = time.monotonic()
        for turn in turns:
            replies += self._supervisor.turn(turn, began, began)
            self.rest()
        took_s = time.monotonic() - began
        check(frame for _, frame in replies)
        return took_s


@contextlib.contextmanager
def unconnected(journal: Path | None) -> Iterator[Unconnected]:
    """With a journal at the path *journal*, and snapshots when they are due; with None, without
    both. From now on this process collects garbage as rarely as the daemon."""
    gc.collect()
    gc.set_threshold(*GC_THRESHOLDS)
    kept = None if journal is None else open_state(str(journal), _LIMITS)
    try:
        yield Unconnected(kept)
    finally:
        if kept is not None:
            kept.close()


def without_journal(folder: Path) -> contextlib.AbstractContextManager[Server]:
    """A coordinator in a process of its own. It keeps nothing, so it takes no snapshots. It
    has no timers, no log and no lock on its folder either: it needs none of them."""
    return served(_serve, folder)


def _serve(address: str) -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    asyncio.run(_until_killed(address))


async def _until_killed(address: str) -> None:
    loop = asyncio.get_running_loop()
    budget = connection_limit.file_budget(_LIMITS.connections)
    owners = Owners(lambda key: None, pidfds_max=budget.pidfds)
    supervisor = bare_supervisor(owners, None, at_once)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address.removeprefix("ipc://"))
        listening.listen(budget.backlog)
        descriptor = listening.detach()
    router = Router(
        descriptor,
        access=Access(),
        turns=_Turns(supervisor),
        budget=budget,
        on_full=lambda full: True,
    )
    router.begin(loop)
    await loop.create_future()


class _Turns:
    epoch = "bench"

    def __init__(self, supervisor: Supervisor) -> None:
        self.handle = supervisor.handle
        self.end_turn = supervisor.end_turn
        self._begin_turn = supervisor.begin_turn

    def begin_turn(self) -> None:
        self._begin_turn(time.monotonic(), time.time())


def bare_supervisor(
    owners: OwnerWatch,
    kept: SavedState | None,
    run_in_steps: RunInSteps,
    job: Job | None = None,
) -> Supervisor:
    """What the daemon has without its adapters. The caller does what they do."""

    def defect(what: str, problem: BaseException) -> None:
        raise RuntimeError(what) from problem

    supervisor = partial(
        Supervisor,
        new_epoch=lambda: "bench",
        owners=owners,
        identity=_Identity(),
        limits=_LIMITS,
        on_defect=defect,
        run_in_steps=run_in_steps,
        job=job,
    )
    if kept is None:
        return supervisor(startup="bench")
    return supervisor(
        startup="",
        store=kept.journal,
        machine=kept.machine,
        on_kept=kept.rhythm.appended,
    )


class _Identity:
    version = "bench"
    since = 0.0

    def __init__(self) -> None:
        self.pid = os.getpid()
