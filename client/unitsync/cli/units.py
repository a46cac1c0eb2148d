"""The verbs about what ``run`` and plans have started: logs, kill, rerun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep, time
from typing import Annotated

import typer

from unitsync import Client, errors, killing, log_reading, wire
from unitsync import endpoint as endpoints
from unitsync.calling_script import shell_word
from unitsync.cli import completion
from unitsync.cli.typer_commands import Endpoint, option
from unitsync.cli.verb import Verb, example
from unitsync.commandline import invalid, parse_duration
from unitsync.nearest import nearest
from unitsync.output import print_err
from unitsync.output_pump import prefixes_for
from unitsync.printing import safe, silence, span
from unitsync.verbs import PEOPLE, Flag

_LOOK_S = 0.1
"""How often ``logs --follow`` looks for new lines."""
_END_S = 10.0
"""How long the coordinator may take to see that a killed ``run`` is gone."""
_RUNNING = (wire.Status.STARTED, wire.Status.LAUNCHING)

_FOLLOW = Flag("--follow", "Go on with what comes, until Ctrl-C.", short="-f")
_SINCE = Flag(
    "--since", "Only what came in the last e.g. 10m, also of earlier runs.", metavar="DURATION"
)
_RUN = Flag("--run", "Only this run. Default: the latest.", metavar="N")
_GRACE = Flag("--grace", "How long they may take to end. Default: 10s.", metavar="DURATION")
_DEPENDENTS = Flag("--with-dependents", "Also what waits for them, directly or not.")


def _names(metavar: str) -> typer.models.ArgumentInfo:
    argument: typer.models.ArgumentInfo = typer.Argument(
        metavar=metavar,
        help="The units' names.",
        autocompletion=completion.unit_names,
        show_default=False,
    )
    return argument


Units = Annotated[list[str], _names("UNIT...")]
AnyUnits = Annotated[list[str] | None, _names("[UNIT]...")]


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*."""
    for verb, call in (
        (logs, "unitsync logs deps --follow"),
        (kill, "unitsync kill db --grace 30s"),
        (rerun, "unitsync rerun deps --with-dependents"),
    ):
        app.command(cls=Verb, epilog=example(call), rich_help_panel=PEOPLE)(verb)


# --- logs -----------------------------------------------------------------------------


def logs(
    ctx: typer.Context,
    unit: AnyUnits = None,
    follow: Annotated[bool, option(_FOLLOW)] = False,
    since: Annotated[str | None, option(_SINCE)] = None,
    run: Annotated[str | None, option(_RUN)] = None,
    endpoint: Endpoint = None,
) -> int:
    """Show the output of commands that were run with --log.

    Of each unit the latest run, each line with the time (UTC) at which it came. Without a
    name: all units, in the order of time.
    """
    number = _run_number(run)
    after = b""
    if since is not None:
        after = log_reading.stamp_of(max(0.0, time() - parse_duration(since, "--since")))
    place = _place(endpoint or ctx.obj)
    folder = _logs_folder(place)
    names = list(dict.fromkeys(unit or ()))
    if not follow and folder is not None:
        _check_logs(folder, names, number)
    elif not follow:
        raise _nothing_kept(names)
    readers: dict[str, log_reading.Reader] = {}
    try:
        while True:
            folder = folder or _logs_folder(place)
            if folder is not None:
                places = {name: log_reading.folder_of(folder, name) for name in names}
                for name, place_of in (places or log_reading.units_in(folder)).items():
                    if name not in readers:
                        reader = log_reading.Reader(place_of, name, run=number, since=after)
                        readers[name] = reader
            several = len(names) != 1
            lines = log_reading.merged(list(readers.values()), last=not follow)
            if not _written(lines, prefixed=several) or not follow:
                return 0
            sleep(_LOOK_S)
    except KeyboardInterrupt:
        if follow:
            return 130
        raise
    finally:
        for reader in readers.values():
            reader.close()


