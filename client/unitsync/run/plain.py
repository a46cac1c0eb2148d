"""The command that ``run`` runs for a unit. It gets the descriptors, signals and terminal
that it would have had if the caller had run it directly.

The express path and the full command line both use it, so that ``run`` costs no more than
the other verbs while its command runs. It imports only what the interpreter has already
loaded.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _thread
import os

from unitsync.owner.calling_script import command_line, shell_word
from unitsync.process.command import (
    NOTIFY_SOCKET,
    Ended,
    cannot_run,
    environment_of,
    how_it_ended,
    notify_socket,
    signal_name,
    spawn,
)
from unitsync.process.trace_context import with_traceparent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from unitsync.run.notes import Notes

_SI_KERNEL = 0x80
"""``si_code`` of a signal that the kernel sent, for example for a key at the terminal
(sigaction(2)). It went to the whole foreground process group, including the command."""

_PASSED_ON = (
    *(_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1),
    *(_signal.SIGUSR2, _signal.SIGWINCH, _signal.SIGCONT, _signal.SIGTSTP),
)
DEADLY = (_signal.SIGTERM, _signal.SIGHUP)
_PEEK = 2  # MSG_PEEK
_SENDER_BYTES = 32
"""CMSG_SPACE of a pid, a user and a group. With more room, descriptors would come along."""
_HEARD_S = 1.0
"""How long the end of a command waits until everything is heard that it has said."""


def shown(call: "Iterable[str]") -> "dict[str, str]":
    """How a ``run`` with the words *call* is shown as an owner: as its user typed it, with
    all options, so that it can be run again. The real command line of this process begins
    with two long paths. If that is exact, it comes with the folder."""
    typed = " ".join(["unitsync run", *map(shell_word, call)])
    command = command_line(typed)
    try:
        cwd = os.getcwd()
    except OSError:  # it was removed
        cwd = ""
    return {"command": command, "cwd": cwd if command == typed and cwd.isprintable() else ""}


def hold_signals() -> "set[int]":
    """Hold back the signals that will be passed on, until the command is there. Returns the
    signal mask from before, which the command must get."""
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, watched())
    return before


def watched() -> "set[int]":
    """The signals to pass on. Those that our caller told us to ignore (nohup, a background
    job) are not among them: the command must ignore them too."""
    heeded = {number for number in _PASSED_ON if _signal.getsignal(number) != _signal.SIG_IGN}
    return {*heeded, _signal.SIGCHLD}


def carry_out(
    words: "list[str]",
    unit: str,
    epoch: str,
    run: int,
    inherited: "set[int]",
    note: "Callable[[str], Any]",
) -> "Ended":
    """Run the command *words* and wait for its end. It is the run *run* of *unit*. *note* sends
    what it says that it is doing. Call it between ``hold_signals``, which returned *inherited*,
    and ``let_signals_go``."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # if ignored, there is no status
    guardian = Guardian(apart=not at_the_terminal())
    try:
        guardian.begin()
    except OSError as exc:
        return no_guardian(exc)
    environment = with_traceparent(environment_of(unit), epoch, unit, run)
    ear = ear_for(environment, note)
    try:
        try:
            pid = spawn(words, environment, inherited, guardian.group or None)
        except OSError as exc:
            return cannot_run(words[0], exc)
        guardian.guard(pid)
        # Now, while the command runs. When it has ended, the package may be gone.
        try:
            import unitsync.output.answers  # noqa: F401
        except ImportError:
            pass
        status = _accompany(pid, guardian.group)
    finally:
        guardian.end()
    ended = how_it_ended(status)
    if ear is not None:
        ear.end(failed=bool(ended.reason))
    return ended


def no_guardian(problem: OSError) -> "Ended":
    """What it means that a Guardian could not begin."""
    text = f"the command was not run: no /bin/sh can watch over it: {problem.strerror}"
    return Ended(126, text, [f"error: {text}"])


def let_signals_go(inherited: "set[int]") -> None:
    """Call this when the command has ended. Signals that came until now were for the command
    and are dropped. From now on they are for this process; one that would end it raises
    KeyboardInterrupt."""
    while _signal.sigtimedwait(watched(), 0):
        pass
    for number in DEADLY:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, inherited)


