"""The verb ``run``: a unit that is one command, in one process."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import typer

from unitsync import errors, wire
from unitsync.cli import options
from unitsync.cli.scripts import PANEL
from unitsync.cli.talk import converse, finish, open_client, print_err, report
from unitsync.cli.verb import Verb
from unitsync.printing import safe

_COMMAND_KEY: Final = "unitsync.command"

_SI_KERNEL: Final = 0x80
"""``si_code`` of a signal that the kernel sent, as for a key at the terminal
(sigaction(2)): it went to the whole foreground process group, the command included."""

_PASSED_ON: Final = frozenset(
    {
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGTSTP,
    }
)


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    app.command(
        "run",
        cls=RunVerb,
        context_settings={"allow_extra_args": True},
        epilog=_EXAMPLE,
        rich_help_panel=PANEL,
    )(run)


class RunVerb(Verb):
    """A command line of which all behind ``--`` is somebody else's."""

    behind = "-- COMMAND [ARG]..."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        command: list[str] = []
        if "--" in args:
            split = args.index("--")
            args, command = args[:split], args[split + 1 :]
        ctx.meta[_COMMAND_KEY] = command
        return super().parse_args(ctx, args)


_EXAMPLE = """\b
Example:
  unitsync run deps --after git-clone -- pip install -e repo
"""


def run(
    ctx: typer.Context,
    unit: options.Unit,
    after: options.After = None,
    requires: options.Requires = None,
    optional: options.Optional = False,
    timeout: options.Timeout = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Run a command as a unit.

    Waits for the prerequisites, marks UNIT started, runs the command, and marks UNIT
    completed or failed by how that ended. Exits with the command's status (128 + n for
    a signal). Nothing needs to be trapped, nothing can be forgotten, and a crash is
    seen. --timeout bounds the waiting only. If a prerequisite failed, the command is
    not run and the exit status is 3.
    """
    command: list[str] = ctx.meta[_COMMAND_KEY]
    if ctx.args:
        raise errors.UsageError(
            f"unexpected: {' '.join(ctx.args)}",
            hint="put -- before the command: unitsync run UNIT -- COMMAND [ARG]...",
        )
    if not command:
        raise errors.UsageError(
            "there is no command to run", hint="unitsync run UNIT -- COMMAND [ARG]..."
        )
    timeout_s = options.timeout_s(timeout)
    ourselves = _ourselves(unit, command)
    granted: wire.AnyReply | None = None
    try:
        # What is on stdout is the command's alone, through the shim too.
        text = wire.Render.TEXT
        with open_client(endpoint or ctx.obj, owner=ourselves, render=text) as client:
            request = client.requests.start(
                unit,
                after=options.split_names(after),
                requires=options.requires(requires),
                optional=optional,
            )
            granted = converse(client, request, timeout_s=timeout_s)
            if not isinstance(granted, wire.Granted):
                return finish(granted)
            inherited = set[int](signal.pthread_sigmask(signal.SIG_BLOCK, _watched()))
    except BaseException as exc:
        if isinstance(granted, wire.Granted):  # interrupted right after it
            _end(
                endpoint or ctx.obj, unit, granted, ourselves, f"interrupted: {type(exc).__name__}"
            )
        raise
    finish(granted)
    ended = _carry_out(command, unit, inherited)
    _end(endpoint or ctx.obj, unit, granted, ourselves, ended.reason)
    if ended.problem is not None:
        report(ended.problem)
    return ended.status


def _ourselves(unit: str, command: list[str]) -> wire.Owner:
    """This process: what the run waits for is the command's end. Called what its user
    called it, because its own command line begins with two long paths."""
    import shlex

    from msgspec.structs import replace

    from unitsync import owner, session

    shown = shlex.join(["unitsync", "run", unit, "--", *command])
    return replace(owner.this_process(), command=session.one_line(shown))


class _Ended(NamedTuple):
    """``reason`` "" means success."""

    status: int
    reason: str
    problem: errors.UnitsyncError | None = None


def _watched() -> set[signal.Signals]:
    """The signals to pass on: not those that our caller had us ignore (nohup, a
    background job), which the command is to ignore too."""
    heeded = {number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN}
    return heeded | {signal.SIGCHLD}


def _carry_out(command: list[str], unit: str, inherited: set[int]) -> _Ended:
    """Run *command* to its end. The watched signals are blocked, and *inherited* is
    the signal mask that the command gets."""
    program = command[0]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take the status away
    with Guardian(apart=not _at_the_terminal()) as guardian:
        try:
            pid = _spawn(command, _environment(unit), inherited, group=guardian.group)
        except OSError as exc:
            return _not_run(program, exc)
        guardian.guard(pid)
        status = _accompany(pid, group=guardian.group)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return _Ended(128 + number, f"killed by {_signal_name(number)}")
    code = os.WEXITSTATUS(status)
    return _Ended(code, f"exit status {code}" if code else "")


def _environment(unit: str) -> dict[str, str]:
    environment = dict(os.environ, UNITSYNC_UNIT=unit)
    environment.pop("UNITSYNC_CODER_SHIM", None)  # it is about this process alone
    return environment


def _at_the_terminal() -> bool:
    """Whether we are in the foreground of a terminal: then the command has to stay in
    our process group, or it could not read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _spawn(
    command: list[str], environment: Mapping[str, str], mask: set[int], *, group: int
) -> int:
    """The pid of a child that runs *command* as our caller would have: its signal mask
    and its descriptors; in the process group *group*, 0 for ours. Raises OSError."""
    if not command[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    start: Callable[..., int] = os.posix_spawnp
    # Python ignores these two; a command expects to die of them.
    how: dict[str, Any] = {"setsigmask": mask, "setsigdef": [signal.SIGPIPE, signal.SIGXFSZ]}
    if group:
        how["setpgroup"] = group
    try:
        return start(command[0], command, environment, **how)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    import shutil

    # A script without a #! line: POSIX shells and execvp(3) give it to sh.
    script = shutil.which(command[0]) or command[0]
    shell = ["/bin/sh", script, *command[1:]]
    return start(shell[0], shell, environment, **how)


class Guardian:
    """A process that outlives a killed ``run`` just long enough to take the command
    along, so that nothing goes on that nobody can see the end of.

    It waits at the end of a pipe whose other end only we hold. *apart* it leads the
    process group that the command is to join, ``group``, and so knows from the first
    moment whom to take along. Otherwise ``group`` is 0, and it has to be told.
    """

    _LEADER: Final = "trap '' HUP INT QUIT TERM USR1 USR2 TSTP; read -r over || kill -s KILL 0"
    _FOLLOWER: Final = 'read -r target; read -r over || kill -s KILL -- "$target"'

    def __init__(self, *, apart: bool) -> None:
        self._apart = apart
        self.group = 0

    def __enter__(self) -> Guardian:
        end, self._pipe = os.pipe()
        null = os.devnull
        # What kills our own process group is not to reach it.
        where: dict[str, Any] = {"setpgroup": 0} if self._apart else {"setsid": True}
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", self._LEADER if self._apart else self._FOLLOWER],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
                ],
                setsigmask=_PASSED_ON if self._apart else (),
                setsigdef=[signal.SIGPIPE],
                **where,
            )
        finally:
            os.close(end)
        self.group = pid if self._apart else 0
        return self

    def guard(self, pid: int) -> None:
        """The command is the process *pid*."""
        if not self._apart:
            os.write(self._pipe, f"{pid}\n".encode())

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, b"over\n")
        os.close(self._pipe)


