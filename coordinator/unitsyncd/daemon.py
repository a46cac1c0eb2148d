"""The coordinator's process: the only place where its parts are put together."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from loguru import logger

from unitsync._version import __version__
from unitsync.errors import LimitReached, StateChanged, Stopped, UnitsyncError, UsageError
from unitsync.link import endpoint as endpoints
from unitsync.link.endpoint import Endpoint
from unitsync.text.printing import reaching
from unitsyncd.actors.incremental import Work, has_more
from unitsyncd.core import wording
from unitsyncd.core.events import OwnerKey
from unitsyncd.core.store import StoreError
from unitsyncd.hosts.settings import HostsSettings, hosts_settings
from unitsyncd.job import Job, keep_hosts, kept_hosts
from unitsyncd.limits import Limits, limit_reached
from unitsyncd.metrics.settings import forget_metrics, kept_metrics, metrics_settings
from unitsyncd.requests.supervisor import Changes, Supervisor
from unitsyncd.saved_state import open_state
from unitsyncd.storage.stops import Stops
from unitsyncd.system import resources, systemd
from unitsyncd.system.folder_lock import AlreadyServed, FolderLock
from unitsyncd.system.owners import Owners
from unitsyncd.traces import TraceSender, trace_variables
from unitsyncd.transport import connection_limit
from unitsyncd.transport.access import Access, keep_allowed, kept_allowed
from unitsyncd.transport.client_processes import ClientProcesses
from unitsyncd.transport.router import Envelope, Router

if TYPE_CHECKING:
    from unitsyncd.metrics.service import Metrics

LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error")
GC_THRESHOLDS: Final = (20_000, 1_000_000, 1_000_000)
"""The collector looks for cycles among the youngest objects only: that takes a millisecond.
Units, edges and requests make no cycles, and the parts of an old epoch are taken apart. To
search older objects too would hold up the loop, longer the more objects there are."""
SWITCH_S: Final = 0.0005
"""How long the thread that writes a snapshot may hold up the loop. Python's default is 5 ms."""
REST_S: Final = 0.005
"""Pause between the steps of long work, so that requests are answered."""
LOOK_S: Final = 1.0
"""How often the coordinator checks that folder and socket are still its own."""


