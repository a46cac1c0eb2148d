"""The verb ``rerun``: runs units again as they were run the last time, by ``run`` or by a plan."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unitsync import Client, errors, wire
from unitsync.link import endpoint
from unitsync.logs import reading as log_reading
from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import check_here
from unitsync.output.answers import print_lines
from unitsync.owner.calling_script import shell_word
from unitsync.process.runners import AGENT, RUNNING, known, last_owner, runner_of
from unitsync.text.printing import quoted
from unitsync.verb.commandline import Call


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    place = endpoint.resolve(call.address or None)
    with Client(place.address) as client:
        planned, calls, gates, plan = chosen(
            client, place, call.names, with_dependents="--with-dependents" in call.flags
        )
        if calls and (len(calls) > 1 or planned or gates):  # so that they wait for each other again
            client.reset(*calls, *gates)
    if not planned and len(calls) == 1:
        ((cwd, words),) = calls.values()
        os.chdir(cwd)
        os.execv(sys.executable, command(words))
    running: list[subprocess.Popen[bytes]] = []
    try:
        for cwd, words in calls.values():  # all at once: they wait for each other
            running.append(subprocess.Popen(command(words), cwd=cwd))
        status = _run_of_plan(place, plan, planned) if plan is not None else 0
        statuses = [process.wait() for process in running]
    except BaseException:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        raise
    return next((128 - each if each < 0 else each for each in statuses if each), status)


class Chosen(NamedTuple):
    """What is to run again."""

    planned: list[str]
    """Units of a plan."""
    calls: dict[str, tuple[str, list[str]]]
    """Units of ``run``, each with its folder and the words of the call."""
    gates: list[str]
    plan: Path | None


def chosen(
    client: Client, place: endpoint.Endpoint, texts: Sequence[str], *, with_dependents: bool
) -> Chosen:
    """What *texts*, names and patterns, stand for. Raises UnitsyncError if one of the units cannot
    be run again."""
    names = _names(client, texts)
    infos = {name: known(client.status(name)) for name in names}
    if with_dependents:
        infos = _with_dependents(client, infos)
    epoch = client.ping().epoch
    logs = log_reading.epoch_folder(Path(place.folder), epoch)
    planned, calls = [], {}
    gates = [name for name, info in infos.items() if info.gate]
    for name, info in infos.items():
        if info.gate and name in names:
            raise errors.Refused(
                f"{name} is a gate: there is no command to run",
                hint=f"unitsync reset {shell_word(name)}",
            )
        if info.gate:
            continue
        if _is_of_plan(place, epoch, info):
            planned.append(name)
        else:
            calls[name] = _call_of(logs, info)
    plan = _plan_of(place, epoch, planned) if planned else None
    return Chosen(planned, calls, gates, plan)


def _names(client: Client, texts: Sequence[str]) -> list[str]:
    """The names among *texts*, and those of the registered units that match the patterns. Raises
    UnknownUnit if none matches, and InvalidName."""
    names: list[str] = []
    for text in texts:
        if not is_pattern(text):
            check_here(text, "rerun")
            names.append(text)
            continue
        infos = client.list(text)
        there = [info.name for info in infos if info.status is not wire.Status.NOT_REGISTERED]
        if not there:
            hint = "unitsync list shows every unit"
            raise errors.UnknownUnit(
                f"no unit matches {quoted(text)}", hint=hint, unit=text, nearest=""
            )
        names += there
    return list(dict.fromkeys(names))


def _is_of_plan(place: endpoint.Endpoint, epoch: str, info: wire.UnitInfo) -> bool:
    """Whether a plan has run the unit, or would have if it had got that far."""
    if owner := last_owner(info):
        return runner_of(owner) == "up"
    from unitsync.up.runner import record

    return record.plan_of(place.folder, info.name, epoch) is not None


def _plan_of(place: endpoint.Endpoint, epoch: str, names: list[str]) -> Path:
    """The plan of these units. Raises Refused if they are not of one."""
    from unitsync.up.runner import record

    plans = {record.plan_of(place.folder, name, epoch) for name in names}
    path = plans.pop()
    if path is None or plans:
        raise errors.Refused("these units are not of one plan", hint="run them one by one")
    return path


def _run_of_plan(place: endpoint.Endpoint, path: Path, names: list[str]) -> int:
    """Let the ``up`` that runs the plan *path* run these units again; without one, run the plan
    for them, with what they need."""
    from unitsync.plan.model import load
    from unitsync.up import control, session

    if pid := session.runner_of(place.folder, path):
        print_lines(control.ask(place.folder, pid, control.Request("rerun", names)).lines)
        return 0
    plan = session.restricted(load(path), names)
    return session.Session([path], plan, place.address, only=names, again=names).up(detach=False)


def _with_dependents(client: Client, infos: dict[str, wire.UnitInfo]) -> dict[str, wire.UnitInfo]:
    """*infos*, and those of all units that need one of them, directly or not."""
    everything = {info.name: client.status(info.name) for info in client.list()}
    found = dict(infos)
    grown = True
    while grown:
        grown = False
        for name, info in everything.items():
            needs = {edge.name for edge in info.prerequisites}
            if name not in found and needs & found.keys():
                found[name] = info
                grown = True
    return found


def _call_of(logs: Path | None, info: wire.UnitInfo) -> tuple[str, list[str]]:
    """The folder and the words with which ``run`` runs the unit again. Raises UnitsyncError."""
    name, owner = info.name, last_owner(info)
    runner = runner_of(owner)
    if owner is None or not owner.command:
        hint = f"unitsync run {shell_word(name)} -- COMMAND"
        raise errors.Refused(f"how {name} was run is not known", hint=hint)
    if not runner:
        hint = f"call {owner.command}"
        if owner.command == AGENT:
            hint = "an agent did its work itself, and can start it again"
        raise errors.Refused(f"{name} was not started by unitsync run", hint=hint)
    if info.status in RUNNING and not info.owner_gone:
        raise errors.Refused(f"{name} still runs", hint=f"unitsync kill {shell_word(name)}")
    if owner.cwd:
        cwd, words = owner.cwd, shlex.split(owner.command)[1:]
    elif recipe := log_reading.recipe_of(logs, name) if logs is not None else None:
        cwd, words = recipe
    else:
        raise errors.Refused(
            f"how exactly {name} was run is not known; with --log it would be",
            hint=f"call it where it was called: {owner.command}",
        )
    if not os.path.isdir(cwd):
        raise errors.UnitsyncError(f"{name} was run in {cwd}, which is not there")
    return cwd, words


def command(words: list[str]) -> list[str]:
    """*words* as the command line of another ``unitsync``."""
    main = "from unitsync.express import main; main()"
    return [sys.executable, "-P", "-c", main, *words]