def at_the_terminal() -> bool:
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
        self.pid = 0

    def begin(self) -> None:
        """Start the process. Raises OSError if that fails."""
        end, self._pipe = os.pipe()
        # A signal that kills our own process group must not reach it.
        where: dict[str, Any] = {"setpgroup": 0} if self._apart else {"setsid": True}
        try:
            self.pid = os.posix_spawn(
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
        self.group = self.pid if self._apart else 0

    def guard(self, pid: int) -> None:
        """The command is the process *pid*; below 0, a process group."""
        if not self._apart:
            os.write(self._pipe, f"{pid}\n".encode())

    def end(self) -> None:
        """The command has ended: stop guarding it."""
        try:
            os.write(self._pipe, b"over\n")
        except BrokenPipeError:
            pass
        os.close(self._pipe)


class Ear:
    """Hears what the command says with sd_notify(3), in a thread of its own: neither it nor
    somebody who waits for its end is held up by what becomes of that. What is needed for it is
    loaded when something is said.

    *note* sends what the unit is doing. *ready* is called when the command says that it is ready.
    """

    def __init__(
        self,
        socket: "Any",
        outer: bytes,
        note: "Callable[[str], Any]",
        ready: "Callable[[], None]",
    ) -> None:
        self._socket = socket
        self._outer = outer
        self._note = note
        self._ready = ready
        self._notes: Notes | None = None
        self._over = False
        self._heard = _thread.allocate_lock()
        self._heard.acquire()

    def begin(self) -> None:
        """Raises RuntimeError if there can be no thread."""
        _thread.start_new_thread(self._listen, ())

    def hear_out(self) -> None:
        """The command has ended. Returns when everything is heard that it has said."""
        if self._over:
            return
        self._over = True
        self._socket.shutdown(0)  # for reading; what is there already can still be read
        self._heard.acquire(timeout=_HEARD_S)

    def end(self, *, failed: bool) -> None:
        """The same. If it has *failed*, its last note is sent."""
        self.hear_out()
        if self._notes is not None:
            self._notes.end(failed=failed)

    def _listen(self) -> None:
        try:
            # A look at it: it stays there, and there is only room for who the sender is.
            said, sender, *_ = self._socket.recvmsg(1, _SENDER_BYTES, _PEEK)
            if said or sender:  # otherwise the command has ended without a word
                from unitsync.run.notes import Notes, listen

                self._notes = Notes(self._note)
                listen(self._socket, self._outer, self._notes, self._ready)
        except Exception:
            pass  # it is only about notes, and nobody is here who could be told
        finally:
            self._heard.release()
            self._socket.close()


def ear_for(
    environment: "dict[bytes, bytes]",
    note: "Callable[[str], Any]",
    ready: "Callable[[], None]" = lambda: None,
) -> Ear | None:
    """An Ear for the command that gets *environment*, where its address is put. None if there can
    be none: then the command says it to whomever it would have said it to."""
    outer = environment.get(NOTIFY_SOCKET, b"")
    socket = notify_socket(environment)
    if socket is None:
        return None
    ear = Ear(socket, outer, note, ready)
    try:
        ear.begin()
    except RuntimeError:
        socket.close()
        del environment[NOTIFY_SOCKET]
        if outer:
            environment[NOTIFY_SOCKET] = outer
        return None
    return ear


def _accompany(pid: int, group: int) -> int:
    """Pass signals on to the child *pid* until it has ended, or to its whole process group
    *group* if it has one of its own. Returns its wait status.

    Does not wait for its children or its pipes. Two kinds of signals are not passed on: a
    key at the terminal if the child is in our group, because the child got that signal too,
    and signals that the child itself sent.
    """
    numbers = watched()
    while True:
        info = _signal.sigwaitinfo(numbers)
        if info.si_signo != _signal.SIGCHLD:
            pass_on(info, pid, group)
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == pid:
            return status


def pass_on(info: "Any", pid: int, group: int) -> None:
    """Pass the signal *info* on, as ``_accompany`` does."""
    if (group or info.si_code != _SI_KERNEL) and info.si_pid != pid:
        send(-group or pid, info.si_signo)
        if info.si_signo in DEADLY:
            send(-group or pid, _signal.SIGCONT)  # a stopped process handles no signal
    if info.si_signo == _signal.SIGTSTP:
        stop_ourselves()


def send(target: int, number: int) -> None:
    try:
        os.kill(target, number)
    except OSError:  # it now runs as another user (sudo)
        warn(f"cannot pass {signal_name(number)} on to pid {abs(target)}")


def warn_not_recorded(unit: str, why: str, hint: str = "") -> None:
    """Warn that the coordinator was not told how the run of *unit* ended."""
    from unitsync.text.printing import safe

    warn(f"the end of {safe(unit)} could not be recorded: {safe(why)}", safe(hint))


def warn(text: str, hint: str = "") -> None:
    """Print a warning. Never raises, because nobody could handle the error."""
    from unitsync.output.answers import print_err

    print_err([f"warning: {text}", *([f"hint: {hint}"] if hint else ())])


def stop_ourselves() -> None:
    """Stop this process, as SIGTSTP does by default, until SIGCONT. The command has stopped
    as well."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTSTP,))
    os.kill(os.getpid(), _signal.SIGTSTP)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTSTP,))
