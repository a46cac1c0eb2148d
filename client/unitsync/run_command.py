"""The command that ``run`` runs for a unit. It gets the descriptors, signals and terminal
that it would have had if the caller had run it directly.

The express path and the full command line both use it, so that ``run`` costs no more than
the other verbs while its command runs. It imports only what the interpreter has already
loaded.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import errno
import os

from unitsync.calling_script import command_line, shell_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_SI_KERNEL = 0x80
"""``si_code`` of a signal that the kernel sent, for example for a key at the terminal
(sigaction(2)). It went to the whole foreground process group, including the command."""

_PASSED_ON = (
    *(_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1),
    *(_signal.SIGUSR2, _signal.SIGWINCH, _signal.SIGCONT, _signal.SIGTSTP),
)
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""The values that Python may set LC_CTYPE to (PEP 538)."""
_DEADLY = (_signal.SIGTERM, _signal.SIGHUP)


class Ended:
    """How the command ended. ``status`` is the exit status for it, ``reason`` says why the
    unit failed ("" if it did not), ``told`` holds the lines for stderr if the command was
    not run."""

    __slots__ = ("reason", "status", "told")

    def __init__(self, status: int, reason: str, told: "Sequence[str]" = ()) -> None:
        self.status = status
        self.reason = reason
        self.told = told


def shown(call: "Iterable[str]") -> str:
    """How a ``run`` with the words *call* is shown as an owner: as its user typed it, with
    all options, so that it can be run again. The real command line of this process begins
    with two long paths."""
    return command_line(" ".join(["unitsync run", *map(shell_word, call)]))


def hold_signals() -> "set[int]":
    """Hold back the signals that will be passed on, until the command is there. Returns the
    signal mask from before, which the command must get."""
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _watched())
    return before


def _watched() -> "set[int]":
    """The signals to pass on. Those that our caller told us to ignore (nohup, a background
    job) are not among them: the command must ignore them too."""
    heeded = {number for number in _PASSED_ON if _signal.getsignal(number) != _signal.SIG_IGN}
    return {*heeded, _signal.SIGCHLD}


def carry_out(words: "list[str]", unit: str, inherited: "set[int]") -> "Ended":
    """Run the command *words* and wait for its end. Call it between ``hold_signals``, which
    returned *inherited*, and ``let_signals_go``."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # if ignored, there is no status
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
            from unitsync.exec_errors import explain
            from unitsync.output import error_lines

            code, text, hint = explain(words[0], exc)
            return Ended(code, text, error_lines(text, hint))
        guardian.guard(pid)
        # Now, while the command runs. When it has ended, the package may be gone.
        try:
            import unitsync.output  # noqa: F401
        except ImportError:
            pass
        status = _accompany(pid, guardian.group)
    finally:
        guardian.end()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended(128 + number, f"killed by {_name_of(number)}")
    code = os.WEXITSTATUS(status)
    return Ended(code, f"exit status {code}" if code else "")


def let_signals_go(inherited: "set[int]") -> None:
    """Call this when the command has ended. Signals that came until now were for the command
    and are dropped. From now on they are for this process; one that would end it raises
    KeyboardInterrupt."""
    while _signal.sigtimedwait(_watched(), 0):
        pass
    for number in _DEADLY:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, inherited)


def _environment(unit: str) -> "dict[bytes, bytes]":
    """The environment that our caller gave us, and the name of the *unit*.

    os.environ is different: in the C locale Python writes LC_CTYPE=C.UTF-8 into it (PEP 538).
    With that, a command that should count bytes would count characters.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read()
    except OSError:
        environment = dict(os.environb)
        if not environment.get(b"LC_ALL") and environment.get(b"LC_CTYPE") in _COERCED:
            environment[b"LC_CTYPE"] = b"C"  # what was in effect; else Python changes nothing
    else:
        environment = {}
        for entry in given.split(b"\0"):
            end = entry.find(b"=", 1)  # no shell makes a name that begins with "="
            if end > 0:
                environment.setdefault(entry[:end], entry[end + 1 :])  # the first, as getenv(3)
    environment[b"UNITSYNC_UNIT"] = unit.encode("utf-8", "surrogateescape")
    environment.pop(b"UNITSYNC_CODER_SHIM", None)  # it concerns only this process
    return environment


