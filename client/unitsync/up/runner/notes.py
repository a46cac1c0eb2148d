"""What others say of the units of an ``up`` with ``unitsync note``, for a display that is live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from unitsync import errors
from unitsync.up.runner.client import RunnerClient
from unitsync.up.runner.job import Job

_REST_S: Final = 1.0
"""So long between an answer and the next question."""


@asynccontextmanager
async def following(client: RunnerClient, jobs: Mapping[str, Job]) -> AsyncIterator[None]:
    """Meanwhile those of *jobs* whose commands run have the notes that the coordinator has."""
    task = asyncio.get_running_loop().create_task(_follow(client, jobs))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(client: RunnerClient, jobs: Mapping[str, Job]) -> None:
    while True:
        await asyncio.sleep(_REST_S)
        with suppress(errors.UnitsyncError):  # the coordinator may come back
            await look(client, jobs)


async def look(client: RunnerClient, jobs: Mapping[str, Job]) -> None:
    """Ask once. What a command itself has said since counts more. Raises UnitsyncError."""
    asked = {
        job.name: (job, hearing, job.note)
        for job in jobs.values()
        if (hearing := job.hearing) is not None and hearing.all_is_sent
    }
    for unit in await client.list_if_there(asked) if asked else ():
        job, hearing, note = asked[unit.name]
        same_run = job.hearing is hearing and job.run == unit.run
        if same_run and job.note == note and hearing.all_is_sent:
            hearing.noted(unit.note)
