"""Starting a coordinator: once, however many callers race, and detached from all of
them. Imported only where there is none."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from collections.abc import Mapping
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
_LAUNCHER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_launch.py")

_KEPT: Final = frozenset(
    (
        *("PATH", "HOME", "LANG", "LANGUAGE", "TZ"),
        # what Python needs to find itself and the packages
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    )
)


def start(place: Endpoint) -> None:
    """Return once a coordinator listens at *place*, started here or by somebody else.

    Raises Unreachable or NotPermitted.
    """
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
                print(
                    f"still starting the coordinator ({spent:.0f} s)", file=sys.stderr, flush=True
                )
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
        # The lock must be openable by the folder's owner, whoever comes first.
        lock = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        owner = os.fstat(folder)
        if os.geteuid() == 0 and os.fstat(lock).st_uid != owner.st_uid:
            os.fchown(lock, owner.st_uid, owner.st_gid)
    except PermissionError:
        raise errors.NotPermitted(
            f"no permission to start a coordinator in {place.folder}",
            hint=f"start it as {endpoints.user_name(os.fstat(folder).st_uid)}: unitsync serve",
        ) from None
    except OSError as exc:
        raise _unusable(place, exc) from None
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


def _open_folder(place: Endpoint) -> int:
    """A descriptor of the endpoint's folder, made 0700 for its user where missing."""
    made = False
    group = -1 if place.user == os.geteuid() else _account(place.user)[1]
    try:
        if endpoints.check_folder(place) is None:
            os.makedirs(os.path.dirname(place.folder), exist_ok=True)
            try:
                os.mkdir(place.folder, 0o700)
                made = True
            except FileExistsError:
                endpoints.check_folder(place)
        folder = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if made:
            os.fchmod(folder, 0o700)
            if place.user != os.geteuid():
                os.fchown(folder, place.user, group)
    except OSError as exc:
        raise _unusable(place, exc) from None
    return folder


def _spawn(place: Endpoint, waiting: _Patience) -> str:
    """Start a coordinator process; the line it reports, "" if it ended without one."""
    if not sys.executable:
        raise errors.Unreachable(
            "no coordinator runs, and this Python does not know its own executable to start one",
            hint="start it: unitsync serve",
            endpoint=place.address,
        )
    read, write = os.pipe()
    try:
        write = _above_stdio(write)
        launched = _launch(place, write)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
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


def _launch(place: Endpoint, report_fd: int) -> int:
    """The pid of the launcher, which reads _launch.py and ends at once."""
    folder_owner = os.stat(place.folder).st_uid
    identity, home = "", None
    if folder_owner != os.geteuid():
        name, gid, home = _account(folder_owner)
        identity = f"{folder_owner}:{gid}:{name}"
    return os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            *("-I", "-S", _LAUNCHER, identity),
            *(sys.executable, "-P", "-m", "unitsyncd", "--endpoint", place.address),
        ],
        _environment(os.environ, home),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, report_fd, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsigmask=(),
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _environment(environ: Mapping[str, str], home: str | None) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(("UNITSYNC_", "LC_"))
    }
    if path := kept.get("PYTHONPATH"):  # its own working directory is /
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    if home is not None:
        kept["HOME"] = home
    return kept


def _account(uid: int) -> tuple[str, int, str]:
    """Name, group and home of *uid*. Raises Unreachable if nobody has it."""
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise errors.Unreachable(
            f"no coordinator runs, and there is no user {uid} to start one as",
            hint="start it: unitsync serve",
        ) from None
    return entry.pw_name, entry.pw_gid, entry.pw_dir


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
    owner = os.stat(place.folder).st_uid
    if not hint and owner != os.geteuid():
        hint = f"{endpoints.user_name(owner)} must be able to run {sys.executable}"
    return errors.Unreachable(
        f"the coordinator did not start: {why}",
        hint=hint or f"look into {place.log}, or see it fail: unitsync serve",
        endpoint=place.address,
    )


def _why_it_ends() -> str:
    """The last line of what Python says about a coordinator that it cannot load."""
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import unitsyncd.daemon"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(os.environ, None),
            cwd="/",
            timeout=START_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if done.returncode and lines else ""


def _unusable(place: Endpoint, exc: OSError) -> errors.Unreachable:
    return errors.Unreachable(
        f"cannot use the folder {place.folder}: {exc.strerror}", endpoint=place.address
    )