class Daemon:
    """Serves one endpoint until it is stopped, or until its folder or socket is no longer its
    own, or until it takes too much memory."""

    version = __version__

    def __init__(
        self,
        folder_lock: FolderLock,
        access: Access,
        limits: Limits,
        hosts: HostsSettings | None = None,
        metrics: Metrics | None = None,
        traces: TraceSender | None = None,
    ) -> None:
        """Create it within the event loop. *hosts*: the job that it is a host of. Raises
        StoreError if the journal cannot be used."""
        self.pid = os.getpid()
        self._folder_lock = folder_lock
        budget = connection_limit.file_budget(limits.connections)
        self._owners = Owners(self._owner_gone, pidfds_max=budget.pidfds)
        self._kept = open_state(folder_lock.endpoint.journal, limits)
        self._clock = self._kept.clock
        self.since = self._clock.at()
        self._kept.rhythm.run_in_steps = self._run_in_steps
        self._unfinished: set[Work] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[str] | None = None
        self._job = Job(hosts) if hosts is not None else None
        self._supervisor = Supervisor(
            startup=_startup_named(),
            new_epoch=lambda: secrets.token_hex(8),
            owners=self._owners,
            identity=self,
            limits=limits,
            on_defect=lambda what, defect: logger.opt(exception=defect).error(what),
            store=self._kept.journal,
            machine=self._kept.machine,
            recovered=self._kept.recovered,
            lost=self._kept.lost,
            job=self._job,
            on_kept=self._kept.rhythm.appended,
            run_in_steps=self._run_in_steps,
            check=lambda peer, request: access.check(request, self._router.peer(peer)),
            first_stop=Stops(folder_lock.endpoint.folder).is_first,
            clients=ClientProcesses(lambda peer: self._router.peer(peer)),
            at=self.since,
        )
        self._kept = self._kept._replace(recovered=None)  # it belongs to the supervisor now
        if self._job is not None:
            self._job.begin(self._supervisor, self._kept.journal.id, self._unasked)
        self._router = Router(
            folder_lock.listen(budget.backlog),
            access=access,
            turns=self,
            budget=budget,
            on_full=self._full,
        )
        self._metrics, self._traces = metrics, traces
        if metrics is not None:
            journal = self._kept.journal
            connections = lambda: self._router.connections  # noqa: E731
            metrics.begin(self._supervisor, journal.path, journal.id, connections, self._clock.at)
        folder_lock.appear()
        self._memory_max = resources.memory_bound(limits.memory)
        self._too_large: LimitReached | None = None

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve. *on_ready* is called once requests are answered. Raises LimitReached if the
        process took too much memory. For clients that looks like a killed coordinator, but
        everything is closed in order."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        loop.set_exception_handler(_log_defect_in_loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGUSR1, self._log_figures)
        self._router.begin(loop)
        self._look()
        if self._job is not None:
            self._job.join(loop)
        if self._metrics is not None:
            await self._metrics.join()
        if self._traces is not None:
            self._traces.join(loop)
        logger.info("serving {} as pid {}", self._folder_lock.endpoint.address, self.pid)
        on_ready()
        why = await self._ended
        logger.info("ending: {}", why)
        if self._job is not None:
            await self._job.leave()
        if self._metrics is not None:
            await self._metrics.leave()
        for timer in (self._timer, self._looking):
            if timer is not None:
                timer.cancel()
        farewell: UnitsyncError
        if self._too_large is not None:
            self._folder_lock.end(for_good=False)
        elif self._folder_lock.is_ours():
            self._folder_lock.end()
            hint = "what it holds is kept; the next verb starts it again"
            farewell = Stopped(f"the coordinator has ended ({why})", hint=hint)
        else:
            hint = "start this script again"
            farewell = StateChanged(f"the coordinator has ended ({why})", hint=hint)
        if self._too_large is None:
            self._router.send(self._supervisor.dismiss(farewell))
        self._router.close()
        self._owners.close()
        self._kept.close()
        self._folder_lock.leave()
        if self._traces is not None:
            await self._traces.leave()
        if self._too_large is not None:
            raise self._too_large

    def _now(self) -> tuple[float, float]:
        """The time of the next turn: on the monotonic clock, and on the clock of facts."""
        self._supervisor.ahead = self._clock.ahead()
        return time.monotonic(), self._clock.at()

    @property
    def epoch(self) -> str:
        return self._supervisor.epoch

    def begin_turn(self) -> None:
        self._supervisor.begin_turn(*self._now())

    def handle(self, peer: bytes, frame: bytes) -> None:
        self._supervisor.handle(peer, frame)

    def end_turn(self) -> Sequence[Envelope]:
        replies = self._supervisor.end_turn()
        self._set_timer()
        if self._supervisor.stopping:
            self._end("unitsync stop")
        return replies

    def _unasked(self, why: str, changes: Changes) -> None:
        self._router.send(self._supervisor.unasked(why, changes, *self._now()))
        self._set_timer()

    def _owner_gone(self, key: OwnerKey) -> None:
        try:
            replies = self._supervisor.owner_gone(key, *self._now())
        except StoreError as problem:
            logger.error("the end of pid {} could not be kept: {}", key[1], problem)
            self._owners.unkept.add(key)
            asyncio.get_running_loop().call_later(LOOK_S, self._owner_gone, key)
            return
        logger.info("pid {} has ended while it ran a unit", key[1])
        self._router.send(replies)
        self._set_timer()

    def _full(self, full: bool) -> bool:
        logger.warning("no room for more clients" if full else "room for clients again")
        return self._folder_lock.hide(full)

    def _run_in_steps(self, work: Work) -> None:
        """Do the next step of *work*, and each further one after a pause, until the end."""
        self._unfinished.discard(work)
        ending = self._ended is not None and self._ended.done()
        if not ending and has_more(work):
            self._unfinished.add(work)
            asyncio.get_running_loop().call_later(REST_S, self._run_in_steps, work)

    def _set_timer(self) -> None:
        """Call it after each turn."""
        if self._job is not None:
            self._job.wake()
        deadline = self._supervisor.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # when it fires, it is set again
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._router.send(self._supervisor.expire(*self._now()))
        self._set_timer()

    def _look(self) -> None:
        if not self._folder_lock.is_ours():
            self._end("its folder or socket was removed or replaced")
        self._look_at_memory()
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look_at_memory(self) -> None:
        """End if the process takes too much memory: nothing else bounds what libzmq's queues
        of messages take. Those who wait go on waiting, with the next coordinator."""
        try:
            resident = resources.resident_bytes()
        except OSError:  # no descriptor is left
            return
        if resident > self._memory_max and self._too_large is None:
            mib = self._memory_max >> 20
            what = f"took {resident >> 20:,} MiB of memory, more than {mib:,}, and begins anew"
            self._too_large = limit_reached("memory", mib, what)
            logger.critical(
                "{}; {}", self._too_large, resources.figures_line(self._supervisor.figures())
            )
            self._end("it took too much memory")

    def _log_figures(self) -> None:
        held = self._supervisor.figures()
        held["clients"] = self._router.connections
        held["owners"] = self._owners.watched
        held["unfinished"] = len(self._unfinished)
        try:
            logger.info(resources.figures_line(held | resources.figures()))
        except OSError as problem:  # no descriptor is left
            logger.warning("{}; {}", resources.figures_line(held), problem)

    def _end(self, why: str) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(why)


