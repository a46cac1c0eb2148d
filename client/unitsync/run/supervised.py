"""The command of a ``run`` with flags such as ``--run-timeout``, ``--retries``, ``--ready`` or
``--log``. supervision.py decides what becomes of it; this carries it out as plain.py does.

The main thread waits for a signal or a deadline. Threads (the probe, the report that the unit
is ready) wake it with a signal of their own. Imports only what the interpreter has already
loaded.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _thread
import os
from time import monotonic

from unitsync.process import command, supervision
from unitsync.process.command import Ended
from unitsync.process.supervision import Order, Supervision
from unitsync.process.trace_context import with_traceparent
from unitsync.run import plain
from unitsync.run.plain import Ear, Guardian, ear_for, pass_on, warn, watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unitsync.logs.files import UnitLog
    from unitsync.logs.pump import Pump
    from unitsync.process.probes import Prober
    from unitsync.process.supervision import Orders
    from unitsync.run.options import Options
    from unitsync.verb.commandline import Call

_WAKE = _signal.SIGRTMIN
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)
"""After one of these, the command is not run again."""
_LOOKS_PER_SEARCH = 5
_WAIT_MAX_S = 86400.0
_DRAIN_S = 1.0
"""How long the end of a run waits for the rest of its output to be passed on. If nobody reads
it, the end is recorded nevertheless, and passing it on continues."""


class SupervisedRun:
    """*granted* is the reply that granted the start, *inherited* the signal mask for the
    command. *tell* sends a request about this run to the coordinator."""

    def __init__(
        self,
        call: "Call",
        options: "Options",
        granted: "Any",
        inherited: "set[int]",
        tell: "Callable[..., Any]",
    ) -> None:
        self._words = call.command
        self._unit = call.request["unit"]
        self._options = options
        self._inherited = inherited
        self._tell = tell
        self._epoch, self._run = granted.epoch, granted.run
        self._numbers = {*watched(), _WAKE}
        self._machine = Supervision(
            retries=options.retries,
            backoff_s=options.backoff_s,
            timeout_s=options.timeout_s,
            grace_s=options.grace_s,
            probed=options.probe is not None,
        )
        self._guardian: Guardian | None = None
        self._pid = 0
        self._group = 0
        self._ours: set[int] = set()
        """Guardians that may have ended, to be reaped."""
        self._pump: Pump | None = None
        self._prober: Prober | None = None
        self._ear: Ear | None = None
        self._reporting = _thread.allocate_lock()
        self._main = _thread.get_ident()
        self._heard: list[tuple[Prober, str]] = []
        """What the threads say: a prober and why the unit is not ready ("" if it is)."""
        self._by_itself = ""
        """Why the command has failed by itself."""
        self._ended: Ended | None = None
        """How it ended, if that is not what supervision.py says."""
        self._interrupted = False
        self._signal = 0
        """The signal that stopped us between two tries."""
        self._logs = self._open_logs(call, granted) if options.log else None

    def _open_logs(self, call: "Call", granted: "Any") -> "UnitLog | None":
        import sys

        from unitsync.link.by_hand import address_of
        from unitsync.logs.files import UnitLog
        from unitsync.verb.commandline import as_utf8

        folder = os.path.dirname(address_of(call.address).removeprefix("ipc://"))
        try:
            logs = UnitLog(folder, granted.epoch, self._unit)
            logs.write_recipe(as_utf8(sys.argv[1:]), os.getcwd())
        except OSError as problem:
            self._warn_of_log(problem.strerror or str(problem))
            return None
        return logs

    def _warn_of_log(self, why: str) -> None:
        from unitsync.text.printing import safe

        warn(f"the output of {safe(self._unit)} cannot be kept: {safe(why)}")

    # --- the loop ---------------------------------------------------------------------

    def carry_out(self) -> Ended:
        """Run the command until it has ended for good, and let signals go."""
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # if ignored, there is no status
        if _signal.getsignal(_WAKE) != _signal.SIG_IGN:
            _signal.signal(_WAKE, _do_nothing)  # it would end us while signals are let go
        _signal.pthread_sigmask(_signal.SIG_BLOCK, self._numbers)
        try:
            self._environment = command.environment_of(self._unit)
            self._environment.update(self._options.variables)
            orders = list(self._begin())
            while True:
                for order in orders:
                    orders.extend(self._carried_out(order))
                if self._machine.over:
                    break
                orders = list(self._next())
            self._end_try(failed=bool(orders[-1].reason))
        finally:
            plain.let_signals_go(self._inherited)
        return self._ended or self._how_it_ended(orders[-1])

    def finish(self) -> None:
        """Pass on the rest of the output, when the end is recorded."""
        try:
            self._leave_pump()
        except KeyboardInterrupt:
            pass

    def _next(self) -> "Orders":
        """Wait for what comes next."""
        machine, left_s = self._machine, self._machine.deadline - monotonic()
        if left_s <= 0:
            return machine.tick(monotonic())
        info = _signal.sigtimedwait(self._numbers, min(left_s, _WAIT_MAX_S))
        if info is None:
            return machine.tick(monotonic())
        if info.si_signo == _WAKE:
            return self._what_was_heard()
        if info.si_signo == _signal.SIGCHLD:
            return self._reap()
        return self._signalled(info)

    def _signalled(self, info: "Any") -> "Orders":
        if info.si_signo in _ENDING and info.si_pid != (self._pid or -1):
            self._machine.no_more_retries()
        if self._machine.running:
            if self._pid or self._group:
                pass_on(info, self._pid, self._group)
        elif info.si_signo in _ENDING:
            self._signal = info.si_signo
            return self._machine.stop(monotonic())
        elif info.si_signo == _signal.SIGTSTP:
            plain.stop_ourselves()
        return ()

    def _what_was_heard(self) -> "Orders":
        orders: Orders = ()
        while self._heard:
            prober, why = self._heard.pop(0)
            if prober is not self._prober:  # that of an earlier try
                continue
            if why:
                self._machine.not_ready(why)
            else:
                orders += self._machine.ready()
        return orders

    def _reap(self) -> "Orders":
        for pid in list(self._ours):
            if _waited_for(pid) is not None:
                self._ours.discard(pid)
        status = _waited_for(self._pid) if self._pid else None
        if status is None:
            return ()
        self._pid = 0
        how = command.how_it_ended(status)
        self._by_itself = how.reason
        heard: Orders = ()
        if self._ear is not None:
            self._ear.hear_out()
        if self._machine.launching:
            if self._pump is not None:
                self._pump.finish(_DRAIN_S)  # the line that makes it ready may be its last one
            heard = self._what_was_heard()
        self._end_probing()
        return heard + self._machine.exited(how.status, how.reason, monotonic())

    def _how_it_ended(self, end: Order) -> Ended:
        told = [] if end.reason == self._by_itself else [self._error(end.reason)]
        return Ended(128 + self._signal if self._signal else end.status, end.reason, told)

    def _error(self, text: str) -> str:
        from unitsync.text.printing import safe

        return f"error: {safe(self._unit)}: {safe(text)}"

    # --- orders -----------------------------------------------------------------------

    def _carried_out(self, order: Order) -> "Orders":
        if order.kind == supervision.SPAWN:
            return self._spawn()
        if order.kind == supervision.TERMINATE:
            self._send(_signal.SIGTERM)
            self._send(_signal.SIGCONT)
        elif order.kind == supervision.KILL:
            self._send(_signal.SIGKILL)
        elif order.kind == supervision.LOOK:
            return self._look()
        elif order.kind == supervision.READY:
            self._reporting.acquire()
            _thread.start_new_thread(self._report_ready, ())
        elif order.kind == supervision.RETRY:
            return self._retry(order)
        return ()

    def _begin(self) -> "Orders":
        orders = self._machine.begin(monotonic())
        if self._options.cwd:
            try:
                os.chdir(self._options.cwd)
            except OSError as problem:
                text = f"cannot enter {self._options.cwd}: {problem.strerror}"
                return self._cannot_run(Ended(126, text, [self._error(text)]))
            self._environment[b"PWD"] = os.fsencode(self._options.cwd)
        return orders

    def _spawn(self) -> "Orders":
        guardian = Guardian(apart=not plain.at_the_terminal())
        try:
            guardian.begin()
        except OSError as problem:
            return self._cannot_run(plain.no_guardian(problem))
        self._guardian, self._group = guardian, guardian.group
        self._looks = 0
        self._prober = self._new_prober()
        environment = with_traceparent(self._environment, self._epoch, self._unit, self._run)
        self._ear = ear_for(environment, self._note_for(self._run), self._said_ready)
        try:
            self._pump = self._new_pump()
            stdio = self._pump.stdio if self._pump is not None else ()
            words, group = self._words, self._group or None
            self._pid = command.spawn(words, environment, self._inherited, group, stdio)
        except OSError as problem:
            return self._cannot_run(command.cannot_run(self._words[0], problem))
        finally:
            if self._pump is not None:
                self._pump.begin()
        guardian.guard(self._pid)
        if self._prober is not None:
            self._prober.begin()
        # Now, while the command runs. When it has ended, the package may be gone.
        try:
            import unitsync.output.answers
            import unitsync.text.printing  # noqa: F401
        except ImportError:
            pass
        return ()

    def _cannot_run(self, ended: Ended) -> "Orders":
        self._ended = ended
        return self._machine.cannot_run(ended.status, ended.reason)

    def _send(self, number: int) -> None:
        target = -self._group or self._pid
        if not target:
            return
        try:
            os.kill(target, number)
        except ProcessLookupError:
            pass
        except OSError:  # it now runs as another user (sudo)
            warn(f"cannot send {command.signal_name(number)} to pid {abs(target)}")

    def _look(self) -> "Orders":
        """See whether somebody is left in the group of the command, which has ended."""
        if self._guardian is not None and self._guardian.group:
            # The guardian itself is in that group. Another one, outside of it, takes over.
            guardian = Guardian(apart=False)
            try:
                guardian.begin()
            except OSError:
                return ()  # unless the next look finds one, the group ends with the grace
            guardian.guard(-self._group)
            self._end_guardian()
            self._guardian = guardian
        self._reap()
        if self._group:
            try:
                os.kill(-self._group, 0)
            except ProcessLookupError:
                return self._machine.group_ended(monotonic())
            except OSError:  # they now run as another user
                pass
            # In a container, it may be that nobody reaps those who have ended.
            self._looks += 1
            if self._looks % _LOOKS_PER_SEARCH != 1 or is_alive(self._group):
                return ()
        return self._machine.group_ended(monotonic())

    # --- between tries ----------------------------------------------------------------

    def _retry(self, order: Order) -> "Orders":
        """Say that the run has failed and that another one begins."""
        self._end_try()
        from unitsync.text.printing import safe, span

        unit = safe(self._unit)
        try:
            reply = self._interruptibly(lambda: self._tell_of_retry(order.reason))
        except KeyboardInterrupt:
            self._ended = Ended(order.status, order.reason)
            return self._machine.stop(monotonic(), order.reason)
        except Exception as problem:
            if getattr(problem, "code", "") not in _MAY_COME_BACK:
                return self._not_again(order, str(problem))
            warn(f"the retry of {unit} could not be recorded: {safe(str(problem))}")
        else:
            if reply.result == "error":
                return self._not_again(order, reply.message)
            self._run = reply.run or self._run + 1
        pause = span(order.delay_s)
        from unitsync.output.answers import print_err

        why = safe(order.reason)
        print_err([f"unitsync: {unit} failed: {why}; trying again in {pause}"])
        return ()

    def _not_again(self, order: Order, why: str) -> "Orders":
        from unitsync.text.printing import safe

        text = safe(f"{self._unit} is not tried again: {why}")
        self._ended = Ended(order.status, order.reason, [f"warning: {text}"])
        self._ended.recorded = True
        return self._machine.stop(monotonic(), order.reason)

    def _await_report(self) -> None:
        self._reporting.acquire()
        self._reporting.release()

    def _tell_of_retry(self, reason: str) -> "Any":
        if self._interrupted:
            raise KeyboardInterrupt
        self._leave_pump()
        return self._tell("retry", reason=reason)

    def _interruptibly(self, work: "Callable[[], Any]") -> "Any":
        """What *work* returns. Raises KeyboardInterrupt if a signal that is to end the command
        has come, or comes meanwhile."""
        try:
            came = False
            while info := _signal.sigtimedwait(self._numbers, 0):
                came = came or info.si_signo in _ENDING
            plain.let_signals_go(self._inherited)
            if came:
                raise KeyboardInterrupt
            return work()
        finally:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, self._numbers)

    def _end_try(self, *, failed: bool = False) -> None:
        """The command has ended, or was not run. Its last note is only of use if the unit *failed*
        with it."""
        if self._ear is not None:
            self._ear.end(failed=failed)
            self._ear = None
        self._end_probing()
        self._end_guardian()
        if self._pump is not None:
            self._pump.finish(_DRAIN_S)
        if self._reporting.locked():
            # A report that it is ready must not come after what is said next.
            try:
                self._interruptibly(self._await_report)
            except KeyboardInterrupt:
                self._interrupted = True

    def _end_guardian(self) -> None:
        if self._guardian is not None:
            self._ours.add(self._guardian.pid)
            self._guardian.end()
            self._guardian = None

    # --- output and readiness ---------------------------------------------------------

    def _new_pump(self) -> "Pump | None":
        options = self._options
        for_line = options.probe is not None and options.probe.kind == "line"
        if not (options.log or options.prefix or for_line):
            return None
        from unitsync.logs.pump import Pump, prefixes_for

        log = None
        if self._logs is not None:
            try:
                log = self._logs.open(self._run)
                log.on_problem = self._warn_of_log
            except OSError as problem:
                self._warn_of_log(problem.strerror or str(problem))
        return Pump(
            prefixes=prefixes_for(self._unit) if options.prefix else (b"", b""),
            log=log,
            saw=self._prober.saw if for_line and self._prober is not None else None,
            on_problem=self._warn_of_output,
        )

    def _warn_of_output(self, why: str) -> None:
        from unitsync.text.printing import safe

        warn(f"{safe(self._unit)}: {safe(why)}")

    def _leave_pump(self) -> None:
        if self._pump is not None:
            self._pump.finish()
            self._pump.leave()
            self._pump = None

    def _new_prober(self) -> "Prober | None":
        if self._options.probe is None:
            return None
        from unitsync.process.probes import Prober, Shell, parse

        probe = parse(self._options.probe.text)
        if isinstance(probe, Shell):
            probe.environment = self._environment
            probe.new_guardian = lambda: Guardian(apart=True)
        if why := probe.warning():
            self._warn_of_output(why)
        return Prober(probe, self._hear)

    def _end_probing(self) -> None:
        if self._prober is not None:
            self._prober.end()
            self._prober = None

    def _note_for(self, run: int) -> "Callable[[str], Any]":
        return lambda text: self._tell("note", text=text, run=run)

    def _said_ready(self) -> None:
        prober = self._prober
        if prober is not None:
            prober.said_ready()

    def _hear(self, prober: "Prober", why: str) -> None:
        self._heard.append((prober, why))
        _signal.pthread_kill(self._main, _WAKE)

    def _report_ready(self) -> None:
        try:
            reply = self._tell("ready", run=self._run)
            why = reply.message if reply.result == "error" else ""
        except Exception as problem:
            why = str(problem)
        finally:
            self._reporting.release()
        if why:
            self._warn_of_output(f"that it is ready could not be recorded: {why}")


def _do_nothing(number: int, frame: object) -> None:
    pass


def is_alive(group: int) -> bool:
    """Whether a process of *group* has not ended. Looks at all processes."""
    from unitsync.owner.calling_script import running_processes

    try:
        return any(process.group == group for process in running_processes())
    except OSError:
        return True


def _waited_for(pid: int) -> int | None:
    """The wait status of our child *pid*, None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return status if ended == pid else None


_MAY_COME_BACK = ("unavailable", "unreachable", "stopped", "interrupted", "not_kept")
