"""A command that is run for a unit, as its caller would have run it: its descriptors,
its signals, its terminal.

For the express path and the full command line alike, so that ``run`` costs no more than
the other verbs for as long as its command takes. Imports nothing but what the
interpreter has loaded anyway.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import errno
import os

from unitsync.printing import one_line, safe, shell_word, silence, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_SI_KERNEL = 0x80
"""``si_code`` of a signal that the kernel sent, as for a key at the terminal
(sigaction(2)): it went to the whole foreground process group, the command included."""

_PASSED_ON = (
    *(_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1),
    *(_signal.SIGUSR2, _signal.SIGWINCH, _signal.SIGCONT, _signal.SIGTSTP),
)
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""What Python sets LC_CTYPE to."""
_DEADLY = (_signal.SIGTERM, _signal.SIGHUP)


class Ended:
    """How the command ended: the exit status that stands for it, and the ``reason`` for
    which the unit failed, "" if it did not. ``told`` is for stderr: why it was not run."""

    __slots__ = ("reason", "status", "told")

    def __init__(self, status: int, reason: str, told: "Sequence[str]" = ()) -> None:
        self.status = status
        self.reason = reason
        self.told = told


def shown(call: "Iterable[str]") -> str:
    """What a ``run`` with the words *call* is called where its owner is named: what its
    user called it, all options included, so that it can be run again. The command line of
    this process begins with two long paths."""
    return one_line(" ".join(["unitsync run", *map(shell_word, call)]))


def hold_signals() -> "set[int]":
    """From now on the signals that are to be passed on wait until the command is there.
    Returns the signal mask before, which the command is to have."""
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _watched())
    return before


def _watched() -> "set[int]":
    """The signals to pass on: not those that our caller had us ignore (nohup, a
    background job), which the command is to ignore too."""
    heeded = {number for number in _PASSED_ON if _signal.getsignal(number) != _signal.SIG_IGN}
    return {*heeded, _signal.SIGCHLD}


def carry_out(words: "list[str]", unit: str, inherited: "set[int]") -> Ended:
    """Run *words* to their end, between ``hold_signals``, which returned *inherited*, and
    ``let_signals_go``."""
    program = words[0]
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it takes the status away
    guardian = Guardian(apart=not _at_the_terminal())
    try:
        guardian.begin()
    except OSError as exc:
        text = f"the command was not run: no /bin/sh can watch over it: {exc.strerror}"
        return Ended(126, text, [f"error: {text}"])
    try:
        try:
            pid = _spawn(words, _environment(unit), inherited, guardian.group)
        except OSError as exc:
            return _not_run(program, exc)
        guardian.guard(pid)
        status = _accompany(pid, guardian.group)
    finally:
        guardian.end()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended(128 + number, f"killed by {_name_of(number)}")
    code = os.WEXITSTATUS(status)
    return Ended(code, f"exit status {code}" if code else "")


def let_signals_go(inherited: "set[int]") -> None:
    """The command has ended, and what came until now was for it. From now on signals
    are for this process again; one that would end it raises KeyboardInterrupt."""
    while _signal.sigtimedwait(_watched(), 0):
        pass
    for number in _DEADLY:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, inherited)