def _log_defect_in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception from a callback. The loop goes on."""
    logger.opt(exception=context.get("exception")).error("a defect: {}", context["message"])


def _log_defect_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "?"
    logger.opt(exception=args.exc_value).error("a defect has ended the thread {}", name)


def _startup_named() -> str:
    """UNITSYNC_STARTUP, or "". Raises UsageError."""
    startup = os.environ.get("UNITSYNC_STARTUP", "")
    try:
        startup.encode()
    except UnicodeEncodeError:
        raise UsageError(f"UNITSYNC_STARTUP is {startup!a}, which is not UTF-8") from None
    return startup


class _Ready:
    """Tells the process that started us, once: ``ready``, ``running`` or ``error: …``."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def say(self, line: str) -> None:
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):  # the process that started us did not wait
            os.write(self._descriptor, f"{line}\n".encode())
        with contextlib.suppress(OSError):  # it was not a descriptor
            os.close(self._descriptor)
        self._descriptor = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="unitsync serve --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped. The exit status."""
    ready = _Ready(None)
    try:
        options = _options(argv)
        ready = _Ready(options.ready_fd)
        return _serve(options, ready)
    except AlreadyServed as exc:
        ready.say("running")
        print(f"error: a coordinator already serves {exc}", file=sys.stderr)
        print(f"hint: {reaching('unitsync ping; unitsync stop ends it')}", file=sys.stderr)
        return 1
    except (UnitsyncError, OSError) as exc:
        problem = exc if isinstance(exc, UnitsyncError) else _of_a_file(exc)
        lines = wording.error(problem)
        ready.say("\n".join(lines))
        print("\n".join(lines), file=sys.stderr)
        return problem.exit_status


def _of_a_file(problem: OSError) -> UnitsyncError:
    """The error for a file or folder that the coordinator cannot use."""
    return UnitsyncError(
        f"{problem.filename or 'the coordinator'}: {problem.strerror or problem}",
        hint="remove what is in the way, or name another folder in UNITSYNC_ENDPOINT",
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="unitsyncd", description="The unitsync coordinator.")
    parser.add_argument("--endpoint", help="ipc://PATH to serve at")
    parser.add_argument("--ready-fd", type=int, help="descriptor to report readiness on")
    parser.add_argument("--log-level", type=str.lower, choices=LOG_LEVELS, help="default: info")
    parser.add_argument("--allow", action="append", default=[], metavar="USER|GROUP")
    parser.add_argument("--hosts", metavar="URL,URL...", help="servers of the job's log")
    parser.add_argument("--job", help="the job that spans hosts")
    parser.add_argument("--host", help="the name of this host in it")
    parser.add_argument("--hosts-expected", metavar="N")
    parser.add_argument("--on-host-lost", metavar="wait|fail[:DURATION]")
    parser.add_argument("--take-over", action="store_true", help="the name, whoever has it")
    parser.add_argument("--metrics", metavar="ADDRESS", help="HOST:PORT or unix:PATH")
    parser.add_argument("--metrics-per-unit", metavar="N", help="units shown by name; default: 0")
    parser.add_argument("--otlp", metavar="URL", help="where to send traces")
    parser.add_argument("--trial", action="store_true", help="try all that serving needs, and end")
    options = parser.parse_args(argv)
    options.allow += os.environ.get("UNITSYNC_ALLOW", "").replace(",", " ").split()
    # A call of ``serve`` names everybody who may take part, even if that is nobody.
    options.allow_kept = not options.allow and options.ready_fd is not None
    return options


