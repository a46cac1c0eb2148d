"""Starting a coordinator: once, however many callers race, and detached from all of
them. Imported only where there is none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Final

from unitsync import endpoint as endpoints
from unitsync import errors
from unitsync.endpoint import Endpoint

LOCK_NAME: Final = "spawn.lock"
START_PATIENCE_S: Final = 60.0
"""How long a new coordinator may take until it serves: a machine that is starting
reads Python and libzmq from a cold disk while everything else does the same."""
HANDOVER_PATIENCE_S: Final = 10.0
"""How long another coordinator may hold the folder without answering: it is about to
serve, or about to end."""
ENDS_AT_ONCE_MAX: Final = 3
"""So many coordinators may be ready and then gone again."""
_SIGN_OF_LIFE_S: Final = (2.0, 10.0, 30.0)
_LOOK_EVERY_S: Final = 0.02
_STILL_STARTING: Final = "still starting the coordinator"
_LAUNCHER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_launch.py")

_KEPT: Final = frozenset(
    (
        *("PATH", "HOME", "LANG", "LANGUAGE", "TZ"),
        # what Python needs to find itself and the packages
        *("PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    )
)


_PACKAGES: Final = ("unitsync", "unitsyncd", "loguru", "msgspec", "zmq")


def start(place: Endpoint) -> None:
    """Return once a coordinator listens at *place*, started here or by somebody else.

    Raises Unreachable or NotPermitted.
    """
    user = endpoints.serving_user(place)
    if user != os.geteuid():
        _start_as(user, place)
        return
    waiting = _Patience(place)
    lock = None
    try:
        while lock is None:
            if endpoints.is_there(place):
                return
            lock = _try_lock(place)
            if lock is None:
                waiting.wait()
        others_since = None
        gone = 0
        while not endpoints.is_there(place):
            report = _spawn(place, waiting)
            if report == "ready" and gone < ENDS_AT_ONCE_MAX:
                gone += 1
                continue
            if report != "running":
                raise _failed(place, report)
            # It holds the folder already, but is not there yet or no longer there.
            now = monotonic()
            others_since = others_since or now
            if now - others_since > HANDOVER_PATIENCE_S:
                raise errors.Unreachable(
                    f"another coordinator holds the folder {place.folder} but does not "
                    f"answer at {place.address}",
                    hint="one folder has one coordinator: is it reached by another socket "
                    "name, or does it hang?",
                    endpoint=place.address,
                )
            again = now + 1.0
            while monotonic() < again and not endpoints.is_there(place):
                waiting.wait()
    finally:
        if lock is not None:
            os.close(lock)


def trial(place: Endpoint) -> None:
    """Return if a coordinator could be started at *place* and would make changes: one is
    started as always, tries all that it needs, and ends. Raises Unreachable."""
    report = _spawn(place, _Patience(place), "--trial")
    if report == "running":
        raise errors.Unreachable(
            f"another coordinator holds the folder {place.folder}",
            hint="one folder has one coordinator: is it reached by another socket name?",
        )
    if report != "ready":
        raise _failed(place, report)


def _start_as(user: int, place: Endpoint) -> None:
    """Let *user* start it. That user may put links and the files of others into the folder
    and replace it at any time: nothing there is done with the rights of root.

    Raises Unreachable or NotPermitted.
    """
    import subprocess

    if not sys.executable:
        raise _no_interpreter(place)
    name, group, home = endpoints.account(user)
    environ = {**_environment(os.environ), "HOME": home, "UNITSYNC_AUTOSTART": "1"}
    environ.pop("UNITSYNC_CODER_SHIM", None)
    last, error, hint = "", "", ""
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "unitsync", "ping", "--endpoint", place.address],
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
            for line in starter.stderr:
                last = line.strip()
                if last.startswith(_STILL_STARTING) and sys.stderr is not None:
                    print(last, file=sys.stderr, flush=True)
                elif last.startswith("error: "):
                    error = last.removeprefix("error: ")
                elif last.startswith("hint: "):
                    hint = last.removeprefix("hint: ")
    except OSError as exc:
        last = f"{sys.executable}: {exc.strerror}"
    # Whether there is one is not for a process of another user to say.
    if endpoints.is_there(place):
        return
    who = endpoints.user_name(user)
    if not error:
        error = f"the coordinator did not start: {last or 'it ended at once'}"
        hint = f"{who} must be able to run {sys.executable}"
    raise errors.Unreachable(
        error, hint=hint or f"under sudo it is started as {who}", endpoint=place.address
    )


class _Patience:
    """Counts the time spent on starting; says so on stderr when it becomes long."""

    def __init__(self, place: Endpoint) -> None:
        self._place = place
        self._since = monotonic()
        self._signs = list(_SIGN_OF_LIFE_S)

    def look(self) -> float:
        """The seconds left. Raises Unreachable when there are none."""
        spent = monotonic() - self._since
        if self._signs and spent >= self._signs[0]:
            del self._signs[0]
            if sys.stderr is not None:
                print(f"{_STILL_STARTING} ({spent:.0f} s)", file=sys.stderr, flush=True)
        if spent >= START_PATIENCE_S:
            raise errors.Unreachable(
                f"no coordinator came up at {self._place.address} within {spent:.0f} s",
                hint=f"look into {self._place.log}",
                endpoint=self._place.address,
            )
        return START_PATIENCE_S - spent

    def wait(self) -> None:
        self.look()
        sleep(_LOOK_EVERY_S)

    def next_look(self) -> float:
        """Seconds until there is something to say or to raise."""
        left = self.look()
        spent = START_PATIENCE_S - left
        return min(left, self._signs[0] - spent) if self._signs else left


def _try_lock(place: Endpoint) -> int | None:
    """The descriptor that holds the spawn lock, None while another process holds it."""
    folder = _open_folder(place)
    try:
        lock = _open_lock(folder)
    except PermissionError:
        raise errors.NotPermitted(
            f"no permission to start a coordinator in {place.folder}",
            hint=f"start it as {endpoints.user_name(os.fstat(folder).st_uid)}: unitsync serve",
        ) from None
    except OSError as exc:
        raise endpoints.unusable(place, exc) from None
    finally:
        os.close(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _open_lock(folder: int) -> int:
    """Raises OSError. Reading is enough to hold it, and whatever the umask took away when
    it was made is given back to its user."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(LOCK_NAME, flags, 0o600, dir_fd=folder)
    except PermissionError:
        if os.stat(LOCK_NAME, dir_fd=folder, follow_symlinks=False).st_uid != os.geteuid():
            raise
        _give_back(LOCK_NAME, 0o600, dir_fd=folder)
        lock = os.open(LOCK_NAME, flags, 0o600, dir_fd=folder)
    return lock


