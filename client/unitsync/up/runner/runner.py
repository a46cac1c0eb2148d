"""Runs the units of a plan, each the moment it may: a client of the coordinator like any other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Final, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from unitsync import errors, wire
from unitsync.aio import AsyncClient
from unitsync.clients import owner
from unitsync.logs.files import RunLog, UnitLog
from unitsync.names.patterns import is_pattern
from unitsync.plan.model import Edge, Plan, UnitPlan
from unitsync.process import command
from unitsync.up.runner.client import RunnerClient
from unitsync.up.runner.declaring import all_declared, declarations
from unitsync.up.runner.gate_job import GateJob
from unitsync.up.runner.job import Job
from unitsync.up.runner.notes import following
from unitsync.up.runner.processes import (
    MARK,
    Children,
    Guardian,
    Output,
    home_of,
    leave,
    marked,
    may_open_many_files,
    signal_process,
)
from unitsync.up.runner.record import Record, digest
from unitsync.up.runner.slots import Slots
from unitsync.up.runner.states import State

_LEFT_OVER_EVERY_S: Final = 0.05
_NOT_RUN: Final = (wire.Status.PENDING, wire.Status.SKIPPED)
"""The status of a unit that completed and was then reset."""
_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Display(Protocol):
    """Shows what goes on. All methods return at once."""

    @property
    def is_behind(self) -> bool:
        """Whether so much is to be shown still that no more output should come."""

    def on_room(self, call: Callable[[], None]) -> None:
        """*call* this when it is not behind any more."""

    def hurry(self) -> None:
        """Whoever reads nothing of what is shown is not waited for any more."""

    def moved(self, job: Job) -> None:
        """The job has another state."""

    def output(self, job: Job, data: bytes) -> None:
        """Its command has printed *data*."""

    def waiting(self, lines: Iterable[str]) -> None:
        """What a start waits for."""

    def warn(self, text: str, hint: str = "") -> None: ...


_WhatT = TypeVar("_WhatT")


class Changes(NamedTuple):
    """What a new version of a plan has led to."""

    launched: list[str]
    """Names of units that may start now, or wait for it."""
    ended: list[str]
    """Names of units that ran and are no longer in the plan."""
    reordered: bool
    """Whether a unit that was there before waits for others than before."""


class Runner:
    """Runs *plan*, as the Host of its jobs. The coordinator alone decides who may start.

    - ``folder``: where the coordinator's socket is, for logs and records
    - ``fail_fast``: end everything as soon as one unit fails
    - ``again``: units to run even if they completed earlier
    """

    def __init__(
        self,
        plan: Plan,
        endpoint: str,
        display: Display,
        folder: str,
        *,
        fail_fast: bool = False,
        again: Iterable[str] = (),
    ) -> None:
        self.plan = plan
        self._display = display
        display.on_room(self._go_on)
        self.jobs: dict[str, Job] = {}
        self.left_behind: list[Output] = []
        self.slots = Slots(plan.parallel)
        self.signalled = 0
        """The number of the signal that has ended it, 0 if none has."""
        self._hurried = False
        """Whether nobody wants to wait any more."""
        self.on_up: Callable[[], None] = lambda: None
        """Called once all units are known to the coordinator."""
        self._client = RunnerClient(
            endpoint,
            owner=replace(owner.this_process(), command=f"unitsync up {plan.path}"),
            on_waiting=self._waits,
            render=wire.Render.TEXT,
        )
        self._client.on_start_waits = self._start_waits
        self.client: AsyncClient = self._client
        self._mark = f"{MARK}={os.urandom(12).hex()}"
        name, _, value = self._mark.encode().partition(b"=")
        self._environment = {**command.environment_of(""), name: value}
        # What one command says is not said of all of them.
        self._environment.pop(command.NOTIFY_SOCKET, None)
        self._folder = folder
        self.fail_fast = fail_fast
        self._again = frozenset(again)
        self._dependents: dict[str, dict[str, Edge]] = {}
        self._going: set[str] = set()
        self._changes = 0
        """How many changes of what is to run are under way."""
        self._changing = asyncio.Lock()
        self._over = False
        self._connecting: asyncio.Task[wire.Pong] | None = None
        self._idle = asyncio.Event()
        self._unrecorded = False
        self._why = ""
        """Why everything is ended, once it is."""
        self._stopping: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Reach the coordinator, which starts one if there is none. From now on, signals end it.
        Raises UnitsyncError: Interrupted if one did."""
        loop = asyncio.get_running_loop()
        for number in _ENDING_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)
        self._connecting = loop.create_task(self.client.ping())
        await asyncio.wait((self._connecting,))
        if self._connecting.cancelled():
            await self.client.close()
            raise errors.Interrupted("interrupted")
        self._client.epoch = self._connecting.result().epoch
        self._record = Record(self._folder, self.plan.path, self._client.epoch)

    async def run(self) -> bool:
        """After ``connect``: run all units and return when they have ended, whether none has
        failed. Raises UnitsyncError if the coordinator cannot be told of them, and OSError if no
        process can watch over theirs."""
        may_open_many_files()
        self.guardian = Guardian(self._mark, self._folder)
        self.children = Children(asyncio.get_running_loop(), self.guardian)
        try:
            async with self.client:
                await self.bring_up(self.plan)
                self.on_up()
                while not self._over:
                    await self._idle.wait()
                    if self._stopping is not None:
                        await self._stopping
                    for job in list(self.jobs.values()):
                        await job.over()
                    self._over = self._idle.is_set()  # otherwise somebody has begun a change
        finally:
            self._over = True
            self.children.close()
            self.guardian.end()
            self._record.close()
        return not any(job.state in (State.FAILED, State.SKIPPED) for job in self.jobs.values())

    def following_notes(self) -> AbstractAsyncContextManager[None]:
        """After ``connect``: meanwhile the jobs have the notes that others give their units."""
        return following(self._client, self.jobs)

    def leave(self) -> None:
        """After ``run``, when no event loop runs any more: what the commands have left behind
        lives on."""
        leave(self.left_behind)

    # --- what is to run -----------------------------------------------------------------

    async def bring_up(self, plan: Plan) -> Changes:
        """Run what of *plan* is new, changed, or has not completed, and end what is no longer in
        it."""
        async with self._a_change():
            return await self._bring_up(plan)

    async def _bring_up(self, plan: Plan) -> Changes:
        changed = {
            name for name, job in self.jobs.items() if _is_changed(job, plan.units.get(name))
        }
        gone = [name for name in self.jobs if name not in plan.units]
        ended = [name for name in gone if not self.jobs[name].state.ended]
        await self._end(self.jobs[name] for name in changed)
        for name in gone:
            del self.jobs[name]
        known = {unit.name: unit for unit in await self.client.list()}
        await self._declare(plan, known)
        reordered = _is_reordered(self.plan, plan)
        self.plan = plan
        self.slots.limit = plan.parallel
        self._dependents = {}
        for unit in plan.units.values():
            for edge in unit.after:
                self._dependents.setdefault(edge.unit, {})[unit.name] = edge
        due = []
        for name, unit in plan.units.items():
            job = self.jobs.get(name)
            if job is None or name in changed:
                job = self.jobs[name] = (GateJob if unit.gate else Job)(unit, self)
                if name not in changed and self._has_completed(unit, known.get(name)):
                    job.leave_alone()
                    continue
            else:
                job.unit = unit
                forgotten = name not in known or known[name].status in _NOT_RUN
                if not job.state.ended or (job.state is State.COMPLETED and not forgotten):
                    continue
            due.append(job)
        names = [job.name for job in due]
        # Otherwise how they ended before counts until they are started, for whoever needs them.
        ended_before = [name for name in names if name in known and _is_over(known[name])]
        if ended_before:
            await self.client.reset(*ended_before)
        self._launch(due)
        return Changes(names, ended, reordered)

    def _has_completed(self, unit: UnitPlan, known: wire.UnitInfo | None) -> bool:
        """Whether *unit* has completed in this startup, as it stands in the plan. For a service
        that means only that it was ended."""
        if known is None or known.status is not wire.Status.COMPLETED:
            return False
        again = unit.ready or unit.name in self._again
        return not again and (unit.gate or self._record.has_run(unit))

    async def run_again(self, names: Iterable[str]) -> None:
        """Run these units again; those that run are ended first."""
        async with self._a_change():
            jobs = [self.jobs[name] for name in names if name in self.jobs]
            await self._end(jobs)
            await self.client.reset(*(job.name for job in jobs))
            self._launch(jobs)

    @asynccontextmanager
    async def _a_change(self) -> AsyncIterator[None]:
        """Meanwhile the runner does not end, even if all jobs have ended, and no other change
        begins. Raises Refused if it ends already."""
        if self._over or (self._stopping is not None and self.jobs):
            raise errors.Refused("this up is ending", hint="unitsync up again when it has ended")
        self._changes += 1
        self._see_whether_idle()
        try:
            async with self._changing:
                yield
        finally:
            self._changes -= 1
            self._see_whether_idle()

    def _see_whether_idle(self) -> None:
        if self._going or self._changes:
            self._idle.clear()
        else:
            self._idle.set()

    def _launch(self, jobs: Iterable[Job]) -> None:
        jobs = list(jobs)
        if self._stopping is not None:
            for job in jobs:
                job.leave_out(self._why)
            return
        for job in jobs:
            job.begin_anew()
        for job in jobs:
            needed = ((edge, self.jobs.get(edge.unit)) for edge in job.unit.after)
            job.launch(
                edge.unit
                for edge, prerequisite in needed
                if prerequisite is not None and not _has_moved_on(edge, prerequisite.state)
            )

    async def _declare(self, plan: Plan, known: Mapping[str, wire.UnitInfo]) -> None:
        """Tell the coordinator what waits for what, and take back what no longer does."""
        for name, prerequisites in self._record.no_longer(plan).items():
            if name in known or is_pattern(name):
                await self.client.unwant(name, *prerequisites)
        self._recorded(self._record.declared, plan)
        for (requires, optional), units in declarations(plan):
            await self.client.declare(units, requires=requires, optional=optional)
        for unit in plan.units.values():
            if unit.gate:
                await self.client.gate(unit.name, count=unit.count)

    # --- what the jobs ask and tell -------------------------------------------------------

    def waits_for_others(self, unit: UnitPlan) -> bool:
        return any(edge.unit not in self.jobs for edge in unit.after)

    def environment(self, unit: UnitPlan) -> dict[bytes, bytes]:
        environment = {**self._environment, b"UNITSYNC_UNIT": unit.name.encode()}
        if unit.user:
            environment |= home_of(unit.user)
        for name, value in unit.env.items():
            environment[os.fsencode(name)] = os.fsencode(value)
        return environment

    def open_log(self, epoch: str, unit: str, run: int) -> RunLog | None:
        try:
            folder = UnitLog(self._folder, epoch, unit)
            try:
                log = folder.open(run)
            except OSError:
                folder.close()
                raise
        except OSError as problem:
            self._display.warn(f"{unit} has no log: {problem.strerror or problem}")
            return None
        log.on_problem = lambda why: self._display.warn(f"the log of {unit}: {why}")
        return log

    def on_output(self, job: Job, data: bytes) -> None:
        self._display.output(job, data)
        if self._display.is_behind:
            for output in self._outputs():
                output.hold()

    def _go_on(self) -> None:
        for output in self._outputs():
            output.go_on()

    def _outputs(self) -> list[Output]:
        outputs = (job.output for job in self.jobs.values())
        return [*filter(None, outputs), *self.left_behind]

    def warn(self, text: str, hint: str = "") -> None:
        self._display.warn(text, hint)

    def _waits(self, reply: wire.Waiting) -> None:
        """The coordinator has a start wait. Some of its edges it did not get from the plan. Then
        it may have taken back others, which came about by patterns, because of a cycle: whoever
        still waits here for units that match a pattern asks it."""
        self._display.waiting(reply.err)
        left = [each.name for each in reply.waiting_for]
        seen = set(left)
        while left:
            job = self.jobs.get(left.pop())
            if job is None or job.state is not State.WAITING:
                continue
            matched = {edge.unit for edge in job.unit.after if edge.pattern}
            if job.missing <= matched:
                job.ask()
            left += job.missing - seen
            seen |= job.missing

    def _start_waits(self, name: str, reply: wire.Waiting) -> None:
        if (job := self.jobs.get(name)) is not None:
            job.waits(reply)

    def on_started(self, job: Job) -> None:
        self._recorded(self._record.started, job.unit)

    def _recorded(self, what: Callable[[_WhatT], None], about: _WhatT) -> None:
        """Without the record, the plan runs all the same."""
        try:
            what(about)
        except OSError as problem:
            if not self._unrecorded:
                self._unrecorded = True
                self._display.warn(
                    f"what runs cannot be recorded: {problem.strerror or problem}",
                    "the next up will not see which units have changed",
                )

    def on_moved(self, job: Job) -> None:
        if job.state.ended:
            self._going.discard(job.name)
        else:
            self._going.add(job.name)
        for name, edge in self._dependents.get(job.name, {}).items():
            dependent = self.jobs.get(name)
            if dependent is not None and _has_moved_on(edge, job.state):
                dependent.moved_on(job.name)
        self._display.moved(job)
        if job.state is State.FAILED and self.fail_fast:
            self.stop(f"ended because {job.name} failed")
        self._see_whether_idle()

    # --- the end -------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        self._display.hurry()
        if self._stopping is not None:
            self._hurried = True
            for job in self.jobs.values():
                job.stop("interrupted")
                job.kill()
                job.hurry()
            return
        self.signalled = number
        self.stop("interrupted")
        if self._connecting is not None:
            self._connecting.cancel()

    def stop(self, reason: str) -> None:
        """End everything, in reverse order."""
        if self._stopping is None:
            self._why = reason
            self._stopping = asyncio.get_running_loop().create_task(self._stop(reason))

    async def _stop(self, reason: str) -> None:
        await self._end(self.jobs.values(), reason)
        await self._end_the_rest()

    async def _end(self, jobs: Iterable[Job], reason: str = "stopped") -> None:
        """End these jobs, each after those that depend on it."""
        ending = {job.name: job for job in jobs if not job.state.ended}
        for job in ending.values():
            if not job.active:
                job.stop(reason)

        async def end(job: Job) -> None:
            for name in self._behind(job.name):
                if name in ending and name != job.name:
                    await ending[name].over()
            job.stop(reason)
            await job.over()

        await asyncio.gather(*(end(job) for job in ending.values()))

    def _behind(self, name: str) -> set[str]:
        """What waits for *name*, also through gates, of which none runs."""
        found, left = set[str](), [name]
        while left:
            for dependent in self._dependents.get(left.pop(), ()):
                if dependent not in found:
                    found.add(dependent)
                    if dependent in self.plan.units and self.plan.units[dependent].gate:
                        left.append(dependent)
        return found

    async def _end_the_rest(self) -> None:
        """End what the commands have left behind outside of their process groups."""
        grace_s = max((unit.grace_s for unit in self.plan.units.values()), default=0.0)
        number, kill_at, asked = signal.SIGTERM, monotonic() + grace_s, set[int]()
        while left := await asyncio.to_thread(marked, self._mark):
            if (self._hurried or monotonic() >= kill_at) and number is signal.SIGTERM:
                number, asked = signal.SIGKILL, set()
            for pid in set(left) - asked:
                signal_process(pid, number)
            asked.update(left)
            await asyncio.sleep(_LEFT_OVER_EVERY_S)


def _is_changed(job: Job, unit: UnitPlan | None) -> bool:
    """Whether *job* has to begin anew, now that its unit in the plan is *unit*."""
    if unit is None or digest(unit) != digest(job.unit):
        return True
    return job.state is State.WAITING and unit.after != job.unit.after


def _is_reordered(before: Plan, after: Plan) -> bool:
    had, has = all_declared(before), all_declared(after)
    new_or_gone = before.units.keys() ^ after.units.keys()
    return any(had.get(name) != has.get(name) for name in (had.keys() | has) - new_or_gone)


def _is_over(unit: wire.UnitInfo) -> bool:
    """Whether *unit* has ended, or its last start was given up, and nobody runs it."""
    runs = unit.status in (wire.Status.STARTED, wire.Status.LAUNCHING)
    return not runs and (unit.status is not wire.Status.PENDING or bool(unit.given_up))


def _has_moved_on(edge: Edge, state: State) -> bool:
    """Whether it is worth asking the coordinator about *edge*, whose prerequisite has *state*."""
    return state.began if edge.requires == wire.Requirement.START else state.ended
