"""One unit of a plan from its wait to its outcome.

A job asks the coordinator for the start of its unit, runs the command as supervision.py decides,
and reports the outcome. The coordinator alone decides who may start. A job only spares it
questions whose answer is known: it asks when every prerequisite in the plan has moved on.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Iterable, Mapping
from time import monotonic, time
from typing import Any, Final, Protocol

from unitsync import errors, wire
from unitsync.aio import AsyncClient
from unitsync.logs.files import RunLog
from unitsync.plan.model import UnitPlan
from unitsync.process import command, probes
from unitsync.process.supervision import (
    END,
    FOREVER,
    KILL,
    LOOK,
    READY,
    RETRY,
    SPAWN,
    TERMINATE,
    Order,
    Supervision,
)
from unitsync.process.trace_context import with_traceparent
from unitsync.up.runner.hearing import Hearing
from unitsync.up.runner.probing import Probing
from unitsync.up.runner.processes import (
    Children,
    Guardian,
    LastLines,
    Output,
    as_user,
    signal_group,
    spawn,
)
from unitsync.up.runner.reports import Reports
from unitsync.up.runner.slots import Slots
from unitsync.up.runner.states import State
from unitsync.up.runner.stopping import StopCommand


class Host(Protocol):
    """What a job needs of the runner."""

    client: AsyncClient
    slots: Slots
    """One for each command that runs."""
    guardian: Guardian
    children: Children
    left_behind: list[Output]
    """Outputs of commands that have ended and left something in the background."""

    def waits_for_others(self, unit: UnitPlan) -> bool:
        """Whether scripts outside of the plan decide when *unit* may start."""

    def environment(self, unit: UnitPlan) -> dict[bytes, bytes]:
        """The environment of its command."""

    def open_log(self, epoch: str, unit: str, run: int) -> RunLog | None:
        """The log for this run; None, and a warning, if there can be none."""

    def on_started(self, job: Job) -> None:
        """Its start was granted."""

    def on_moved(self, job: Job) -> None:
        """It has another state."""

    def on_output(self, job: Job, data: bytes) -> None:
        """Its command has printed *data*."""

    def warn(self, text: str, hint: str = "") -> None: ...


class Job:
    """``state``; ``since`` (Unix time in seconds) when it began; ``reason`` of the outcome;
    ``run``: the number of the current or last run; ``last``: the last lines of its output."""

    def __init__(self, unit: UnitPlan, runner: Host) -> None:
        self.unit = unit
        self._runner = runner
        self.state = State.WAITING
        self.since = time()
        self.began = 0.0
        """Unix time when its command was first started, 0 before."""
        self.reason = ""
        self.hint = ""
        self.run = 0
        self.earlier = False
        """Whether it completed under an earlier ``up`` and was left alone."""
        self.last = LastLines()
        self.missing: set[str] = set()
        """The prerequisites in the plan that have not moved on yet."""
        self.open: set[str] = set()
        """What it waits for, patterns and units of others too, once its start was asked for."""
        self.open_unnamed = 0
        """How many more that are, which the coordinator did not name."""
        self._go = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._life: Supervision | None = None
        self._epoch = ""
        self._pid = 0
        self.output: Output | None = None
        """That of its current or last command."""
        self._stopper = StopCommand()
        self._holds_slot = False
        self._over: asyncio.Future[Order] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._probing: Probing | None = None
        self.hearing: Hearing | None = None
        """Hears what its command says, until the run is over."""
        self.note = ""
        """What it is doing, as its command or somebody else says."""
        self._reports = Reports(self.name, lambda text, hint: runner.warn(text, hint))
        self._retry: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def active(self) -> bool:
        """Whether a command of it runs, or will run again."""
        return self._life is not None and not self._life.over

    def lasted_s(self, now: float) -> float:
        """For how long its state has lasted. Once it has ended: how long its command took."""
        if self.state.ended:
            return self.since - (self.began or self.since)
        return now - self.since

    # --- waiting ------------------------------------------------------------------------

    def leave_alone(self) -> None:
        """It has completed earlier."""
        self.earlier = True
        self._move(State.COMPLETED)

    def leave_out(self, reason: str) -> None:
        """It will not be launched, for this *reason*."""
        self._end(State.NOT_STARTED, reason)

    def begin_anew(self) -> None:
        """Its state is that of a unit which has not begun. ``launch`` has to follow."""
        self._life = None
        self.reason = self.hint = ""
        self.last = LastLines()
        self.earlier = False
        self.began = 0.0
        self._move(State.WAITING)

    def launch(self, waits_for: Iterable[str]) -> None:
        """Begin. *waits_for*: the prerequisites in the plan that have not moved on yet."""
        self.missing = set(waits_for)
        self.open, self.open_unnamed = self.missing.copy(), 0
        self._go.clear()
        self._task = asyncio.get_running_loop().create_task(self._live(), name=self.name)

    def moved_on(self, prerequisite: str) -> None:
        """A *prerequisite* in the plan has started or ended, as the edge needs it."""
        self.missing.discard(prerequisite)
        self.open.discard(prerequisite)
        if not self.missing:
            self._go.set()

    def waits(self, reply: wire.Waiting) -> None:
        """The coordinator has its start wait."""
        self.open = {edge.name for edge in reply.waiting_for}
        self.open_unnamed = reply.total - len(self.open)

    def ask(self) -> None:
        """Ask the coordinator now, even if prerequisites in the plan have not moved on."""
        self._go.set()

    async def over(self) -> None:
        """Return when it has ended."""
        if self._task is not None and not self._task.done():
            await asyncio.wait((self._task,))

    async def _live(self) -> None:
        try:
            granted = await self._start()
        except errors.Skipped as problem:
            self._end(State.SKIPPED, problem.message.removeprefix(f"{self.name} is skipped: "))
        except errors.EndedMeanwhile as problem:
            done = problem.outcome == wire.Status.COMPLETED
            self._end(State.COMPLETED if done else State.FAILED, problem.message)
        except errors.TimedOut as problem:
            reason = problem.message.removeprefix(f"{self.name} ")
            hint = f"unitsync why {self.name}; a longer wait-timeout in the plan waits longer"
            self._end(State.FAILED, reason, hint)
            # Nobody else will start it: those that wait for it would wait forever.
            await asyncio.wait((self._reports.begin(self._gave_up()),))
        except errors.UnitsyncError as problem:
            reason = problem.message.removeprefix(f"{self.name} is ")
            self._end(State.FAILED, reason, problem.hint)
        except asyncio.CancelledError:
            self._end(State.NOT_STARTED, self.reason)
        else:
            await self._carried_out(granted)

    async def _start(self) -> wire.Granted:
        limit_s = self.unit.wait_timeout_s
        deadline = math.inf if limit_s is None else monotonic() + limit_s

        def left() -> float | None:
            return None if limit_s is None else max(0.0, deadline - monotonic())

        if self.missing:
            try:
                async with asyncio.timeout(left()):
                    await self._go.wait()
            except TimeoutError:
                pass  # the coordinator finds the words
        slots, client, name = self._runner.slots, self._runner.client, self.name
        how: Any = {"on_owner_exit": self.unit.on_owner_exit, "launching": bool(self.unit.ready)}
        if not slots.limit:
            granted = await client.start(name, timeout_s=left(), **how)
            slots.take_at_once()
            self._holds_slot = True
            return granted
        while True:
            # Whoever waits for scripts outside of the plan must not keep a slot meanwhile, and
            # whose time is up must not wait for one.
            if self.missing or self._runner.waits_for_others(self.unit):
                await client.ready_to_start(name, timeout_s=left())
            await slots.take()
            self._holds_slot = True
            try:
                return await client.start(name, wait=False, **how)
            except errors.NotReady:
                self._give_slot_back()
                await client.ready_to_start(name, timeout_s=left())
            except BaseException:
                self._give_slot_back()
                raise

    def _give_slot_back(self) -> None:
        if self._holds_slot:
            self._holds_slot = False
            self._runner.slots.give_back()

    # --- the command --------------------------------------------------------------------

    async def _carried_out(self, granted: wire.Granted) -> None:
        unit = self.unit
        self._over = asyncio.get_running_loop().create_future()
        self._epoch, self.run = granted.epoch, granted.run
        self._life = Supervision(
            retries=unit.retries,
            backoff_s=unit.backoff_s,
            timeout_s=FOREVER if unit.timeout_s is None else unit.timeout_s,
            grace_s=unit.grace_s,
            probed=bool(unit.ready),
        )
        self._carry_out(self._life.begin(monotonic()))
        self._runner.on_started(self)
        end = await self._over
        await self._reports.over()  # they are about a run that has not ended, so they come first
        self._tell_end(end)
        self._give_slot_back()
        await self._stopper.over()
        await self._reports.over()

    def _carry_out(self, orders: Iterable[Order]) -> None:
        assert self._life is not None
        for order in orders:
            _CARRY_OUT[order.kind](self, order)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._life.deadline < FOREVER:
            left_s = max(0.0, self._life.deadline - monotonic())
            self._timer = asyncio.get_running_loop().call_later(left_s, self._tick)

    def _tick(self) -> None:
        assert self._life is not None
        self._timer = None
        if self._retry is not None and not self._retry.done():
            self._retry.add_done_callback(lambda _: self._tick())  # the next run has not begun
            return
        self._carry_out(self._life.tick(monotonic()))

    def _spawn(self, _: Order) -> None:
        unit, runner, life = self.unit, self._runner, self._life
        assert life is not None
        self._stopper.kill()  # it is about the run before
        self._move(State.LAUNCHING if unit.ready else State.RUNNING)
        environment = with_traceparent(runner.environment(unit), self._epoch, self.name, self.run)
        self.hearing = Hearing(environment, unit.user, self, runner.client)
        if unit.ready and (why := probes.parse(unit.ready).warning()):
            runner.warn(f"{self.name}: {why}")
        ends: tuple[int, ...] = ()
        try:
            ends = read, write = os.pipe2(os.O_CLOEXEC)
            self._pid = spawn(as_user(unit.user, unit.words), environment, unit.cwd, write)
        except OSError as problem:
            for end in ends:
                os.close(end)
            ended = command.cannot_run(unit.words[0], problem)
            reason = ended.reason
            if problem.filename == unit.cwd:
                reason = f"its folder cannot be entered: {unit.cwd}: {problem.strerror}"
            self._carry_out(life.cannot_run(ended.status, reason))
            return
        os.close(write)
        runner.guardian.guard(self._pid)
        epoch, run = self._epoch, self.run
        self.output = Output(
            asyncio.get_running_loop(),
            read,
            self._printed,
            lambda: runner.open_log(epoch, self.name, run),
        )
        runner.children.watch(self._pid, self._exited)
        if unit.ready:
            self._probing = Probing(
                unit,
                environment,
                lambda: self._carry_out(life.ready()),
                life.not_ready,
            )

    def _printed(self, data: bytes) -> None:
        self.last.add(data)
        self._runner.on_output(self, data)
        if self._probing is not None:
            self._probing.saw(data)

    def on_ready(self) -> None:
        if self._probing is not None:
            self._probing.said_ready()

    def on_note(self, text: str) -> None:
        self.note = text

    def _exited(self, status: int) -> None:
        assert self._life is not None
        if self.output is not None:
            self.output.drain()
        if self.hearing is not None:
            self.hearing.end()
        ended = command.how_it_ended(status)
        if self._probing is not None:
            self._probing.end()
            self._reports.begin(self._probing.over())
            self._probing = None
        self._carry_out(self._life.exited(ended.status, ended.reason, monotonic()))
        if self.output is not None and self.output.open:
            self._runner.left_behind.append(self.output)  # something in the background has it

    def _terminate(self, _: Order) -> None:
        self._move(State.STOPPING)
        stop = self.unit.stop
        number = signal.Signals.__members__.get(stop or "SIGTERM")
        if number is not None:
            signal_group(self._pid, number)
            signal_group(self._pid, signal.SIGCONT)  # a stopped process handles no signal
            return
        environment = self._runner.environment(self.unit)
        try:
            self._stopper.begin(
                self.unit, environment, self._runner.guardian, self._runner.children
            )
        except OSError:
            signal_group(self._pid, signal.SIGTERM)
        signal_group(self._pid, signal.SIGCONT)

    def _kill(self, _: Order) -> None:
        signal_group(self._pid, signal.SIGKILL)

    def _look(self, _: Order) -> None:
        assert self._life is not None
        if self._runner.children.is_over(self._pid):
            self._carry_out(self._life.group_ended(monotonic()))

    def _ready(self, _: Order) -> None:
        self._reports.begin(self._runner.client.ready(self.name, run=self.run))
        self._give_slot_back()
        # Sent before the dependents ask, as the report of an end is.
        asyncio.get_running_loop().call_soon(self._is_ready)

    def _is_ready(self) -> None:
        if self.state is State.LAUNCHING:
            self._move(State.RUNNING)

    def _try_again(self, order: Order) -> None:
        self.reason = order.reason
        self._move(State.RETRYING)
        self._end_hearing(failed=False)
        self._retry = self._reports.begin(self._next_run(order.reason))

    async def _next_run(self, reason: str) -> None:
        assert self._life is not None
        await self._reports.over(but=self._retry)
        try:
            self.run = (await self._runner.client.retry(self.name, reason)).run
        except errors.UnitsyncError as problem:
            self._carry_out(self._life.stop(monotonic(), f"{reason}; {problem.message}"))

    def _is_over(self, how: Order) -> None:
        assert self._over is not None
        if not self._over.done():
            self._over.set_result(how)

    def _tell_end(self, end: Order) -> None:
        """Report the outcome, and let the dependents go on. The report is sent first: they get
        their answer from what it says."""
        self._end_hearing(failed=bool(end.reason))
        self._reports.begin(self._report(end))
        state = State.FAILED if end.reason else State.COMPLETED
        asyncio.get_running_loop().call_soon(self._end, state, end.reason)

    async def _report(self, end: Order) -> None:
        said: Mapping[str, Any] = {
            **self._runner.client.said(),
            "unit": self.name,
            "epoch": self._epoch,
        }
        request = wire.Fail(**said, reason=end.reason) if end.reason else wire.Complete(**said)
        reply = await self._runner.client.call(request)
        if isinstance(reply, wire.Error):
            raise errors.from_code(reply.code, reply.message, reply.hint, reply.details)

    def _end_hearing(self, *, failed: bool) -> None:
        self.note = ""
        if self.hearing is not None:
            self.hearing.over(failed=failed)
            self.hearing = None

    async def _gave_up(self) -> None:
        await self._runner.client.fail(self.name)  # the coordinator knows why

    # --- ending it ----------------------------------------------------------------------

    def stop(self, reason: str, *, failed: bool = False) -> None:
        """End it. If its command runs, the unit then fails for *reason*. But a service that was
        ready has completed, unless it is to count as *failed*."""
        if self._life is not None:
            ready = bool(self.unit.ready) and not self._life.launching
            done = ready and self._life.running and not failed
            self._carry_out(self._life.stop(monotonic(), "" if done else reason))
        elif self._task is not None and not self.state.ended:
            self.reason = reason
            self._task.cancel()

    def kill(self) -> None:
        """End it at once, after ``stop``."""
        self._stopper.kill()
        if self._life is not None:
            self._carry_out(self._life.kill())

    def hurry(self) -> None:
        """Do not wait long for the coordinator any more, to tell it of the end."""
        self._reports.hurry()

    def _end(self, state: State, reason: str = "", hint: str = "") -> None:
        self.reason, self.hint = reason, hint
        self._move(state)

    def _move(self, state: State) -> None:
        self.state = state
        self.since = time()
        if state.active and not self.began:
            self.began = self.since
        self._runner.on_moved(self)


_CARRY_OUT: Final = {
    SPAWN: Job._spawn,
    TERMINATE: Job._terminate,
    KILL: Job._kill,
    LOOK: Job._look,
    READY: Job._ready,
    RETRY: Job._try_again,
    END: Job._is_over,
}
