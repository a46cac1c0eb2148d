"""Checks of ``doctor``: the job that spans hosts, and its log."""

import os
from collections.abc import Iterator
from typing import Final

from unitsync import errors, wire
from unitsync.client import Client
from unitsync.doctor.finding import Finding, Setup, problem
from unitsync.output import tables
from unitsync.text.printing import LOG_FULL, job_over, name_taken

_ABOUT: Final = "job"
_MANY: Final = 3
"""Servers of which a log could be kept in three replicas."""


def job(setup: Setup) -> Iterator[Finding]:
    """Nothing without a job."""
    reply = _asked(setup)
    joined = reply.job if reply is not None else ""
    kept = (
        setup.usable
        and setup.endpoint is not None
        and os.path.exists(os.path.join(setup.endpoint.folder, "hosts"))
    )
    if not (joined or kept or os.environ.get("UNITSYNC_HOSTS")):
        return
    try:
        from unitsync.job import access, checking
    except errors.UsageError as missing:
        yield problem(_ABOUT, missing)
        return
    try:
        settings = access.settings_of(setup.address or "")
    except errors.UnitsyncError as wrong:
        yield problem(_ABOUT, wrong)
        settings = None
    if settings is not None and reply is not None and joined != settings.job:
        text = tables.other_job(settings.job, joined)
        yield Finding("problem", _ABOUT, text, setup.advice(tables.JOIN_ANEW))
    if reply is not None and joined:
        level = "ok" if reply.takes_part else "problem"
        yield Finding(level, _ABOUT, reply.standing, _hint(setup, reply))
        for host in reply.hosts:
            if skew := tables.clock_skew(host):
                text = f"the clock of {host.name} is {skew}"
                yield Finding("note", "clocks", text, "times of different hosts cannot be compared")
    if settings is None:
        return
    try:
        looked = checking.look(settings)
    except errors.UnitsyncError as wrong:
        yield problem("log", wrong)
        return
    yield Finding("ok", "log", f"nats-server {looked.version} at {looked.server}")
    over = reply is not None and joined == settings.job and _is_over(reply)
    if looked.stream is None and not over:
        text = f"there is no log of job {settings.job} yet; its first host makes it, if it may"
        yield Finding("note", "log", text, f"to make it now: unitsync job create {settings.job}")
    elif looked.stream is not None and looked.stream.replicas == 1:
        level = "note" if looked.servers >= _MANY else "ok"
        text = "it has one replica (R1): if its server is lost, so is the job"
        hint = f"end the job; a new one gets three of the {looked.servers} servers"
        yield Finding(level, "log", text, hint if level == "note" else "")
    for what in looked.missing:
        text = f"host {settings.host} is not permitted to: {what}"
        yield Finding(
            "problem",
            "log",
            text,
            "give its NATS user this permission: docs/how-to/hosts.md#permissions",
        )


def _hint(setup: Setup, reply: wire.HostsReply) -> str:
    if reply.takes_part:
        return ""
    if reply.standing == name_taken(reply.host, reply.job):
        other = "give this host another name in UNITSYNC_HOST"
        return setup.advice(f"{other}; if it is the right one, unitsync serve --take-over")
    if _is_over(reply):
        return "a new run takes another UNITSYNC_JOB, and another UNITSYNC_ENDPOINT"
    if reply.standing.endswith(LOG_FULL):
        stream = f"the stream unitsync_{reply.job}"
        return f"no host can tell anything new; give {stream} more max_bytes, or begin another run"
    return "unitsync hosts"


def _is_over(reply: wire.HostsReply) -> bool:
    return reply.standing.startswith(f"{job_over(reply.job)}:")


def _asked(setup: Setup) -> wire.HostsReply | None:
    """What the coordinator says of its job. None if there is none, or an older one."""
    if setup.pong is None or setup.endpoint is None:
        return None
    try:
        with Client(setup.endpoint.address, autostart=False) as client:
            reply = client.call(wire.Hosts(**client.said()))
    except errors.UnitsyncError:
        return None
    return reply if isinstance(reply, wire.HostsReply) else None