def _accompany(pid: int, *, group: int) -> int:
    """Pass signals on to the child *pid*, or to all of its process group *group* if it
    has one of its own, until it has ended; its wait status.

    Its own children and its pipes are not waited for. A key at the terminal reached it
    as well as us if it is in our group, and what it sent itself it knows: neither is
    passed on.
    """
    watched = _watched()
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                return status
            continue
        if (group or info.si_code != _SI_KERNEL) and info.si_pid != pid:
            _send(-group or pid, info.si_signo)
        if info.si_signo == signal.SIGTSTP:
            _stop_ourselves()


def _send(target: int, number: int) -> None:
    try:
        os.kill(target, number)
    except OSError:  # it runs as another user by now (sudo)
        print_err([f"warning: cannot pass {_signal_name(number)} on to pid {abs(target)}"])


def _stop_ourselves() -> None:
    """What SIGTSTP does by default, until SIGCONT; the command has stopped as well."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _not_run(program: str, problem: OSError) -> _Ended:
    """As a shell has it: 127 for what is not there, 126 for what cannot be run."""
    shown = safe(program) or "''"
    if problem.errno in {errno.ENOENT, errno.ENOTDIR}:
        there = os.path.exists(program) if "/" in program else False
        if there:  # the program is there, what its #! line names is not
            text = f"{shown} cannot be run: its interpreter is not there"
            hint = f"look at its first line: head -1 {shown}"
        else:
            text = f"{shown}: no such program"
            hint = (
                "check the path"
                if "/" in program
                else f"it is not on PATH; for a shell's own words use sh -c '{shown} ...'"
            )
        return _Ended(127, text, errors.UnitsyncError(text, hint=hint))
    text = f"{shown} cannot be run: {(problem.strerror or str(problem)).lower()}"
    hint = f"is it a program? chmod +x {shown}" if problem.errno == errno.EACCES else ""
    return _Ended(126, text, errors.UnitsyncError(text, hint=hint))


def _end(
    endpoint: str | None, unit: str, granted: wire.Granted, owner: wire.Owner, reason: str
) -> None:
    """Say how the run that was *granted* ended: well, or failed for *reason*.

    The command's status is what counts: if the coordinator cannot be told, or does not
    know the run any more, that is a warning. One that was killed or stopped meanwhile is
    started again: it still knows the run, and would take it for failed otherwise.
    """
    try:
        text = wire.Render.TEXT
        with open_client(endpoint, owner=owner, render=text) as client:
            requests = client.requests
            request: wire.Complete | wire.Fail
            if reason:
                request = requests.fail(unit, reason, epoch=granted.epoch)
            else:
                request = requests.complete(unit, epoch=granted.epoch)
            reply = client.call(request)
    except errors.UnitsyncError as problem:
        why = problem.message
    else:
        if not isinstance(reply, wire.Error):
            print_err(map(safe, reply.err))
            return
        why = reply.message
    print_err([f"warning: the end of {safe(unit)} could not be recorded: {safe(why)}"])
