"""Starting a coordinator: only one, however many callers race, and detached from all of them.
Imported only if there is none."""

import errno
import fcntl
import math
import os
import select
import signal
import site
import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from unitsync.link import endpoint as endpoints
from unitsync.link import spawn_lock
from unitsync.link.absent import Absent, NotYet
from unitsync.link.by_hand import PATH_BYTES_MAX
from unitsync.link.endpoint import Endpoint
from unitsync.link.spawn_lock import STILL_STARTING, Patience
from unitsync.modules.module_path import folders_of
from unitsync.text.printing import null

_LAUNCHER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")

_KEPT: Final = frozenset(
    (
        *("PATH", "HOME", "LANG", "LANGUAGE", "TZ"),
        # What Python needs to find itself and the packages.
        *("PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    )
)
_PACKAGES: Final = ("unitsync", "unitsyncd", "loguru", "msgspec", "zmq")


def start(endpoint: Endpoint, by: float = math.inf) -> None:
    """Return once a coordinator listens at *endpoint*, started here or by somebody else.

    Raises NotYet if none comes up by *by* (monotonic clock) or within START_PATIENCE_S, or
    if it was killed. Raises Absent, with the reason, if none can be started. Raises
    Unreachable or NotPermitted.
    """
    patience = Patience(by)
    user = endpoints.serving_user(endpoint)
    if user != os.geteuid():
        _start_as(user, endpoint, patience)
        return
    lock = None
    try:
        while lock is None:
            if endpoints.is_there(endpoint, by):
                return
            lock = _try_lock(endpoint)
            if lock is None:
                _rest(endpoint, patience)
        report = ""
        while not endpoints.is_there(endpoint, by):
            if report == "ready":
                _rest(endpoint, patience)
            elif report == "running":
                _await_handover(endpoint, patience)
            report = _spawn(endpoint, patience)
            if report not in ("ready", "running"):
                raise _failed(endpoint, report, patience)
    finally:
        if lock is not None:
            os.close(lock)


def trial(endpoint: Endpoint) -> None:
    """Return if a coordinator could be started at *endpoint* and make changes: one is started,
    tries everything that it needs, and ends. Raises Unreachable."""
    patience = Patience(math.inf)
    report = _spawn(endpoint, patience, "--trial")
    if report == "running":
        raise Absent(
            f"another coordinator holds the folder {endpoint.folder}",
            hint="one folder has one coordinator: is it reached by another socket name?",
        )
    if report != "ready":
        raise _failed(endpoint, report, patience)


def _rest(endpoint: Endpoint, patience: Patience) -> None:
    _look(endpoint, patience)
    patience.rest()


def _look(endpoint: Endpoint, patience: Patience) -> None:
    """Raises NotYet when there is no time left."""
    if patience.look() <= 0:
        spent = patience.spent  # without the time that the express path spent before
        within = f"within {spent:.0f} s" if spent >= 1 else "in time"
        raise NotYet(
            f"no coordinator came up at {endpoint.address} {within}",
            hint=f"look into {endpoint.log}",
            endpoint=endpoint.address,
        )


def _await_handover(endpoint: Endpoint, patience: Patience) -> None:
    """Another coordinator holds the folder but does not listen at *endpoint*. It is about to
    serve or about to end: give it a second. Raises Absent if it already serves under another
    name."""
    again = monotonic() + 1.0
    while monotonic() < again and not endpoints.is_there(endpoint):
        _rest(endpoint, patience)
    for name in os.listdir(endpoint.folder):
        other = os.path.join(endpoint.folder, name)
        fits = len(os.fsencode(other)) <= PATH_BYTES_MAX
        if other != endpoint.path and fits and endpoints.is_there(endpoint._replace(path=other)):
            raise Absent(
                f"another coordinator holds the folder {endpoint.folder}: it serves ipc://{other}",
                hint="one folder has one coordinator; name another one in UNITSYNC_ENDPOINT",
                endpoint=endpoint.address,
            )


def _start_as(user: int, endpoint: Endpoint, patience: Patience) -> None:
    """Let *user* start the coordinator. That user may put links and other users' files into
    the folder and replace it at any time. So nothing there is done with root's rights.

    Raises Absent, Unreachable or NotPermitted.
    """
    import subprocess
    import threading

    if not sys.executable:
        raise _no_interpreter(endpoint)
    name, group, home = endpoints.account(user)
    environ = {**_environment(os.environ), "HOME": home, "UNITSYNC_AUTOSTART": "1"}
    environ.pop("UNITSYNC_CODER_SHIM", None)
    last, error, hint = "", "", ""
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "unitsync", "ping", "--endpoint", endpoint.address],
            user=user,
            group=group,
            extra_groups=os.getgrouplist(name, group),
            env=environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as starter:
            assert starter.stderr is not None
            overdue = threading.Timer(patience.look(), starter.kill)
            overdue.start()
            for line in starter.stderr:
                last = line.strip()
                if last.startswith(STILL_STARTING) and sys.stderr is not None:
                    print(last, file=sys.stderr, flush=True)
                elif last.startswith("error: "):
                    error = last.removeprefix("error: ")
                elif last.startswith("hint: "):
                    hint = last.removeprefix("hint: ")
            overdue.cancel()
    except OSError as exc:
        last = f"{sys.executable}: {exc.strerror}"
    # See for ourselves whether there is one, rather than believe another user's process.
    if endpoints.is_there(endpoint):
        return
    _look(endpoint, patience)
    who = endpoints.user_name(user)
    if not error:
        error = f"the coordinator did not start: {last or 'it ended at once'}"
        hint = f"{who} must be able to run {sys.executable}"
    raise Absent(
        error, hint=hint or f"under sudo it is started as {who}", endpoint=endpoint.address
    )


def _try_lock(endpoint: Endpoint) -> int | None:
    """The descriptor that holds the spawn lock, or None while another process holds it."""
    found = endpoints.check_folder(endpoint)
    if found is not None and os.geteuid() not in (0, found.st_uid):
        raise Absent(
            f"no coordinator runs at {endpoint.address}, and this user may not start it",
            hint=f"start it as {endpoints.user_name(found.st_uid)}: unitsync serve",
            endpoint=endpoint.address,
        )
    try:
        folder = spawn_lock.open_folder(endpoint.folder)
        try:
            endpoints.check_folder(endpoint)
            return spawn_lock.take(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise endpoints.unusable(endpoint, exc) from None


def _spawn(endpoint: Endpoint, patience: Patience, *options: str) -> str:
    """Start a coordinator process. Returns the line that it reports, "" if it ended without.
    Raises Absent, NotYet."""
    if not sys.executable:
        raise _no_interpreter(endpoint)
    endpoints.check_open_files()
    opened: list[int] = []
    try:
        opened += os.pipe()
        opened[1] = _above_stdio(opened[1])
        opened.append(null())
        opened[2] = _above_stdio(opened[2])
        launched = _launch(endpoint, opened[1], opened[2], options)
    except OSError as exc:
        for descriptor in opened[:1]:
            os.close(descriptor)
        raise _cannot_launch(endpoint, exc) from None
    except BaseException:
        os.close(opened[0])
        raise
    finally:
        for descriptor in opened[1:]:
            os.close(descriptor)
    read = opened[0]
    try:
        report = b""
        poll = select.poll()
        poll.register(read, select.POLLIN)
        while not report.endswith(b"\n"):
            if poll.poll(patience.next_look() * 1000 + 1):
                more = os.read(read, 4096)
                if not more:
                    break
                report += more
            else:
                _look(endpoint, patience)
        return report.decode("utf-8", "replace").strip()
    finally:
        os.close(read)
        _reap(launched)


def _reap(launcher: int) -> None:
    """End and reap the *launcher*. Unless it hangs, it has started the coordinator and ended."""
    try:
        if os.waitpid(launcher, os.WNOHANG) == (0, 0):
            os.kill(launcher, signal.SIGKILL)
            os.waitpid(launcher, 0)
    except ChildProcessError:
        pass  # the caller reaps its children itself


def _cannot_launch(endpoint: Endpoint, exc: OSError) -> Absent:
    what = {
        errno.EAGAIN: "there may be no more processes: raise ulimit -u (TasksMax=)",
        errno.ENOMEM: "there is no memory left: ulimit -v, or the limit of the control group",
        errno.EMFILE: "this process may open no more files: raise ulimit -n (LimitNOFILE=)",
    }
    return Absent(
        f"no coordinator could be started: {sys.executable}: {exc.strerror}",
        hint=what.get(exc.errno or 0, "see whether this Python can be run: unitsync serve"),
        endpoint=endpoint.address,
    )


def _launch(endpoint: Endpoint, report_fd: int, null_fd: int, options: Sequence[str]) -> int:
    """Start the launcher, which runs link/launch.py and ends at once. Returns its pid."""
    return os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            *("-I", "-S", _LAUNCHER),
            *(sys.executable, "-P", "-m", "unitsyncd", "--endpoint", endpoint.address, *options),
        ],
        _environment(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, null_fd, 0),
            (os.POSIX_SPAWN_DUP2, report_fd, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsigmask=(),
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(("UNITSYNC_", "OTEL_", "LC_"))
    }
    if sys.flags.ignore_environment:  # as in the shim: the script's variable is not meant for us
        kept.pop("PYTHONHOME", None)
    # Without the folders in which every Python looks: in PYTHONPATH their other contents would
    # come before Python's own modules.
    usual = {os.path.abspath(folder) for folder in site.getsitepackages()}
    folders = [folder for folder in folders_of(_PACKAGES) if folder not in usual]
    if folders:
        kept["PYTHONPATH"] = os.pathsep.join(folders)
    return kept


def _above_stdio(fd: int) -> int:
    """*fd*, moved to 3 or higher: it may be 0 to 2 if the caller had closed those."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _failed(endpoint: Endpoint, report: str, patience: Patience) -> Absent:
    why, _, hint = report.partition("\n")
    why = why.removeprefix("error:").strip() or _why_it_ends(patience)
    hint = hint.removeprefix("hint:").strip()
    log = f"look into {endpoint.log}, or " if os.path.exists(endpoint.log) else ""
    return (Absent if why else NotYet)(
        f"the coordinator did not start: {why or 'it ended without a word'}",
        hint=hint or f"{log}see it fail: unitsync serve; limits may be too low: ulimit -a",
        endpoint=endpoint.address,
    )


def _why_it_ends(patience: Patience) -> str:
    """Python's last words if it cannot load the coordinator. "" if it can: then it was killed."""
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import unitsyncd.daemon"],
            stdin=subprocess.PIPE,
            capture_output=True,
            env=_environment(os.environ),
            cwd="/",
            timeout=max(0.1, patience.look()),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if done.returncode > 0 and lines else ""


def _no_interpreter(endpoint: Endpoint) -> Absent:
    return Absent(
        "no coordinator runs, and this Python does not know its own executable to start one",
        hint="start it: unitsync serve",
        endpoint=endpoint.address,
    )