def _make_folders(path: str) -> None:
    """*path* with mode 0700, and what is missing above it; usable by their user whatever
    the umask is. Raises OSError, FileExistsError only for *path* itself."""
    if not os.path.exists(above := os.path.dirname(path)):
        with contextlib.suppress(FileExistsError):
            _make_folders(above)
        _give_back(above, 0o755, os.O_DIRECTORY)
    os.mkdir(path, 0o700)
    _give_back(path, 0o700, os.O_DIRECTORY)


def _give_back(path: str, mode: int, flags: int = 0, dir_fd: int | None = None) -> None:
    """Let what we have made just now have *mode*. By a descriptor that needs no permission:
    in its place may be a link by now."""
    flags |= os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    found = os.open(path, flags, dir_fd=dir_fd)
    try:
        state = os.fstat(found)
        if state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) != mode:
            os.chmod(f"/proc/self/fd/{found}", mode)
    finally:
        os.close(found)


def _open_folder(place: Endpoint) -> int:
    """A descriptor of the endpoint's folder, made 0700 where missing."""
    try:
        if endpoints.check_folder(place) is None:
            try:
                _make_folders(place.folder)
            except FileExistsError:
                endpoints.check_folder(place)
        folder = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as exc:
        raise endpoints.unusable(place, exc) from None
    return folder