def _at_the_terminal() -> bool:
    """Whether we are in the foreground of a terminal. If so, the command must stay in our
    process group, otherwise it could not read from the terminal."""
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
    """Start a child that runs *words* with the caller's signal mask and descriptors, in the
    process group *group* (0 for ours). Returns its pid. Raises OSError."""
    if not words[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    # Python ignores these two signals, but a command expects that they end it.
    how: dict[str, Any] = {"setsigmask": mask, "setsigdef": (_signal.SIGPIPE, _signal.SIGXFSZ)}
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
    """A process that kills the command when ``run`` itself is killed. Without it the command
    would go on and nobody could see how it ends.

    It waits at the end of a pipe whose other end only we hold. With *apart* it leads the
    process group that the command will join, ``group``. So it knows from the start whom to
    kill. Otherwise ``group`` is 0, and ``guard`` must tell it.
    """

    _LEADER = "trap '' HUP INT QUIT TERM USR1 USR2 TSTP; read -r over || kill -s KILL 0"
    _FOLLOWER = 'read -r target; read -r over || kill -s KILL -- "$target"'

    def __init__(self, *, apart: bool) -> None:
        self._apart = apart
        self.group = 0

    def begin(self) -> None:
        """Start the process. Raises OSError if that fails."""
        end, self._pipe = os.pipe()
        # A signal that kills our own process group must not reach it.
        where: dict[str, Any] = {"setpgroup": 0} if self._apart else {"setsid": True}
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", self._LEADER if self._apart else self._FOLLOWER],
                {},
                # It prints nothing, and there may be no /dev/null to print to.
                file_actions=[(os.POSIX_SPAWN_DUP2, end, stdio) for stdio in (0, 1, 2)],
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
        """The command has ended: stop guarding it."""
        try:
            os.write(self._pipe, b"over\n")
        except BrokenPipeError:
            pass
        os.close(self._pipe)


def _accompany(pid: int, group: int) -> int:
    """Pass signals on to the child *pid* until it has ended, or to its whole process group
    *group* if it has one of its own. Returns its wait status.

    Does not wait for its children or its pipes. Two kinds of signals are not passed on: a
    key at the terminal if the child is in our group, because the child got that signal too,
    and signals that the child itself sent.
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
                _send(-group or pid, _signal.SIGCONT)  # a stopped process handles no signal
        if info.si_signo == _signal.SIGTSTP:
            _stop_ourselves()


def _send(target: int, number: int) -> None:
    try:
        os.kill(target, number)
    except OSError:  # it now runs as another user (sudo)
        warn(f"cannot pass {_name_of(number)} on to pid {abs(target)}")


def warn_not_recorded(unit: str, why: str, hint: str = "") -> None:
    """Warn that the coordinator was not told how the run of *unit* ended."""
    from unitsync.printing import safe

    warn(f"the end of {safe(unit)} could not be recorded: {safe(why)}", safe(hint))


def warn(text: str, hint: str = "") -> None:
    """Print a warning. Never raises, because nobody could handle the error."""
    from unitsync.output import print_err

    print_err([f"warning: {text}", *([f"hint: {hint}"] if hint else ())])


def _stop_ourselves() -> None:
    """Stop this process, as SIGTSTP does by default, until SIGCONT. The command has stopped
    as well."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTSTP,))
    os.kill(os.getpid(), _signal.SIGTSTP)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTSTP,))


def _name_of(number: int) -> str:
    for name in dir(_signal):  # if a signal has two names, the usual one comes first
        if name[:3] == "SIG" and name[3] != "_" and getattr(_signal, name) == number:
            return name
    return f"signal {number}"  # a real-time signal
