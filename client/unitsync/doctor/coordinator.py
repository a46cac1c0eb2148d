"""Checks of ``doctor``: the running coordinator, or the one that would be started."""

import os
import re
import time
from collections.abc import Iterator
from typing import Final

from unitsync import errors, wire
from unitsync._version import __version__
from unitsync.client import Client
from unitsync.clients.base import expect
from unitsync.doctor.finding import Finding, Setup, problem
from unitsync.link import endpoint as endpoints
from unitsync.link.autostart import is_allowed
from unitsync.owner.calling_script import proc_is_ours
from unitsync.text.printing import counted, duration
from unitsync.verb.commandline import startup_of

_NICE: Final = 16
"""The index of the nice value in the fields of proc_pid_stat(5) after the name, from 0 on."""
_HINT_APART: Final = "unitsync stop, then call a verb without this limit; or run it as a service"


def running(setup: Setup) -> Iterator[Finding]:
    endpoint, about = setup.endpoint, "coordinator"
    if endpoint is None or not setup.usable:
        return
    try:
        if not endpoints.is_there(endpoint):
            stopped = os.path.exists(endpoint.stopped)
            how = "was stopped" if stopped else "is not running"
            yield Finding("ok", about, f"{how}; the first verb that changes something starts it")
            return
        with Client(endpoint.address, autostart=False, startup=startup_of(os.environ)) as client:
            setup.pong = pong = client.ping()
            setup.pid = endpoints.listener(endpoint)
            try:
                expect(client.call(wire.Ping(**client.said(), trial=True)), wire.Pong)
            except errors.UnitsyncError as refused:
                setup.refused = refused
    except errors.UnitsyncError as wrong:
        setup.usable = False
        yield problem(about, wrong)
        return
    units = f"{counted(pong.units, 'unit')}, {counted(pong.edges, 'edge')}"
    since = duration(time.time() - pong.since)
    yield Finding("ok", about, f"pid {pong.pid}, for {since}: {units}")
    yield Finding("ok", "startup", pong.startup)
    if pong.version != __version__:
        hint = setup.advice("unitsync stop; the next verb starts this version")
        yield Finding("note", "version", f"the coordinator is unitsync {pong.version}", hint)


def change(setup: Setup) -> Iterator[Finding]:
    """Whether a change would succeed. If there is no coordinator, starts one on trial."""
    endpoint, about = setup.endpoint, "changes"
    if endpoint is None or not setup.usable:
        return
    try:
        if setup.refused is not None:
            raise setup.refused
        if setup.pong is not None:
            how = "would be kept"
        elif not is_allowed():
            raise errors.Unreachable(
                "no coordinator runs, and starting one is turned off",
                hint="start it with unitsync serve, or unset UNITSYNC_AUTOSTART",
            )
        else:
            from unitsync.link import spawn

            spawn.trial(endpoint)
            how = "a coordinator can be started"
    except errors.UnitsyncError as wrong:
        hint = setup.advice(wrong.hint) if isinstance(wrong, errors.StateLost) else wrong.hint
        text = wrong.message.removeprefix("nothing was changed: ")
        yield Finding("problem", about, text, hint)
    else:
        yield Finding("ok", about, how)


def inherited(setup: Setup) -> Iterator[Finding]:
    """Limits and priority that the coordinator has inherited from its first caller."""
    pid = _shown_in_proc(setup)
    if not pid:
        return
    hint = setup.advice(_HINT_APART)
    limits = _read(f"/proc/{pid}/limits")
    for name, what in (("file size", "bytes in a file"), ("cpu time", "seconds of CPU")):
        found = re.search(rf"Max {name} +(\d+)", limits)
        if found:
            text = f"the coordinator may have no more than {int(found[1]):,} {what}"
            yield Finding("note", "limits", text, hint)
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) > _NICE and (nice := int(fields[_NICE])) > 0:
        text = f"the coordinator has a nice value of {nice}: on a busy machine all wait for it"
        yield Finding("note", "priority", text, setup.advice(f"renice 0 {pid}, as root"))


def namespaces(setup: Setup) -> Iterator[Finding]:
    """The namespaces and the cgroup of the coordinator, and what they mean for its callers."""
    if setup.pong is None:
        return
    if setup.pid != setup.pong.pid:
        text = "the coordinator sees other process ids than this process"
        hint = "owners are not watched across the two: use --owner, or run"
        yield Finding("note", "namespace", text, hint)
    pid = _shown_in_proc(setup)
    if not pid:
        return
    ours, theirs = _link("/proc/self/ns/mnt"), _link(f"/proc/{pid}/ns/mnt")
    if ours and theirs and ours != theirs:
        text = "the coordinator sees other file systems than this process"
        hint = "a /tmp of its own (PrivateTmp) hides the socket from others"
        yield Finding("note", "namespace", text, hint)
    ours, theirs = _cgroup("self"), _cgroup(str(pid))
    if ours and theirs and ours != theirs:
        hint = "to keep it apart from its callers run it as a service: unitsync serve"
        text = f"it lives in {theirs} and ends when that is stopped"
        yield Finding("note", "cgroup", text, hint)


def _shown_in_proc(setup: Setup) -> int:
    """The coordinator's pid in /proc, or 0 if /proc does not show it."""
    return setup.pid if proc_is_ours() else 0


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _cgroup(pid: str) -> str:
    return _read(f"/proc/{pid}/cgroup").strip().rpartition(":")[2]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