def _spawn(place: Endpoint, waiting: _Patience, *options: str) -> str:
    """Start a coordinator process; the line it reports, "" if it ended without one.

    Raises Unreachable.
    """
    if not sys.executable:
        raise _no_interpreter(place)
    endpoints.check_open_files()
    opened: list[int] = []
    try:
        opened += os.pipe()
        opened[1] = _above_stdio(opened[1])
        opened.append(_null())
        opened[2] = _above_stdio(opened[2])
        launched = _launch(place, opened[1], opened[2], options)
    except OSError as exc:
        for descriptor in opened[:1]:
            os.close(descriptor)
        raise _cannot_launch(place, exc) from None
    except BaseException:
        os.close(opened[0])
        raise
    finally:
        for descriptor in opened[1:]:
            os.close(descriptor)
    read = opened[0]
    try:
        try:
            os.waitpid(launched, 0)  # ends at once: it leaves the coordinator behind
        except ChildProcessError:
            pass  # the caller reaps its children itself
        report = b""
        poll = select.poll()
        poll.register(read, select.POLLIN)
        while not report.endswith(b"\n"):
            if poll.poll(waiting.next_look() * 1000 + 1):
                more = os.read(read, 4096)
                if not more:
                    break
                report += more
            waiting.look()
        return report.decode("utf-8", "replace").strip()
    finally:
        os.close(read)


def _null() -> int:
    """/dev/null, or where there is none something else that takes all and gives nothing."""
    try:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return os.memfd_create("null")


def _cannot_launch(place: Endpoint, exc: OSError) -> errors.Unreachable:
    what = {
        errno.EAGAIN: "there may be no more processes: raise ulimit -u (TasksMax=)",
        errno.ENOMEM: "there is no memory left: ulimit -v, or the limit of the control group",
        errno.EMFILE: "this process may open no more files: raise ulimit -n (LimitNOFILE=)",
    }
    return errors.Unreachable(
        f"no coordinator could be started: {sys.executable}: {exc.strerror}",
        hint=what.get(exc.errno or 0, "see whether this Python can be run: unitsync serve"),
        endpoint=place.address,
    )


def _launch(place: Endpoint, report_fd: int, null: int, options: Sequence[str]) -> int:
    """The pid of the launcher, which reads _launch.py and ends at once."""
    return os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            *("-I", "-S", _LAUNCHER),
            *(sys.executable, "-P", "-m", "unitsyncd", "--endpoint", place.address, *options),
        ],
        _environment(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0),
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
        if name in _KEPT or name.startswith(("UNITSYNC_", "LC_"))
    }
    if sys.flags.ignore_environment:  # as the shim is run: what a script has set is not ours
        kept.pop("PYTHONHOME", None)
    if path := os.pathsep.join(_folders_of_packages()):
        kept["PYTHONPATH"] = path
    return kept


def _folders_of_packages() -> list[str]:
    """Where this process has found what a coordinator loads, wherever it was told to look
    (PYTHONPATH, PYTHONUSERBASE, sys.path); less where any Python looks, so that nothing
    else that is there comes before Python's own."""
    import site
    from importlib.util import find_spec

    found: list[str] = []
    for name in _PACKAGES:
        spec = find_spec(name)
        places = (spec.submodule_search_locations or ()) if spec is not None else ()
        found += [os.path.dirname(os.path.abspath(place)) for place in places]
    usual = {os.path.abspath(folder) for folder in site.getsitepackages()}
    return list(dict.fromkeys(folder for folder in found if folder not in usual))


def _above_stdio(fd: int) -> int:
    """*fd* moved out of the way of 0 to 2, which a caller may have closed."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _failed(place: Endpoint, report: str) -> errors.Unreachable:
    why, _, hint = report.partition("\n")
    why = why.removeprefix("error:").strip()
    if not why:
        why = _why_it_ends()
    if why in ("", "ready"):
        why = "it ended at once"
    hint = hint.removeprefix("hint:").strip()
    return errors.Unreachable(
        f"the coordinator did not start: {why}",
        hint=hint or _where_to_look(place),
        endpoint=place.address,
    )


def _where_to_look(place: Endpoint) -> str:
    log = f"look into {place.log}, or " if os.path.exists(place.log) else ""
    return f"{log}see it fail: unitsync serve; limits may be too low: ulimit -a"


def _why_it_ends() -> str:
    """The last line of what Python says about a coordinator that it cannot load."""
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import unitsyncd.daemon"],
            stdin=subprocess.PIPE,
            capture_output=True,
            env=_environment(os.environ),
            cwd="/",
            timeout=START_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if done.returncode and lines else ""


def _no_interpreter(place: Endpoint) -> errors.Unreachable:
    return errors.Unreachable(
        "no coordinator runs, and this Python does not know its own executable to start one",
        hint="start it: unitsync serve",
        endpoint=place.address,
    )