def _serve(options: argparse.Namespace, ready: _Ready) -> int:
    os.umask(0o077)
    level = options.log_level or _log_level(os.environ.get("UNITSYNC_LOG_LEVEL", ""))
    limits = Limits.from_environment()
    endpoints.check_open_files()
    endpoint = _become_its_user(endpoints.resolve(options.endpoint))
    access = Access(options.allow)
    if options.trial:
        from unitsyncd.trial import try_to_serve

        if options.allow_kept:
            Access(kept_allowed(endpoint.folder))
        try_to_serve(endpoint, _startup_named(), limits)
        ready.say("ready")
        return 0
    hosts = hosts_settings(options, os.environ)
    folder_lock = FolderLock(endpoint)
    _log(endpoint, level.upper(), detached=options.ready_fd is not None)
    if options.allow_kept:
        access = Access(kept_allowed(endpoint.folder))
    else:
        keep_allowed(endpoint.folder, options.allow)
    folder_lock.open_to_others(access.shared)
    if hosts is None and options.ready_fd is not None:
        hosts = kept_hosts(endpoint.folder)
    else:
        keep_hosts(endpoint.folder, hosts)
    metrics = _metrics(options, endpoint.folder)
    by_a_verb = options.ready_fd is not None
    told = trace_variables(options.otlp, os.environ, endpoint.folder, by_a_verb=by_a_verb)
    traces = TraceSender(told, endpoint.address) if told is not None else None

    def on_ready() -> None:
        ready.say("ready")
        systemd.notify("READY=1")

    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    threading.excepthook = _log_defect_in_thread

    async def serve() -> None:
        await Daemon(folder_lock, access, limits, hosts, metrics, traces).run(on_ready)

    try:
        asyncio.run(serve())
    except StoreError as exc:
        raise UnitsyncError(
            f"the journal in {folder_lock.endpoint.folder} cannot be used: {exc}", hint=exc.hint
        ) from None
    except UnitsyncError:
        raise
    except OSError as exc:
        logger.error("the coordinator has ended: {}", exc)
        raise
    except Exception:
        logger.exception("a defect has ended the coordinator")
        raise
    systemd.notify("STOPPING=1")
    return 0


def _metrics(options: argparse.Namespace, folder: str) -> Metrics | None:
    """Raises UnitsyncError. A coordinator that a verb has started goes on without metrics if
    their address is wrong or cannot be had: the scripts are more important."""
    by_a_verb = options.ready_fd is not None
    try:
        settings = metrics_settings(options, os.environ)
        if settings is None and by_a_verb:
            settings = kept_metrics(folder)
        if settings is None:
            forget_metrics(folder)
            return None
        from unitsyncd.metrics.service import Metrics

        return Metrics(settings)
    except UnitsyncError as problem:
        if not by_a_verb:
            raise
        logger.error("{}; it goes on without; {}", problem, problem.hint)
        return None


def _log_level(named: str) -> str:
    """The level *named*, or the default. Raises UsageError."""
    named = named.lower()
    if named and named not in LOG_LEVELS:
        raise UsageError(f"UNITSYNC_LOG_LEVEL is {named!a}, not one of {', '.join(LOG_LEVELS)}")
    return named or "info"


def _become_its_user(endpoint: Endpoint) -> Endpoint:
    """Under sudo, become the invoking user for good, unless the folder belongs to root.
    Returns the endpoint for the user that we are then.

    That user may put links and other people's files into the folder, and may replace it at
    any time. So nothing there is done with the rights of root.
    """
    user = endpoints.serving_user(endpoint)
    if user != os.geteuid():
        name, group, _ = endpoints.account(user)
        try:
            os.initgroups(name, group)
            os.setgid(group)
            os.setuid(user)
        except OSError as exc:
            raise UnitsyncError(f"cannot become user {name}: {exc.strerror}") from None
    return endpoint._replace(user=os.geteuid())


def _log(endpoint: Endpoint, level: str, *, detached: bool) -> None:
    logger.remove()
    logger.add(endpoint.log, level=level, rotation="5 MB", retention=2, encoding="utf-8")
    if not detached:
        logger.add(sys.stderr, level=level, format="{time:HH:mm:ss} {level: <7} {message}")
