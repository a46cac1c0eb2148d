"""How a verb reaches the log of a job: with which settings, and for how long it tries."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from loguru import logger

from unitsync import Client, wire
from unitsync.errors import NotPermitted, Unavailable, UnitsyncError, UsageError
from unitsync.link import endpoint as endpoints
from unitsync.output import tables
from unitsyncd.hosts.nats.link import Link, Rejected, Unclear, Unusable
from unitsyncd.hosts.nats.log import Log
from unitsyncd.hosts.nats.tasks import end
from unitsyncd.hosts.settings import HostsSettings, Options, hosts_settings
from unitsyncd.job import kept_hosts

REACH_S: Final = 5.0
"""How long to try to connect. The server is there or not."""
ANSWER_S: Final = 15.0
"""How long to ask: the election of a leader takes 6 to 8 s."""
_AGAIN_S: Final = 0.25
_LOOK_S: Final = 0.02

ResultT = TypeVar("ResultT")


def settings_of(address: str) -> HostsSettings | None:
    """Those of the environment, or else of the coordinator at *address*; None if there are none.
    Raises UsageError, Unreachable."""
    named = named_settings()
    if named is not None:
        return named
    endpoint = endpoints.resolve(address)
    if endpoints.check_folder(endpoint) is None:
        return None
    return kept_hosts(endpoint.folder)


def named_settings(servers: str = "", job: str = "") -> HostsSettings | None:
    """Those that the options and the environment name. Raises UsageError."""
    return hosts_settings(Options(hosts=servers or None, job=job or None), os.environ)


def known_hosts(address: str, job: str) -> dict[str, wire.Host]:
    """The hosts as the coordinator knows them: only it hears their heartbeats. None of them if
    there is none that is a host of the *job*."""
    try:
        with Client(address or None, autostart=False) as client:
            reply = client.call(wire.Hosts(**client.said()))
    except UnitsyncError:
        return {}
    if not isinstance(reply, wire.HostsReply) or reply.job != job:
        return {}
    return {host.name: host for host in reply.hosts}


def no_job() -> UsageError:
    return UsageError(tables.NO_JOB, hint=tables.JOIN_ONE)


def over_log(settings: HostsSettings, asked: Callable[[Log], Awaitable[ResultT]]) -> ResultT:
    """What *asked* returns of the job's log. It is called again if an answer was unclear. Raises
    Unavailable, NotPermitted, UnitsyncError."""
    logger.disable("unitsyncd")  # it is for the log of a coordinator
    try:
        return asyncio.run(_over_log(settings, asked))
    finally:
        logger.enable("unitsyncd")


async def _over_log(settings: HostsSettings, asked: Callable[[Log], Awaitable[ResultT]]) -> ResultT:
    link = Link(settings)
    linking = asyncio.create_task(link.run())
    try:
        await _reach(link, settings)
        return await _ask(link, Log(link, settings.job), asked)
    except (Unusable, Rejected) as problem:
        raise UnitsyncError(str(problem)) from None
    finally:
        await end(linking)


async def _reach(link: Link, settings: HostsSettings) -> None:
    try:
        async with asyncio.timeout(REACH_S):
            while not link.up:
                if "authorization" in link.problem.lower():
                    raise NotPermitted(
                        f"the log at {settings.addresses} lets nobody in as that user",
                        hint="user and password in the URL, or a file in UNITSYNC_HOSTS_CREDS",
                    )
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        why = f": {link.problem}" if link.problem else ""
        raise Unavailable(
            f"no link to the log at {settings.addresses} in {REACH_S:.0f} s{why}",
            hint="is a nats-server there, and are these its credentials? unitsync doctor",
        ) from None
    link.check_server()


async def _ask(link: Link, log: Log, asked: Callable[[Log], Awaitable[ResultT]]) -> ResultT:
    unclear = "it does not answer"
    try:
        async with asyncio.timeout(ANSWER_S):
            while True:
                try:
                    return await asked(log)
                except Unclear as problem:
                    unclear = str(problem)
                if link.denied:
                    raise NotPermitted(
                        f"the log at {link.server} does not permit it: {link.denied}",
                        hint="the permissions of the NATS user that this host is",
                    )
                await asyncio.sleep(_AGAIN_S)
    except TimeoutError:
        raise Unavailable(
            f"no answer from the log at {link.server} in {ANSWER_S:.0f} s: {unclear}",
            hint="do most of its servers run? unitsync doctor",
        ) from None