def _run_number(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
        raise invalid("--run", text, "is not the number of a run", "unitsync status UNIT has them")
    return int(text)


def _place(address: str | None) -> endpoints.Endpoint:
    return endpoints.resolve(address)


def _logs_folder(place: endpoints.Endpoint) -> Path | None:
    """Where the logs of the present state are. If nobody answers: of the newest one."""
    epoch = ""
    try:
        with Client(place.address, autostart=False) as client:
            epoch = client.ping().epoch
    except errors.UnitsyncError:
        pass
    return log_reading.epoch_folder(Path(place.address.removeprefix("ipc://")).parent, epoch)


def _check_logs(folder: Path, names: list[str], run: int) -> None:
    known = log_reading.units_in(folder)
    if not names and not known:
        raise _nothing_kept(names)
    for name in names:
        place = log_reading.folder_of(folder, name)
        if not log_reading.Reader(place, name).has_any:
            raise _nothing_kept([name], nearest(name, known))
        if run and not log_reading.Reader(place, name, run=run).has_any:
            raise errors.UnitsyncError(
                f"the output of run {run} of {name} is not kept", hint=f"unitsync status {name}"
            )


def _nothing_kept(names: list[str], meant: str = "") -> errors.UnitsyncError:
    of = f" of {names[0]}" if names else ""
    unit = shell_word(names[0]) if names else "UNIT"
    hint = f"did you mean {meant}?" if meant else f"unitsync run {unit} --log -- COMMAND keeps it"
    return errors.UnitsyncError(f"no output{of} was kept in this startup", hint=hint)


def _written(lines: Iterable[tuple[str, bytes]], *, prefixed: bool) -> bool:
    """Print *lines*. Returns False if nobody reads them any more."""
    if sys.stdout is None:
        return False
    out = sys.stdout.buffer
    prefixes: dict[str, bytes] = {}
    try:
        for unit, line in lines:
            if prefixed:
                if unit not in prefixes:
                    prefixes[unit] = prefixes_for(unit)[0]
                out.write(prefixes[unit])
            out.write(line)
        out.flush()
    except BrokenPipeError:
        silence(1)
        return False
    except OSError as problem:
        silence(1)
        raise errors.UnitsyncError(f"cannot write to stdout: {problem.strerror}") from None
    return True


# --- kill -----------------------------------------------------------------------------


def kill(
    ctx: typer.Context,
    unit: Units,
    grace: Annotated[str | None, option(_GRACE)] = None,
    endpoint: Endpoint = None,
) -> int:
    """End the commands of units.

    Each command's process group gets SIGTERM, and SIGKILL if it has not ended after the
    grace. There is no retry. Waits until all have ended. Only for what run has started; of
    others it says what to call.
    """
    grace_s = 10.0 if grace is None else parse_duration(grace, "--grace")
    with Client(endpoint or ctx.obj) as client:
        runs: list[killing.Run] = []
        notes = []
        for name in dict.fromkeys(unit):
            info = client.status(name)
            if info.status == wire.Status.NOT_REGISTERED:
                raise _unknown(info)
            if info.owner is None or not (info.status in _RUNNING or info.still_runs):
                notes.append(f"unitsync: {name} does not run: it is {info.status}")
                continue
            runs.append(_run_of(name, info.owner))
        print_err(map(safe, notes))
        for one in runs:
            one.ask()
        by = monotonic() + grace_s
        for one in runs:
            with closing(one):
                if not one.await_end(by):
                    one.kill()
                    one.await_end(monotonic() + _END_S)
                print_err([_what_became(client, one, grace_s)])
    return 0


def _run_of(name: str, owner: wire.Owner) -> killing.Run:
    """What ends the command of the unit *name*. Raises UnitsyncError if nothing here can."""
    runner = killing.runner_of(owner)
    if runner == "run":
        return killing.Run(name, owner)
    # The units of `unitsync up` will be ended here, through its control socket.
    raise killing.refuse_script(name, owner)


def _unknown(info: wire.UnitInfo) -> errors.UnknownUnit:
    hint = f"did you mean {info.nearest}?" if info.nearest else "unitsync list shows the units"
    return errors.UnknownUnit(
        f"{info.name} is not registered", hint=hint, unit=info.name, nearest=info.nearest
    )


def _what_became(client: Client, run: killing.Run, grace_s: float) -> str:
    try:
        client.wait(run.unit, requires=wire.Requirement.COMPLETION, timeout_s=_END_S)
    except errors.NotGranted:
        pass
    info = client.status(run.unit)
    reason = f": {info.reason}" if info.reason else ""
    how = f" (killed after {span(grace_s)})" if run.killed else ""
    return safe(f"unitsync: {run.unit} {info.status}{reason}{how}")


# --- rerun ----------------------------------------------------------------------------


def rerun(
    ctx: typer.Context,
    unit: Units,
    with_dependents: Annotated[bool, option(_DEPENDENTS)] = False,
    endpoint: Endpoint = None,
) -> int:
    """Run units again, as they were run the last time.

    In the same folder and with the same words, but with the environment of this call. For
    what was run with --log; of others it says what to call. Several run in the order of
    their prerequisites. Exits with the status of the first that fails.
    """
    address = endpoint or ctx.obj
    place = _place(address)
    folder = _logs_folder(place)
    names = list(dict.fromkeys(unit))
    with Client(address) as client:
        infos = {name: client.status(name) for name in names}
        for info in infos.values():
            if info.status == wire.Status.NOT_REGISTERED:
                raise _unknown(info)
        if with_dependents:
            infos = _with_dependents(client, infos)
        calls = {name: _call_of(folder, info) for name, info in infos.items()}
        if len(calls) > 1:  # so that they wait for each other again
            client.reset(*calls)
    if len(calls) == 1:
        (cwd, words) = next(iter(calls.values()))
        os.chdir(cwd)
        os.execv(sys.executable, _command(words))
    return _run_all(calls)


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


def _call_of(folder: Path | None, info: wire.UnitInfo) -> tuple[str, list[str]]:
    """The folder and the words with which the unit is run again. Raises UnitsyncError."""
    name = info.name
    owner = info.owner or info.given_up_by
    runner = "" if owner is None else killing.runner_of(owner)
    if info.status in _RUNNING and runner and not info.owner_gone:
        raise errors.Refused(f"{name} still runs", hint=f"unitsync kill {shell_word(name)}")
    recipe = log_reading.recipe_of(folder, name) if folder is not None else None
    if owner is None or not owner.command:
        hint = f"unitsync run {shell_word(name)} --log -- COMMAND"
        raise errors.Refused(f"how {name} was run is not known", hint=hint)
    if not runner:
        raise errors.Refused(
            f"{name} was not started by unitsync run", hint=f"call {owner.command}"
        )
    if recipe is None:
        raise errors.Refused(
            f"{name} was run without --log, so its folder is not known",
            hint=f"call it there: {owner.command}",
        )
    if not os.path.isdir(recipe[0]):
        raise errors.UnitsyncError(f"{name} was run in {recipe[0]}, which is not there")
    return recipe


def _command(words: list[str]) -> list[str]:
    main = "from unitsync.express import main; main()"
    return [sys.executable, "-P", "-c", main, *words]


def _run_all(calls: dict[str, tuple[str, list[str]]]) -> int:
    """Run all at once; they wait for each other. Returns the first exit status that is not 0."""
    running = [subprocess.Popen(_command(words), cwd=cwd) for cwd, words in calls.values()]
    try:
        statuses = [process.wait() for process in running]
    except BaseException:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        raise
    return next((128 - status if status < 0 else status for status in statuses if status), 0)
