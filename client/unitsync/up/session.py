"""One ``up`` from its plan to its exit status, in the foreground or detached; and the commands that
reach a running one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from msgspec.structs import replace

from unitsync import errors
from unitsync.link import autostart
from unitsync.link import endpoint as endpoints
from unitsync.link.conversation import Autostart
from unitsync.names.patterns import is_pattern
from unitsync.output.answers import print_err, print_lines, report_any
from unitsync.owner.calling_script import shell_word
from unitsync.plan.model import Plan, load
from unitsync.text.nearest import nearest
from unitsync.text.printing import counted, safe
from unitsync.up import control
from unitsync.up.control import Answer, Request
from unitsync.up.display import LiveDisplay, PlainDisplay, at_terminal, summary
from unitsync.up.runner import record
from unitsync.up.runner.job import Job
from unitsync.up.runner.runner import Runner

_LOOK_EVERY_S: Final = 0.05
_PATIENCE_S: Final = 5.0
"""How long another ``up`` may take to say what it is. It answers at once if it is not stopped."""

_LOCKED_MAX_S: Final = 30.0
"""How long an ``up`` may hold its lock before it listens, and after it has listened."""


def restricted(plan: Plan, only: Sequence[str]) -> Plan:
    """*plan* with the units *only* and what they need; all of it without such names. Raises
    UsageError for a name that is none."""
    if not only:
        return plan
    wanted: dict[str, None] = {}
    left = list(only)
    for name in left:
        if is_pattern(name):
            raise errors.UsageError(
                f"--only takes names, and {safe(name)} is a pattern",
                hint="unitsync up --dry-run lists the names",
            )
        if name not in plan.units:
            raise _no_unit(name, plan)
    while left:
        name = left.pop()
        if name in plan.units and name not in wanted:
            wanted[name] = None
            left += [edge.unit for edge in plan.units[name].after]
    units = {name: unit for name, unit in plan.units.items() if name in wanted}
    return replace(plan, units=units)


def waves(plan: Plan) -> list[list[str]]:
    """The units in the order in which they could run: each wave needs only those before it."""
    level: dict[str, int] = {}
    left = dict(plan.units)
    while left:
        for name, unit in list(left.items()):
            needed = [edge.unit for edge in unit.after if edge.unit in plan.units]
            if all(one in level for one in needed):
                level[name] = 1 + max((level[one] for one in needed), default=-1)
                del left[name]
    found: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for name in plan.units:
        found[level[name]].append(name)
    return found


def _no_unit(name: str, plan: Plan) -> errors.UsageError:
    meant = nearest(name, plan.units)
    hint = f"did you mean {meant}?" if meant else "unitsync up --dry-run lists them"
    return errors.UsageError(f"there is no unit {safe(name)} in {plan.path}", hint=hint)


def _open_stdio() -> None:
    """If our caller has closed one of the first three descriptors, nothing else may get it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class Session:
    """An ``up`` of *plans* (the files) at the coordinator *address*."""

    def __init__(
        self,
        plans: Sequence[Path],
        plan: Plan,
        address: str | None,
        *,
        only: Sequence[str] = (),
        again: Iterable[str] = (),
        fail_fast: bool = False,
    ) -> None:
        self._plans = plans
        self._plan = plan
        self._only = only
        self._again = again
        self._fail_fast = fail_fast
        self._endpoint = endpoints.resolve(address)
        self._log = f"{record.record_file(self._endpoint.folder, plan.path)}.log"
        """What a detached one says."""

    def up(self, *, detach: bool) -> int:
        """Run it. Returns the exit status of the command."""
        _open_stdio()
        # It makes the folder as well, which must be there before anything is put into it.
        autostart.ensure(self._endpoint, when=Autostart.ALWAYS, autostart=autostart.is_allowed())
        gone = set[int]()
        while (lock := self._lock()) < 0:
            try:
                return self._hand_over(-lock)
            except errors.Unreachable:
                if -lock in gone:  # it has not ended meanwhile
                    raise
                gone.add(-lock)
        try:
            return self._detached() if detach else self._up(live=at_terminal())
        finally:
            os.close(lock)

    def _lock(self) -> int:
        """The descriptor of the lock of this plan; if another ``up`` has it, minus its pid."""
        folder, plan = self._endpoint.folder, self._plan.path
        while (lock := record.lock(folder, plan)) < 0:
            if pid := runner_of(folder, plan):
                return -pid
        return lock

    def _up(self, *, live: bool, told: int = -1) -> int:
        status = asyncio.run(self._run(live=live, told=told))
        self._runner.leave()
        return status

    def _hand_over(self, pid: int) -> int:
        """Another ``up`` runs this plan: it takes over what is new."""
        plans = [str(path.absolute()) for path in self._plans]
        request = Request("up", plans=plans, only=list(self._only), fail_fast=self._fail_fast)
        print_lines(control.ask(self._endpoint.folder, pid, request).lines)
        return 0

    def _detached(self) -> int:
        read, write = os.pipe()
        child = os.fork()
        if child:
            os.close(write)
            try:
                with open(read, "rb") as told:
                    if told.read() == b"up":
                        log = self._log
                        print_lines(
                            [f"up in the background (pid {child}); what happens is in {log}"]
                        )
                        hint = "`unitsync list`; `unitsync logs --follow`; `unitsync down`"
                        print_err([f"hint: {hint}"])
                        return 0
            except KeyboardInterrupt:
                os.kill(child, signal.SIGTERM)
                raise
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with contextlib.suppress(OSError):
                said = record.read(self._log).decode(errors="replace")
                print_err(map(safe, said.splitlines()))
            return 128 - status if status < 0 else status
        status = 1
        try:
            os.close(read)
            os.setsid()
            self._redirect()
            status = self._up(live=False, told=write)
        except BaseException as problem:
            status = report_any(problem)
        finally:
            os._exit(status)

    def _redirect(self) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        log = record.create(self._log, os.O_TRUNC | os.O_APPEND)
        for descriptor, stdio in ((null, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, stdio)
        for descriptor in (null, log):
            os.close(descriptor)

    async def _run(self, *, live: bool, told: int = -1) -> int:
        display: LiveDisplay | PlainDisplay
        if live:
            display = LiveDisplay(lambda: list(runner.jobs.values()))
        else:
            display = PlainDisplay(self._plan.units, output=told < 0)
        self._display = display
        runner = self._runner = Runner(
            self._plan,
            self._endpoint.address,
            display,
            self._endpoint.folder,
            fail_fast=self._fail_fast,
            again=self._again,
        )
        began = monotonic()
        said: list[str] = []
        try:
            try:
                await runner.connect()
            except errors.Interrupted:
                return 128 + runner.signalled
            notes = runner.following_notes() if live else contextlib.nullcontext()
            async with control.Listener(self._endpoint.folder, self._handle), notes:
                if told >= 0:
                    runner.on_up = lambda: self._begin_telling(told)
                good = await runner.run()
            said = summary(list(runner.jobs.values()), monotonic() - began)
        finally:
            await display.close(said)
        if runner.signalled:
            return 128 + runner.signalled
        return 0 if good else 1

    def _begin_telling(self, told: int) -> None:
        self._telling = asyncio.get_running_loop().create_task(self._tell(told))

    async def _tell(self, told: int) -> None:
        """Write to *told* that it is up. If nothing was started and nothing waits, it is not: then
        it is just ending, and its exit status says how."""
        runner = self._runner
        await self._first_answers()
        if any(job.run or not job.state.ended for job in runner.jobs.values()):
            os.write(told, b"up")
        os.close(told)

    async def _first_answers(self) -> None:
        """Return when the coordinator has answered the starts of those that were launched."""
        with contextlib.suppress(errors.UnitsyncError):
            for _ in range(2):  # the answers to the first starts come before the one to this
                await self._runner.client.ping()

    # --- what other commands ask ----------------------------------------------------------

    async def _handle(self, request: Request) -> Answer:
        runner = self._runner
        jobs = runner.jobs
        for name in request.units:
            if name not in jobs:
                raise _no_unit(name, runner.plan)
        if request.do == "describe":
            active = [name for name, job in jobs.items() if job.active]
            return Answer(plan=str(runner.plan.path), units=active)
        if request.do == "kill":
            return await self._kill(request)
        if request.do == "rerun":
            await runner.run_again(request.units)
            return Answer([f"running again: {', '.join(request.units)}"], units=request.units)
        if request.do == "down":
            self._display.hurry()
            runner.stop("stopped by `unitsync down`")
            return Answer()
        runner.fail_fast |= request.fail_fast
        plan = load([Path(path) for path in request.plans])
        wanted = restricted(plan, request.only).units
        kept = [name for name in jobs if name in plan.units] if request.only else []
        changes = await runner.bring_up(restricted(plan, [*request.only, *kept]))
        lines = [f"ended: {', '.join(changes.ended)}"] if changes.ended else []
        if changes.launched:
            await self._first_answers()
            lines += _launched(jobs[name] for name in changes.launched if name in jobs)
        if changes.reordered:
            lines.append("the order was updated")
        if not (changes.launched or changes.ended):
            lines.append(_as_before(job for name, job in jobs.items() if name in wanted))
        if others := [name for name, job in jobs.items() if job.active and name not in wanted]:
            lines.append(f"also up: {', '.join(others)}")
        return Answer(lines, units=changes.launched)

    async def _kill(self, request: Request) -> Answer:
        jobs = [self._runner.jobs[name] for name in request.units]
        idle = [job for job in jobs if job.state.ended]
        if idle:
            raise errors.UsageError(f"{idle[0].name} does not run: it has {idle[0].state.value}")
        for job in jobs:
            job.stop("killed by `unitsync kill`", failed=True)
        ends = [asyncio.ensure_future(job.over()) for job in jobs]
        _, late = await asyncio.wait(ends, timeout=request.grace_s)
        if late:
            for job in jobs:
                job.kill()
            await asyncio.wait(late)
        return Answer([f"{job.name}: {job.reason or job.state.value}" for job in jobs])


def _launched(jobs: Iterable[Job]) -> list[str]:
    """What has become of *jobs* so far, those that run first."""
    found: dict[str, list[str]] = {"running now": []}
    for job in jobs:
        found.setdefault("running now" if job.began else job.state, []).append(job.name)
    return [f"{what}: {', '.join(names)}" for what, names in found.items() if names]


def _as_before(jobs: Iterable[Job]) -> str:
    """What to say of *jobs* if nothing was to be changed."""
    numbers = Counter(job.state for job in jobs if not job.state.ended)
    if not numbers:
        return "nothing to do: no unit is new, changed or failed"
    parts = ", ".join(f"{number:,} {state}" for state, number in sorted(numbers.items()))
    return f"already up (pid {os.getpid()}): {parts}; unitsync logs --follow shows the output"


# --- the commands that ask --------------------------------------------------------------


def runner_of(folder: str, plan: Path) -> int:
    """The pid of the ``up`` that runs *plan*, 0 if there is none. Raises Silent if there is one
    that does not answer, and Unreachable if there is one that cannot be seen."""
    return _up_of(folder, plan)[0]


def _up_of(folder: str, plan: Path) -> tuple[int, list[str]]:
    """The pid of the ``up`` that runs *plan*, and what runs in it."""
    patient_until = monotonic() + _LOCKED_MAX_S
    while True:
        silent = None
        for pid, what in _running(folder):
            if isinstance(what, control.Silent):
                silent = what
            elif Path(what.plan) == plan:
                return pid, what.units
        if not _is_locked(folder, plan):
            return 0, []
        if silent is not None:
            raise silent
        if monotonic() > patient_until:
            raise errors.Unreachable(
                f"another process has the lock of {plan}, and no unitsync up of it can be seen",
                hint="is it up in another container? call this there",
            )
        sleep(_LOOK_EVERY_S)  # it is just beginning, or ending


def _running(folder: str) -> Iterator[tuple[int, Answer | control.Silent]]:
    """Each ``up`` of the coordinator in *folder*: its pid, and what it runs."""
    for pid in control.running(folder):
        try:
            yield pid, control.ask(folder, pid, Request("describe"), patience_s=_PATIENCE_S)
        except control.Silent as problem:
            yield pid, problem
        except errors.Unreachable:  # it begins or ends just now
            continue


def down(plan: Path, address: str | None) -> int:
    """End the ``up`` of *plan*, and return when it is gone. Raises PlanError if there is neither
    an ``up`` nor such a file."""
    folder = endpoints.resolve(address).folder
    pid, units = _up_of(folder, plan)
    if not pid:
        if not os.path.exists(plan):
            load(plan)
        plans = [what.plan for _, what in _running(folder) if isinstance(what, Answer)]
        hints = [f"hint: another plan is up: unitsync down {shell_word(path)}" for path in plans]
        print_err(["nothing is up", *hints[:1]])
        return 0
    try:
        control.ask(folder, pid, Request("down"))
    except errors.Unreachable:
        pass  # it has ended meanwhile
    _await_end(pid)
    names = f": {', '.join(units)}" if units else ""
    print_lines([f"ended {counted(len(units), 'unit')}{names}"])
    return 0


def _is_locked(folder: str, plan: Path) -> bool:
    if not os.path.exists(f"{record.record_file(folder, plan)}.lock"):
        return False
    if (lock := record.lock(folder, plan)) >= 0:
        os.close(lock)
    return lock < 0


def _await_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([handle], [], [])
    finally:
        os.close(handle)
