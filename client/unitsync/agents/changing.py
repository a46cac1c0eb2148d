"""The tools that change something: only with ``--allow-changes``."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from time import monotonic
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta

from unitsync import Client, errors
from unitsync.agents import answers
from unitsync.agents.answers import Answer
from unitsync.agents.progress import told
from unitsync.agents.tool import Names, Say, Text, TimeoutS, Tool, UnitName, Workspace
from unitsync.run import rerun

BEGUN_S: Final = 10.0
"""How long to wait until units that are to run again have begun to."""
LOOK_S: Final = 0.1


class Start(Tool):
    """Begin a unit whose work you do yourself: waits for its prerequisites, then marks it started.
    When the work is done, call `complete` or `fail`. If this session ends before that, the unit
    counts as failed. Do not use it for units that have a script: use `rerun` for these."""

    name: ClassVar[str] = "start"
    title: ClassVar[str] = "Start a unit"
    unit: UnitName
    after: Annotated[
        list[str], Meta(description="What it waits for, beside what is declared already.")
    ] = []
    requires: Annotated[
        Literal["success", "completion", "start"],
        Meta(description="What it needs of those in `after`."),
    ] = "success"
    timeout_s: TimeoutS = 50.0

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        async def describe() -> str:
            info = await workspace.client.status(self.unit)
            missing = [answers.doing(edge) for edge in info.prerequisites if not edge.met]
            return f"waiting for {answers.some(missing)}" if missing else ""

        start = workspace.acting.start(
            self.unit, after=self.after, requires=self.requires, timeout_s=self.timeout_s
        )
        granted = await told(start, describe, say)
        return {"unit": self.unit, "status": "started", "run": granted.run, "say": granted.note}


class Complete(Tool):
    """Say that the work of a unit is done: what waits for it may go on. For units that you have
    started with `start`."""

    name: ClassVar[str] = "complete"
    title: ClassVar[str] = "Complete a unit"
    unit: UnitName

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        ok = await workspace.acting.complete(self.unit)
        return await _afterwards(workspace, self.unit, ok.note)


class Fail(Tool):
    """Say that a unit has failed, and why. What needs its success is skipped. For units that you
    have started with `start`."""

    name: ClassVar[str] = "fail"
    title: ClassVar[str] = "Fail a unit"
    unit: UnitName
    reason: Annotated[Text, Meta(description="Why, in one line: others see it.")]
    destroys: ClassVar[bool] = True

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        ok = await workspace.acting.fail(self.unit, self.reason)
        return await _afterwards(workspace, self.unit, ok.note)


class Note(Tool):
    """Say what a unit is doing now, in a few words. It is shown wherever the unit is, also to those
    that wait for it."""

    name: ClassVar[str] = "note"
    title: ClassVar[str] = "Note on a unit"
    unit: UnitName
    text: Annotated[Text, Meta(description='At most 200 characters. "" takes back what was said.')]

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        ok = await workspace.acting.note(self.unit, self.text)
        return await _afterwards(workspace, self.unit, ok.note)


class Rerun(Tool):
    """Run the scripts of units again, as they ran the last time, after you have repaired what made
    them fail. Answers when they have begun: then `wait` for them. Only for what `unitsync run` or a
    plan has run; of others it says what to call."""

    name: ClassVar[str] = "rerun"
    title: ClassVar[str] = "Run units again"
    units: Names
    with_dependents: Annotated[
        bool, Meta(description="Also what waits for them, directly or not.")
    ] = False
    destroys: ClassVar[bool] = True

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        names = await asyncio.to_thread(self._check, workspace)
        before = {name: (await workspace.client.status(name)).run for name in names}
        flags = ["--with-dependents"] if self.with_dependents else []
        process = await asyncio.create_subprocess_exec(
            *rerun.command(["--endpoint", workspace.place.address, "rerun", *self.units, *flags]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it outlives the agent
        )
        ended = asyncio.ensure_future(process.wait())
        ended.add_done_callback(_BACKGROUND.discard)
        _BACKGROUND.add(ended)
        until = monotonic() + BEGUN_S
        begun: list[str] = []
        while monotonic() < until and not ended.done() and len(begun) < len(names):
            await asyncio.wait((ended,), timeout=LOOK_S)
            begun = [name for name in names if await self._begun(workspace, name, before[name])]
        found = await workspace.client.list(*names)
        if ended.done() and process.returncode and not begun:
            raise errors.UnitsyncError(
                f"unitsync rerun ended with exit status {process.returncode} before a unit began",
                hint="the logs and the status of the units may say why",
            )
        return answers.units(found, (), 0, answers.SOME, workspace.now())

    def _check(self, workspace: Workspace) -> list[str]:
        """The names of all units that are to run. Raises UnitsyncError."""
        with Client(workspace.place.address, autostart=False, startup="") as client:
            found = rerun.chosen(
                client, workspace.place, self.units, with_dependents=self.with_dependents
            )
        return [*found.planned, *found.calls]

    async def _begun(self, workspace: Workspace, name: str, before: int) -> bool:
        """Whether it runs again, or its script waits until it may."""
        info = await workspace.client.status(name)
        return info.run != before or info.waiting_clients > 0


_BACKGROUND: Final[set[asyncio.Future[int]]] = set()
"""Reaps what was run again."""


class Reset(Tool):
    """Make units pending again, as if they had never run, for example to run their scripts by hand.
    What has run already is not undone, and nothing is run. A unit that is running needs `force`."""

    name: ClassVar[str] = "reset"
    title: ClassVar[str] = "Reset units"
    units: Names
    force: Annotated[
        bool,
        Meta(description="Also units that are running: their scripts go on, but no longer count."),
    ] = False
    destroys: ClassVar[bool] = True

    async def call(self, workspace: Workspace, say: Say) -> Answer:
        await workspace.acting.reset(*self.units, force=self.force)
        found = await workspace.client.list(*self.units)
        return answers.units(found, (), 0, answers.SOME, workspace.now())


async def _afterwards(workspace: Workspace, unit: str, note: str) -> Answer:
    info = await workspace.client.status(unit)
    return answers.row(info, workspace.now()) | {"say": note}


TOOLS: Final[Sequence[type[Tool]]] = (Start, Complete, Fail, Note, Rerun, Reset)
