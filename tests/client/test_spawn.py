"""It is simply there: real processes that find no coordinator."""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import unitsyncd
from unitsync import Client, errors
from unitsync.link import absent, endpoint, spawn, spawn_lock

PATIENCE_S = 30.0
PING = "from unitsync import Client; print(Client().ping().pid)"


def ping(*before: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-c", PING],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


def folder(address: str) -> Path:
    return Path(address.removeprefix("ipc://")).parent


def test_the_first_verb_starts_one_and_the_next_finds_it(nobody_there: str) -> None:
    first, second = ping(), ping()
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    assert folder(nobody_there).stat().st_mode & 0o777 == 0o700


def test_exactly_one_however_many_race(nobody_there: str) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", PING], stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    pids = {racer.communicate(timeout=PATIENCE_S)[0] for racer in racers}
    assert len(pids) == 1
    assert pids.pop().strip().isdigit()


def test_threads_race_too(nobody_there: str) -> None:
    def ask(_: int) -> int:
        with Client() as client:
            return client.ping().pid

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(ask, range(20)))) == 1


def test_leaves_everything_of_its_caller_behind(
    nobody_there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "1")
    script = 'trap "" INT TERM HUP; umask 0; exec 9> lock; flock 9; "$@"'
    result = ping("sh", "-c", script, "sh", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    proc = Path("/proc", result.stdout.strip())
    status = dict(
        line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line
    )
    assert os.readlink(proc / "cwd") == "/"
    assert status["Umask"] == "0077"
    assert int(status["SigBlk"], 16) == 0
    ignored = int(status["SigIgn"], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert not ignored & 1 << number - 1
    fds = {int(fd.name): os.readlink(fd) for fd in (proc / "fd").iterdir()}
    assert [fds[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert str(tmp_path / "lock") not in fds.values()
    assert not [path for path in fds.values() if path.startswith("pipe:")]
    assert b"SECRET=1" not in (proc / "environ").read_bytes().split(b"\0")
    assert os.getsid(int(proc.name)) != os.getsid(0)


def test_what_its_caller_had_blocked_ends_it(nobody_there: str) -> None:
    """A verb within a program that holds signals back for a moment, as ``run`` does itself:
    a coordinator that had inherited that could not be ended but by SIGKILL."""
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
    result = subprocess.run(
        [sys.executable, "-c", f"{blocked}\n{PING}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 0, result.stderr
    pid = int(result.stdout)
    (mask,) = (
        int(line.split()[1], 16)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigBlk:")
    )
    assert mask == 0
    with open(os.pidfd_open(pid), "rb") as handle:
        os.kill(pid, signal.SIGTERM)
        assert select.select([handle], [], [], PATIENCE_S)[0]


def test_holds_no_pipe_of_its_caller(nobody_there: str) -> None:
    """``x=$(unitsync want a b)`` returns when the verb does."""
    began = time.monotonic()
    out = subprocess.check_output(
        ["sh", "-c", f"x=$({sys.executable} -c '{PING}'); echo $x"], text=True, timeout=PATIENCE_S
    )
    assert out.strip().isdigit()
    assert time.monotonic() - began < PATIENCE_S / 2


def test_lives_on_when_the_process_group_of_its_caller_is_killed(nobody_there: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{PING}\nimport sys; sys.stdout.flush(); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGKILL)
    with Client() as client:
        assert client.ping().pid == pid


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_a_caller_may_have_closed_its_standard_streams(nobody_there: str, closed: str) -> None:
    program = "from unitsync import Client; Client().want('a', 'b')"
    subprocess.run(
        ["sh", "-c", f'"$0" -c "{program}" {closed}', sys.executable],
        check=True,
        timeout=PATIENCE_S,
    )
    with Client() as client:
        assert client.status("a").name == "a"


def test_others_wait_while_one_starts_it_and_take_over_when_that_one_dies(
    nobody_there: str,
) -> None:
    place = endpoint.resolve()
    folder(nobody_there).mkdir(mode=0o700)
    with open(folder(nobody_there) / spawn_lock.NAME, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, "-c", PING], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            assert not endpoint.is_there(place)
            assert process.poll() is None
            time.sleep(0.05)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()


def test_says_so_when_it_takes_long(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spawn_lock, "SIGN_OF_LIFE_S", (0.1,))
    folder(nobody_there).mkdir(mode=0o700)
    with open(folder(nobody_there) / spawn_lock.NAME, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(0.5, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        with Client() as client:
            client.ping()
        release.join()
    assert capfd.readouterr().err == "unitsync: still starting the coordinator (0 s)\n"


def test_a_socket_that_was_left_behind_is_no_coordinator(nobody_there: str) -> None:
    killed = int(ping().stdout)
    os.kill(killed, signal.SIGKILL)
    assert (folder(nobody_there) / "coordinator.sock").exists()
    again = ping()
    assert again.returncode == 0, again.stderr
    assert int(again.stdout) != killed


def test_another_socket_name_in_the_same_folder_is_refused(nobody_there: str) -> None:
    ping()
    with pytest.raises(errors.Unreachable, match="holds the folder") as caught:
        Client(nobody_there.replace("coordinator.sock", "second.sock")).ping()
    assert f"serves {nobody_there}" in caught.value.message


def test_a_handover_in_a_folder_with_long_names(nobody_there: str) -> None:
    """A name that no socket can have is none."""
    home = folder(nobody_there)
    home.mkdir(mode=0o700)
    (home / ("long" * 30)).touch()
    (home / "plain").touch()
    held = os.open(home, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    release = threading.Timer(3.0, os.close, (held,))
    release.start()
    with Client() as client:
        assert client.ping().pid
    release.join()


# --- the lock, and who may start one ------------------------------------------------


@pytest.fixture
def locked(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor of the folder; nobody holds its lock."""
    monkeypatch.setattr(spawn_lock, "_kept", None)
    descriptor = spawn_lock.open_folder(str(short_path))
    yield descriptor
    spawn_lock.let_go()
    os.close(descriptor)


def is_free(folder: int) -> bool:
    lock = spawn_lock.take(folder)
    if lock is not None:
        os.close(lock)
    return lock is not None


def test_the_express_path_hands_its_lock_over(locked: int, short_path: Path) -> None:
    path, user = str(short_path), os.geteuid()
    assert spawn_lock.await_another(path, user, lambda: None, math.inf) is None
    kept = spawn_lock._kept
    assert kept is not None
    assert spawn_lock.take(locked) == kept
    assert not is_free(locked)
    os.close(kept)
    assert is_free(locked)


def test_a_lock_that_is_of_no_use_is_let_go(locked: int, short_path: Path) -> None:
    path, user = str(short_path), os.geteuid()
    assert spawn_lock.await_another(path, user, lambda: None, math.inf) is None
    spawn_lock.let_go()
    assert is_free(locked)
    assert spawn_lock.await_another(path, user, lambda: "link", math.inf) == "link"
    assert is_free(locked)


def test_who_finds_it_taken_waits_and_has_no_lock_when_the_time_is_up(
    locked: int, short_path: Path
) -> None:
    held = spawn_lock.take(locked)
    assert held is not None
    answers = iter([None, None, "link"])
    path, user = str(short_path), os.geteuid()
    assert spawn_lock.await_another(path, user, lambda: next(answers), math.inf) == "link"
    by = time.monotonic() + 0.05
    assert spawn_lock.await_another(path, user, lambda: None, by) is None
    assert spawn_lock._kept is None
    os.close(held)


def test_in_the_folder_of_another_user_nothing_is_locked(locked: int, short_path: Path) -> None:
    def connect() -> None:
        raise AssertionError("nor asked")

    assert spawn_lock.await_another(str(short_path), os.geteuid() + 1, connect, math.inf) is None
    assert os.listdir(short_path) == []


def test_patience_ends_without_a_time_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn_lock, "START_PATIENCE_S", 0.0)
    assert spawn_lock.Patience(math.inf).look() <= 0


def test_a_link_in_the_place_of_what_was_made_leads_nowhere(short_path: Path) -> None:
    target = short_path / "target"
    target.mkdir()
    target.chmod(0o751)
    (short_path / "made").symlink_to(target)
    with pytest.raises(OSError, match=r"made|fd"):
        spawn_lock._give_back(str(short_path / "made"), 0o700)
    assert target.stat().st_mode & 0o777 == 0o751


def test_a_folder_that_is_replaced_before_it_is_locked(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = endpoint.resolve()
    opened = spawn_lock.open_folder

    def open_and_replace(path: str) -> int:
        descriptor = opened(path)
        os.rename(path, f"{path}.old")
        os.symlink(f"{path}.old", path)
        return descriptor

    monkeypatch.setattr(spawn_lock, "open_folder", open_and_replace)
    with pytest.raises(errors.Unreachable, match="symbolic link"):
        spawn._try_lock(place)
    assert os.listdir(place.folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_in_the_folder_of_root_only_root_starts_one(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(nobody_there).mkdir(mode=0o700)
    place = endpoint.resolve()
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(absent.Absent, match="this user may not start it") as caught:
        spawn._try_lock(place)
    assert caught.value.hint == "start it as user root: unitsync serve"
    assert os.listdir(place.folder) == []


@pytest.mark.parametrize(
    ("report", "loads", "kind", "told", "hint"),
    [
        ("error: no room\nhint: make some", "", absent.Absent, "no room", "make some"),
        ("", "ImportError: zmq", absent.Absent, "ImportError: zmq", "see it fail"),
        ("", "", absent.NotYet, "it ended without a word", "see it fail"),
    ],
    ids=["it says why", "it cannot be loaded", "it was killed"],
)
def test_only_one_that_was_killed_is_tried_again(
    nobody_there: str,
    monkeypatch: pytest.MonkeyPatch,
    report: str,
    loads: str,
    kind: type[absent.Absent],
    told: str,
    hint: str,
) -> None:
    monkeypatch.setattr(spawn, "_why_it_ends", lambda patience: loads)
    problem = spawn._failed(endpoint.resolve(), report, spawn_lock.Patience(math.inf))
    assert type(problem) is kind
    assert problem.message == f"the coordinator did not start: {told}"
    assert hint in problem.hint


def test_turned_off(nobody_there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
    with pytest.raises(errors.Unreachable, match="turned off") as caught:
        Client().want("a", "b")
    assert "unitsync serve" in caught.value.hint
    assert not folder(nobody_there).exists()
    with Client(autostart=True) as client:
        client.want("a", "b")
    with Client(autostart=False) as client:
        client.want("a", "b")


def test_one_that_cannot_be_loaded_is_explained(nobody_there: str, tmp_path: Path) -> None:
    package = tmp_path / "unitsyncd"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libzmq is missing')")
    told = ping(env={**os.environ, "PYTHONPATH": str(tmp_path)}).stderr.splitlines()[-1]
    assert told == (
        "unitsync.errors.Unreachable: the coordinator did not start: ImportError: libzmq is missing"
    )


def test_a_relative_pythonpath_means_the_same_to_it(nobody_there: str) -> None:
    packages = {str(Path(module.__file__).parent.parent) for module in (endpoint, unitsyncd)}
    here = os.getcwd()
    relative = os.pathsep.join(os.path.relpath(path, here) for path in packages)
    environ = {**os.environ, "PYTHONPATH": relative}
    result = ping(env=environ)
    assert result.returncode == 0, result.stderr
    assert relative not in Path(f"/proc/{result.stdout.strip()}/environ").read_text()


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("UNITSYNC_ALLOW", "no-such-user-here"),
        ("UNITSYNC_LOG_LEVEL", "UNITSYNC_LOG_LEVEL is 'no-such-user-here', not one of trace"),
        ("UNITSYNC_MAX_UNITS", "UNITSYNC_MAX_UNITS is 'no-such-user-here'"),
    ],
)
def test_one_that_says_why_it_cannot_start_is_quoted(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch, variable: str, what: str
) -> None:
    monkeypatch.setenv(variable, "no-such-user-here")
    with pytest.raises(errors.Unreachable, match=what):
        Client().ping()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_under_sudo_it_is_the_invoking_users(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    place = folder(nobody_there)
    place.parent.chmod(0o1777)
    if not _can_run_us(65534):
        with pytest.raises(errors.Unreachable, match="Permission denied") as caught:
            Client().ping()
        assert "user nobody must be able to run" in caught.value.hint
        assert not place.exists()
        return
    with Client() as client:
        pid = client.ping().pid
    assert Path(f"/proc/{pid}").stat().st_uid == 65534
    for path in (place, *place.iterdir()):
        assert path.stat().st_uid == 65534, path


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_what_the_invoking_users_coordinator_says_is_quoted(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    folder(nobody_there).parent.chmod(0o755)  # where nobody can make the folder
    with pytest.raises(errors.Unreachable, match="Permission denied") as caught:
        Client().ping()
    assert "user nobody" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_an_invoking_user_that_there_is_not(
    nobody_there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "54321")
    with pytest.raises(errors.Unreachable, match="there is no user 54321") as caught:
        Client().ping()
    assert "SUDO_UID" in caught.value.hint


def _can_run_us(uid: int) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import unitsyncd.daemon"],
            user=uid,
            group=uid,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0
