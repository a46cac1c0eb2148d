"""The tools that change nothing and start no coordinator."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from msgspec import Meta

from unitsync import Client, errors
from unitsync.agents import answers
from unitsync.agents.answers import Answer
from unitsync.agents.progress import told
from unitsync.agents.tool import Names, Say, TimeoutS, Tool, UnitName, Workspace
from unitsync.logs import reading as log_reading
from unitsync.logs.command import nothing_kept
from unitsync.logs.tail import Tails
from unitsync.names.patterns import any_matcher
from unitsync.names.remote_names import check_here
from unitsync.names.unit_names import check_name
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.events import Event, first_event
from unitsync.startup.analysis.values import CriticalPath as Path_
from unitsync.startup.analysis.values import Startup
from unitsync.startup.sources import FromCoordinator, chosen
from unitsync.text.nearest import nearest

AWAY_S: Final = 1.0
"""How often a wait looks whether there is a coordinator."""

OneStatus: TypeAlias = Literal[
    "pending",
    "launching",
    "started",
    "completed",
    "failed",
    "skipped",
    "not registered",
    "unknown",
]


class List(Tool):
    """What is going on: how many units (startup scripts and services) there are in which state, and
    the units themselves, failed ones first, completed ones last. Begin with this. `by_status`
    counts all units; `status` chooses which ones are listed."""

    name: ClassVar[str] = "list"
    title: ClassVar[str] = "List units"
    units: Annotated[
        list[str],
        Meta(description="Only these: names, or patterns such as git-*. Default: all."),
    ] = []
    status: Annotated[list[OneStatus], Meta(description="List only units in these states.")] = []
    limit: Annotated[int, Meta(description="How many units to list.", ge=0, le=200)] = 20
    offset: Annotated[int, Meta(description="next_offset of the answer before.", ge=0)] = 0

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        found = await workspace.client.list(*self.units)
        answer = answers.units(found, self.status, self.offset, self.limit, workspace.now())
        return answer if found else {**answer, "address": workspace.place.address}


class Why(Tool):
    """Why something has not started, failed or hangs, down to the root cause. Without `unit`:
    everything that is stuck, grouped by cause. With it: what keeps that unit from starting, and by
    way of which units. Then read the `logs` of the cause."""

    name: ClassVar[str] = "why"
    title: ClassVar[str] = "Why a unit waits"
    unit: Annotated[
        str, Meta(description="A name, or a pattern such as git-*. Default: all that is stuck.")
    ] = ""

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        return answers.why(await workspace.client.why(self.unit), workspace.now())


class Status(Tool):
    """Everything about one unit: its state and since when, its prerequisites and which of them are
    met, its script, its history."""

    name: ClassVar[str] = "status"
    title: ClassVar[str] = "Status of a unit"
    unit: UnitName

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        return answers.unit(await workspace.client.status(self.unit), workspace.now())


class Wait(Tool):
    """Wait until units have completed, before you rely on what they set up: a clone, installed
    packages, a database. Works for names that are not registered yet, too. Answers at once if there
    is nothing to wait for; fails at once if it cannot happen any more, for example because a unit
    has failed. If `done` is false, the time is up: call it again to go on waiting, or ask `why`."""

    name: ClassVar[str] = "wait"
    title: ClassVar[str] = "Wait for units"
    units: Names
    requires: Annotated[
        Literal["success", "completion", "start"],
        Meta(
            description="success: they have completed. completion: they have ended, well or not. "
            "start: they have started, as for services that never end."
        ),
    ] = "success"
    any: Annotated[bool, Meta(description="One of them is enough.")] = False
    timeout_s: TimeoutS = 50.0

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        async def describe() -> str:
            missing = await self._missing(workspace)
            return f"waiting for {answers.some(missing)}" if missing else ""

        try:
            there = await told(self._wait(workspace, self.timeout_s), describe, say)
        except errors.TimedOut as problem:
            missing = await self._missing(workspace)
            return {"done": False, "waiting_for": missing, "say": problem.message}
        return {"done": True, "units": there[: answers.SOME], "units_total": len(there)}

    async def _wait(self, workspace: Workspace, timeout_s: float) -> list[str]:
        deadline = monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - monotonic())
            try:
                return await workspace.client.wait(
                    *self.units, requires=self.requires, any=self.any, timeout_s=left_s
                )
            except errors.Unreachable:  # the first script of a startup, or the next one, starts it
                if not left_s:
                    raise
                await asyncio.sleep(min(AWAY_S, left_s))

    async def _missing(self, workspace: Workspace) -> list[str]:
        """What it waits for, and what that is doing."""
        try:
            await self._wait(workspace, 0.0)
        except errors.TimedOut as problem:
            names = problem.waiting_for
        else:
            return []
        found = {each.name: each for each in await workspace.client.list(*names[: answers.FEW])}
        return [answers.doing(found[name]) if name in found else name for name in names]


class Events(Tool):
    """What has happened, in order: started, ended, skipped, notes and so on, each with a number
    (`seq`). Without `since`: the latest events of this startup. With it: what came after that
    event, to see what has changed since you last looked."""

    name: ClassVar[str] = "events"
    title: ClassVar[str] = "What has happened"
    unit: Annotated[str, Meta(description="Only of this unit, or of those that match.")] = ""
    since: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="The number of an event, or an answer's last_seq."),
    ] = None
    limit: Annotated[int, Meta(description="How many events.", ge=1, le=200)] = 30

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        match = any_matcher([self.unit] if self.unit else ["*"])
        kept = await workspace.client.startups()
        if not kept.epochs:
            return {"events": [], "say": "nothing has happened yet"}
        since, newest = self.since, first_event(kept.epochs[-1]) - 1
        taken: deque[Event] = deque(maxlen=self.limit if since is None else None)
        last, earlier, later = newest if since is None else since, 0, 0
        async for event in workspace.client.events(since=last):
            if self.unit and not (event.unit and match(event.unit)):
                last = event.seq
                continue
            if len(taken) >= self.limit:
                if since is None:
                    earlier += 1
                elif event.seq != taken[-1].seq:
                    break
                else:  # what follows from one event has its number
                    later += 1
                    continue
            taken.append(event)
            last = event.seq
        return {
            "earlier": earlier or None,
            "events": [answers.event(each) for each in taken],
            "left_out": later or None,
            "last_seq": last,
        }


class Logs(Tool):
    """The end of a unit's output: the lines that it printed last, of its latest run or of `run`.
    Only of units that a plan runs, or `unitsync run --log`."""

    name: ClassVar[str] = "logs"
    title: ClassVar[str] = "Output of a unit"
    unit: UnitName
    lines: Annotated[int, Meta(description="How many lines.", ge=1, le=300)] = 40
    run: Annotated[
        int, Meta(description="The number of a run. Default: the latest with output.", ge=0)
    ] = 0

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        return await asyncio.to_thread(self._read, workspace)

    def _read(self, workspace: Workspace) -> Answer:
        check_here(self.unit, "logs")
        check_name(self.unit)
        folder = log_reading.present_folder(workspace.place)
        known = log_reading.units_in(folder) if folder is not None else {}
        latest = self._latest(folder, self.run) or (self.run and self._latest(folder))
        if not latest:
            raise nothing_kept([self.unit], nearest(self.unit, known))
        if self.run not in (0, latest):
            raise errors.UnitsyncError(
                f"the output of run {self.run} of {self.unit} is not kept",
                hint=f"the latest run with output is {latest}",
            )
        lines = Tails(folder).of(self.unit, latest)
        return {
            "unit": self.unit,
            "run": latest,
            "lines": list(lines[-self.lines :]),
            "say": "" if lines else "nothing was printed",
        }

    def _latest(self, folder: Path | None, run: int = 0) -> int:
        if folder is None:
            return 0
        place = log_reading.folder_of(folder, self.unit)
        return log_reading.Reader(place, self.unit, run=run).latest


class CriticalPath(Tool):
    """Why the startup took so long: the chain of units that decided when it ended, each with its
    own time and its share. Shorten these first. `least_slack`: what would decide next."""

    name: ClassVar[str] = "critical_path"
    title: ClassVar[str] = "Critical path"
    unit: Annotated[
        str, Meta(description="What decided when this unit ended. Default: the whole startup.")
    ] = ""
    startup: Annotated[
        int, Meta(description="0 is the latest startup, -1 the one before.", le=0)
    ] = 0

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        found = await asyncio.to_thread(self._compute, workspace)
        if found is None:
            return {"say": "no unit was registered yet"}
        return answers.critical_path(*found)

    def _compute(self, workspace: Workspace) -> tuple[Startup, Path_] | None:
        with Client(workspace.place.address, autostart=False, startup="") as client:
            source = FromCoordinator(client)
            if not source.numbers():
                return None
            startup = source.startup(chosen(source, str(self.startup), "startup"))
            return startup, critical_path(startup, self.unit)


TOOLS: Final[Sequence[type[Tool]]] = (List, Why, Wait, Status, Events, Logs, CriticalPath)