def _environment(unit: str) -> "dict[bytes, bytes]":
    """What our caller gave us, and the name of the *unit*.

    os.environ is not that: where the locale is C, Python writes LC_CTYPE=C.UTF-8 into it
    (PEP 538), and a command that is to count bytes would count characters.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read()
    except OSError:
        environment = dict(os.environb)
        if not environment.get(b"LC_ALL") and environment.get(b"LC_CTYPE") in _COERCED:
            environment[b"LC_CTYPE"] = b"C"  # as it was in effect, or Python had left it
    else:
        environment = {}
        for entry in given.split(b"\0"):
            end = entry.find(b"=", 1)  # nobody's shell makes one that begins with it
            if end > 0:
                environment.setdefault(entry[:end], entry[end + 1 :])  # as getenv(3) has it
    environment[b"UNITSYNC_UNIT"] = unit.encode("utf-8", "surrogateescape")
    environment.pop(b"UNITSYNC_CODER_SHIM", None)  # it is about this process alone
    return environment


def _at_the_terminal() -> bool:
    """Whether we are in the foreground of a terminal: then the command has to stay in
    our process group, or it could not read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _spawn(
    words: "list[str]", environment: "Mapping[bytes, bytes]", mask: "set[int]", group: int
) -> int:
    """The pid of a child that runs *words* as our caller would have: its signal mask
    and its descriptors; in the process group *group*, 0 for ours. Raises OSError."""
    if not words[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    # Python ignores these two; a command expects to die of them.
    how: dict[str, Any] = {
        "setsigmask": mask,
        "setsigdef": (_signal.SIGPIPE, _signal.SIGXFSZ),
    }
    if group:
        how["setpgroup"] = group
    try:
        return os.posix_spawnp(words[0], words, environment, **how)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
        refused = exc
    import shutil

    from unitsync.exec_errors import is_binary

    # A script without a #! line: POSIX shells and execvp(3) give it to sh.
    script = shutil.which(words[0]) or words[0]
    if is_binary(script):
        raise refused
    shell = ["/bin/sh", script, *words[1:]]
    return os.posix_spawn(shell[0], shell, environment, **how)


class Guardian:
    """A process that outlives a killed ``run`` just long enough to take the command
    along, so that nothing goes on that nobody can see the end of.

    It waits at the end of a pipe whose other end only we hold. *apart* it leads the
    process group that the command is to join, ``group``, and so knows from the first
    moment whom to take along. Otherwise ``group`` is 0, and it has to be told.
    """

    _LEADER = "trap '' HUP INT QUIT TERM USR1 USR2 TSTP; read -r over || kill -s KILL 0"
    _FOLLOWER = 'read -r target; read -r over || kill -s KILL -- "$target"'

    def __init__(self, *, apart: bool) -> None:
        self._apart = apart
        self.group = 0

    def begin(self) -> None:
        """Raises OSError if there can be none."""
        end, self._pipe = os.pipe()
        # What kills our own process group is not to reach it.
        where: dict[str, Any] = {"setpgroup": 0} if self._apart else {"setsid": True}
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", self._LEADER if self._apart else self._FOLLOWER],
                {},
                file_actions=[
                    # It has nothing to say, and there may be no /dev/null to say it to.
                    *((os.POSIX_SPAWN_DUP2, end, stdio) for stdio in (0, 1, 2)),
                ],
                setsigmask=_PASSED_ON if self._apart else (),
                setsigdef=(_signal.SIGPIPE,),
                **where,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(end)
        self.group = pid if self._apart else 0

    def guard(self, pid: int) -> None:
        """The command is the process *pid*."""
        if not self._apart:
            os.write(self._pipe, f"{pid}\n".encode())

    def end(self) -> None:
        """There is nothing to guard any more."""
        try:
            os.write(self._pipe, b"over\n")
        except BrokenPipeError:
            pass
        os.close(self._pipe)


def _accompany(pid: int, group: int) -> int:
    """Pass signals on to the child *pid*, or to all of its process group *group* if it
    has one of its own, until it has ended; its wait status.

    Its own children and its pipes are not waited for. A key at the terminal reached it
    as well as us if it is in our group, and what it sent itself it knows: neither is
    passed on.
    """
    watched = _watched()
    while True:
        info = _signal.sigwaitinfo(watched)
        if info.si_signo == _signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                return status
            continue
        if (group or info.si_code != _SI_KERNEL) and info.si_pid != pid:
            _send(-group or pid, info.si_signo)
            if info.si_signo in _DEADLY:
                _send(-group or pid, _signal.SIGCONT)  # one that has stopped hears nothing
        if info.si_signo == _signal.SIGTSTP:
            _stop_ourselves()


def _send(target: int, number: int) -> None:
    try:
        os.kill(target, number)
    except OSError:  # it runs as another user by now (sudo)
        warn(f"cannot pass {_name_of(number)} on to pid {abs(target)}")


def warn_not_recorded(unit: str, why: str, hint: str = "") -> None:
    """The coordinator was not told how the run of *unit* ended."""
    warn(f"the end of {safe(unit)} could not be recorded: {safe(why)}", safe(hint))


def warn(text: str, hint: str = "") -> None:
    """Never raises: there is nobody left to tell."""
    import sys

    lines = [f"warning: {text}", f"hint: {hint}"]
    try:
        write_lines(sys.stderr, lines if hint else lines[:1])
    except OSError:
        silence(2)


def _stop_ourselves() -> None:
    """What SIGTSTP does by default, until SIGCONT; the command has stopped as well."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTSTP,))
    os.kill(os.getpid(), _signal.SIGTSTP)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTSTP,))


def _name_of(number: int) -> str:
    for name in dir(_signal):  # of two names for one signal the usual one comes first
        if name[:3] == "SIG" and name[3] != "_" and getattr(_signal, name) == number:
            return name
    return f"signal {number}"  # a real-time signal


def _not_run(program: str, problem: OSError) -> Ended:
    from unitsync.exec_errors import explain

    status, text, hint = explain(program, problem)
    return Ended(status, text, [f"error: {text}", *([f"hint: {hint}"] if hint else ())])
