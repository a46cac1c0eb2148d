"""Where a coordinator serves, who may talk to it, and how it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import PATIENCE_S, Daemon, Daemons, Sockets, as_user, output_as
from support.figures import figures_of
from support.poll import eventually
from support.users import HUNG_UP, NOBODY, as_root
from unitsync import errors, wire
from unitsync.clients import owner
from unitsync.link.endpoint import is_held, resolve
from unitsyncd.system.folder_lock import FolderLock

CONNECT = """
import socket
try:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(sys.argv[1])
        print("connected")
except OSError as exc:
    print(exc.strerror)
"""


# --- who may talk -----------------------------------------------------------------


@as_root
def test_another_user_can_not_even_connect(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready()
    assert output_as(NOBODY, CONNECT, str(daemon.path)) == "Permission denied"
    assert daemon.path.parent.stat().st_mode & 0o777 == 0o700
    assert daemon.path.stat().st_mode & 0o777 == 0o600
    for path in daemon.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    # Also where the modes are not what they should be.
    daemon.path.parent.chmod(0o711)
    daemon.path.chmod(0o666)
    assert output_as(NOBODY, HUNG_UP, str(daemon.path)) == "True"
    assert isinstance(sockets.req(daemon.endpoint).ask(wire.Ping(id="")), wire.Pong)


def test_whom_to_allow_must_exist(daemons: Daemons) -> None:
    daemon = daemons("--allow", "no-such-user-at-all")
    wrong = "'no-such-user-at-all'"
    assert daemon.report[0] == f"error: there is no user or group {wrong} to be allowed"
    assert "UNITSYNC_ALLOW" in daemon.report[1]
    assert daemon.end()[0] == 2


# --- the folder -------------------------------------------------------------------


def refused(daemon: Daemon, *parts: str) -> None:
    """It has ended with 69 and an error that says all of *parts*."""
    status, said = daemon.end()
    assert status == 69, said
    assert daemon.report[0].startswith("error: ")
    for part in parts:
        assert part in daemon.report[0]
    assert "Traceback" not in said


def test_the_folder_is_made_and_is_ours_alone(daemons: Daemons) -> None:
    old = os.umask(0)
    try:
        daemon = daemons.ready(endpoint=f"ipc://{daemons.folder}/some/where/coordinator.sock")
    finally:
        os.umask(old)
    assert daemon.path.parent.stat().st_mode & 0o777 == 0o700
    assert daemon.path.is_socket()


def test_a_folder_that_is_a_link(daemons: Daemons) -> None:
    (daemons.folder / "real").mkdir(0o700)
    (daemons.folder / "c").symlink_to("real")
    refused(daemons(), "symbolic link", f"{daemons.folder}/c")
    assert list((daemons.folder / "real").iterdir()) == []


def test_a_folder_that_is_none(daemons: Daemons) -> None:
    (daemons.folder / "c").write_text("mine")
    refused(daemons(), f"{daemons.folder}/c")
    assert (daemons.folder / "c").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o707, 0o1777])
def test_a_folder_that_is_open_to_others(daemons: Daemons, mode: int) -> None:
    folder = daemons.folder / "c"
    folder.mkdir()
    folder.chmod(mode)
    refused(daemons(), "other users have access to it", f"mode {mode:04o}")
    assert folder.stat().st_mode & 0o7777 == mode
    assert list(folder.iterdir()) == []


@as_root
def test_a_folder_of_somebody_else(daemons: Daemons) -> None:
    folder = daemons.folder / "c"
    folder.mkdir(0o700)
    os.chown(folder, NOBODY, NOBODY)
    refused(daemons(), "it belongs to user nobody, not to user root")


READ_ONLY = """
mount -t tmpfs -o mode=700 tmpfs "$1" && mkdir -m "$2" "$1/c" && mount -o remount,ro "$1" &&
exec "$3" -P -m unitsyncd --endpoint "ipc://$1/c/coordinator.sock"
"""


@as_root
@pytest.mark.parametrize("mode", ["700", "500"])
def test_a_file_system_that_is_read_only(daemons: Daemons, mode: str) -> None:
    """In a mount namespace of its own, so that it goes with it."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    arguments = ["_", str(daemons.folder), mode, sys.executable]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", READ_ONLY, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    first, *more = done.stderr.splitlines()
    assert (done.returncode, first) == (
        69,
        f"error: cannot use the folder {daemons.folder}/c: Read-only file system",
    ), done.stderr
    assert len(more) == 1
    assert more[0].startswith("hint: user root must be able to make and use it")


def test_a_socket_that_was_left_behind_is_taken_over(daemons: Daemons, sockets: Sockets) -> None:
    first = daemons.ready()
    first.kill()
    assert first.path.is_socket()
    second = daemons.ready()
    assert isinstance(sockets.req(second.endpoint).ask(wire.Ping(id="")), wire.Pong)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(daemons: Daemons, kind: str) -> None:
    """An endpoint that names somebody's file by mistake costs nobody that file."""
    folder = daemons.folder / "c"
    folder.mkdir(0o700)
    there = folder / "coordinator.sock"
    match kind:
        case "file":
            there.write_text("precious")
        case "folder":
            there.mkdir()
        case _:
            (folder / "target").write_text("precious")
            there.symlink_to("target")
    refused(daemons(), str(there), "not a socket")
    match kind:
        case "file":
            assert there.read_text() == "precious"
        case "folder":
            assert there.is_dir()
        case _:
            assert there.read_text() == "precious"


@pytest.mark.parametrize(
    ("endpoint", "what"),
    [
        ("tcp://127.0.0.1:1", "only ipc://"),
        ("/run/x.sock", "is not an endpoint"),
        ("ipc://relative/x.sock", "absolute path"),
        ("ipc:///tmp/" + "x" * 120, "at most 107"),
        ("ipc:///tmp/", "absolute path of a socket"),
        ("ipc:///tmp/caf\udce9/c.sock", "'ipc:///tmp/caf\\udce9/c.sock': it is not UTF-8"),
    ],
)
def test_what_is_no_endpoint(daemons: Daemons, endpoint: str, what: str) -> None:
    daemon = daemons(endpoint=endpoint)
    assert what in daemon.report[0]
    assert daemon.end()[0] == 2


def test_one_folder_has_one_coordinator(daemons: Daemons, sockets: Sockets) -> None:
    first = daemons.ready()
    second = daemons()
    assert second.report == ["running"]
    status, said = second.end()
    assert status == 1
    assert said.splitlines()[0] == f"error: a coordinator already serves {first.endpoint}"
    third = daemons(endpoint=f"ipc://{first.path.parent}/another.sock")
    assert third.report == ["running"]
    assert isinstance(sockets.req(first.endpoint).ask(wire.Ping(id="")), wire.Pong)


@pytest.mark.parametrize("how", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_who_only_looks_at_the_folder_is_waited_for(daemons: Daemons, how: int) -> None:
    """``doctor``, and one that is about to end."""
    folder = daemons.folder / "c"
    folder.mkdir(mode=0o700)
    looking = os.open(folder, os.O_RDONLY)
    fcntl.flock(looking, how)
    release = threading.Timer(0.3, os.close, (looking,))
    release.start()
    daemons.ready()
    release.join()


def test_no_user_has_a_number_beyond_all_users(daemons: Daemons) -> None:
    daemon = daemons("--allow", "99999999999")
    assert "there is no user or group '99999999999'" in daemon.report[0]


# --- the place by itself ------------------------------------------------------------


@pytest.fixture
def folder_lock(daemons: Daemons) -> Iterator[FolderLock]:
    taken = FolderLock(resolve(daemons.endpoint))
    yield taken
    taken.leave()


@pytest.mark.parametrize(("shared", "mode"), [(False, 0o600), (True, 0o666)])
def test_who_may_connect(folder_lock: FolderLock, shared: bool, mode: int) -> None:
    before = os.umask(0)
    try:
        folder_lock.open_to_others(shared)
        os.close(folder_lock.listen(1))
        assert os.umask(0) == 0, "the umask is what it was"
    finally:
        os.umask(before)
    folder_lock.appear()
    assert os.stat(folder_lock.endpoint.path).st_mode & 0o777 == mode
    assert os.stat(folder_lock.endpoint.folder).st_mode & 0o777 == (0o711 if shared else 0o700)


def test_what_an_earlier_one_has_left_is_cleared_away(folder_lock: FolderLock) -> None:
    """Clients would be told that it is full, or was stopped."""
    for left in (folder_lock.endpoint.full, folder_lock.endpoint.path):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(left)
    Path(folder_lock.endpoint.stopped).touch()
    os.close(folder_lock.listen(1))
    assert os.listdir(folder_lock.endpoint.folder) == ["coordinator.sock.new"]


def test_what_is_no_socket_in_the_place_of_a_full_one(folder_lock: FolderLock) -> None:
    full = Path(folder_lock.endpoint.full)
    full.write_text("precious")
    with pytest.raises(errors.Unreachable, match=f"{full} is in the way"):
        folder_lock.listen(1)
    assert full.read_text() == "precious"


def test_a_hidden_socket_is_still_ours(folder_lock: FolderLock) -> None:
    os.close(folder_lock.listen(1))
    folder_lock.appear()
    for hidden in (True, False):
        assert folder_lock.hide(hidden)
        assert os.path.exists(folder_lock.endpoint.full) is hidden
        assert folder_lock.is_ours()
    folder_lock.hide(True)
    folder_lock.end()
    assert not os.path.exists(folder_lock.endpoint.full)
    assert folder_lock.hide(False), "where the socket is gone there is nothing to do again"
    assert not folder_lock.is_ours()


@pytest.mark.parametrize("replaced", ["socket", "folder"])
def test_what_is_in_its_place_is_not_ours(folder_lock: FolderLock, replaced: str) -> None:
    os.close(folder_lock.listen(1))
    folder_lock.appear()
    path, home = Path(folder_lock.endpoint.path), Path(folder_lock.endpoint.folder)
    if replaced == "socket":
        path.rename(home / "old")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    else:
        home.rename(home.with_name("old"))
        home.mkdir(0o700)
        (home.with_name("old") / path.name).rename(path)
    assert not folder_lock.is_ours()


def test_it_is_held_until_it_is_left(daemons: Daemons) -> None:
    taken = FolderLock(resolve(daemons.endpoint))
    assert is_held(taken.endpoint)
    taken.leave()
    assert not is_held(taken.endpoint)
    shutil.rmtree(taken.endpoint.folder)
    assert not is_held(taken.endpoint)


@pytest.mark.parametrize("for_good", [True, False])
def test_an_end_for_good_leaves_a_note(folder_lock: FolderLock, for_good: bool) -> None:
    os.close(folder_lock.listen(1))
    folder_lock.appear()
    folder_lock.end(for_good=for_good)
    assert os.path.exists(folder_lock.endpoint.stopped) is for_good


def test_a_folder_that_is_replaced_after_it_was_looked_at(
    daemons: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.system.folder_lock.check_folder", lambda _: os.stat("/"))
    with pytest.raises(errors.Unreachable, match="was replaced"):
        FolderLock(resolve(daemons.endpoint))


# --- its end ----------------------------------------------------------------------


def waits(sockets: Sockets, daemon: Daemon) -> list[object]:
    """Clients whose wait and start are held back."""
    waiting = [sockets.dealer(daemon.endpoint) for _ in range(3)]
    for dealer in waiting:
        dealer.send(wire.Wait(id="w", units=["never"], patience_s=30.0))
        dealer.send(wire.Start(id="s", unit="mine", after=["never"], patience_s=30.0))
        dealer.send(wire.Ping(id="p"))
        assert dealer.told().id == "p"
    return list(waiting)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_those_who_wait(
    daemons: Daemons, sockets: Sockets, number: signal.Signals
) -> None:
    daemon = daemons.ready()
    waiting = waits(sockets, daemon)
    daemon.signal(number)
    for dealer in waiting:
        for _ in range(2):
            reply = dealer.told()  # type: ignore[attr-defined]
            assert isinstance(reply, wire.Error)
            assert (reply.code, reply.exit) == ("stopped", 69)
            assert number.name in reply.message
    assert daemon.end()[0] == 0
    assert not daemon.path.exists()


def test_stop_answers_those_who_wait(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready()
    waiting = waits(sockets, daemon)
    assert isinstance(sockets.req(daemon.endpoint).ask(wire.Stop(id="x")), wire.Ok)
    for dealer in waiting:
        assert dealer.told().exit == 69  # type: ignore[attr-defined]
    assert daemon.end() == (0, "")


@pytest.mark.parametrize("how", ["socket removed", "folder removed", "folder replaced"])
def test_without_its_place_it_ends(daemons: Daemons, sockets: Sockets, how: str) -> None:
    """It looks each second, and sends its clients away."""
    daemon = daemons.ready()
    waiting = waits(sockets, daemon)
    match how:
        case "socket removed":
            daemon.path.unlink()
        case "folder removed":
            shutil.rmtree(daemon.path.parent)
        case _:
            daemon.path.parent.rename(daemons.folder / "moved")
            daemon.path.parent.mkdir(0o700)
    for dealer in waiting:
        reply = dealer.told()  # type: ignore[attr-defined]
        assert isinstance(reply, wire.Error)
        assert (reply.code, reply.exit) == ("state_changed", 69)
    assert daemon.end()[0] == 0


def test_a_socket_that_goes_at_the_last_moment(daemons: Daemons) -> None:
    """Between the look at it and its end."""
    folder_lock = FolderLock(resolve(daemons.endpoint))
    os.close(folder_lock.listen(1))
    folder_lock.appear()
    assert folder_lock.is_ours()
    os.unlink(folder_lock.endpoint.path)
    folder_lock.end()
    folder_lock.leave()
    assert os.path.exists(folder_lock.endpoint.stopped)


def test_it_leaves_the_place_to_the_next(daemons: Daemons, sockets: Sockets) -> None:
    """The folder was cleaned away and a new coordinator serves there already when the
    old one notices. It must not take the new one's socket along."""
    old = daemons.ready()
    shutil.rmtree(old.path.parent)
    new = daemons.ready()
    assert old.end()[0] == 0
    assert new.path.is_socket()
    assert isinstance(sockets.req(new.endpoint).ask(wire.Ping(id="")), wire.Pong)
    # And it goes on: it looks at its place each second, too.
    with pytest.raises(subprocess.TimeoutExpired):
        new.process.wait(1.5)


# --- service managers -------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_it_tells_the_service_manager(daemons: Daemons, abstract: bool) -> None:
    name = f"\0us-{os.getpid()}" if abstract else f"{daemons.folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(PATIENCE_S)
        shown = "@" + name[1:] if abstract else name
        daemon = daemons.ready(env={"NOTIFY_SOCKET": shown})
        assert manager.recv(100) == b"READY=1"
        daemon.signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert daemon.end()[0] == 0


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:3", "relative"])
def test_without_a_service_manager_it_serves_all_the_same(daemons: Daemons, address: str) -> None:
    daemons.ready(env={"NOTIFY_SOCKET": address})


# --- its options ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "env", "what"),
    [
        (["--frobnicate"], {}, "unrecognized arguments: --frobnicate"),
        (["--log-level", "loud"], {}, "--log-level"),
        (
            [],
            {"UNITSYNC_LOG_LEVEL": "loud"},
            "UNITSYNC_LOG_LEVEL is 'loud', not one of trace, debug,",
        ),
        ([], {"UNITSYNC_MAX_UNITS": "many"}, "UNITSYNC_MAX_UNITS is 'many'"),
        ([], {"UNITSYNC_MAX_EDGES": "0"}, "UNITSYNC_MAX_EDGES is '0'"),
        ([], {"UNITSYNC_MAX_WAITING": "-1"}, "UNITSYNC_MAX_WAITING is '-1'"),
        ([], {"UNITSYNC_MAX_UNITS": "9" * 5000}, "UNITSYNC_MAX_UNITS has 5,000 digits"),
    ],
)
def test_wrong_usage(daemons: Daemons, options: list[str], env: dict[str, str], what: str) -> None:
    daemon = daemons(*options, env=env)
    status, said = daemon.end()
    assert status == 2
    assert what in said
    assert said.startswith("error: ")


@pytest.mark.parametrize("name", ["coordinator.log", "journal.db", "journal.db.damaged"])
def test_a_file_that_cannot_be_used(daemons: Daemons, name: str) -> None:
    """Whoever started it is told which, in one line."""
    folder = daemons.folder / "c"
    (folder / name).mkdir(parents=True)
    folder.chmod(0o700)
    if name == "journal.db.damaged":
        (folder / "journal.db").write_bytes(b"x" * 10_000)
    daemon = daemons()
    status, said = daemon.end()
    assert status == 1
    assert daemon.report[0].startswith("error: ")
    assert str(folder) in daemon.report[0]
    assert [line.split(":")[0] for line in daemon.report] == ["error", "hint"]
    assert said.splitlines()[-2:] == daemon.report
    assert "Traceback" not in said


def test_it_logs_beside_its_socket(daemons: Daemons) -> None:
    daemon = daemons.ready("--log-level", "debug")
    assert f"serving {daemon.endpoint} as pid {daemon.process.pid}" in daemon.log


def test_it_tells_how_much_it_holds(daemons: Daemons, sockets: Sockets) -> None:
    """On SIGUSR1, and goes on."""
    daemon = daemons.ready()

    def figures() -> dict[str, int]:
        return figures_of(daemon.process.pid, daemon.path.parent)

    before = figures()
    assert list(before) == [
        *("units", "edges", "waiting", "followers", "clients", "owners", "unfinished"),
        *("tasks", "threads", "files", "blocks", "resident_bytes"),
    ]
    assert [before[name] for name in ("units", "waiting", "clients", "owners", "tasks")] == [
        *(0, 0, 0, 0, 1)
    ]
    assert before["files"] == len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    assert before["blocks"] > 10_000
    assert before["resident_bytes"] > 10_000_000
    waiting, other = sockets.dealer(daemon.endpoint), sockets.req(daemon.endpoint)
    waiting.send(wire.Start(id="s", unit="a", after=["b", "c"], patience_s=30.0))
    waiting.send(wire.Ping(id="p"))
    assert isinstance(waiting.told(), wire.Pong)
    mine = owner.this_process()
    other.ask(wire.Start(id="t", unit="d", owner=mine))
    eventually(lambda: figures()["clients"] == 2)  # another thread counts them
    now = figures()
    assert [now[name] for name in ("units", "edges", "waiting", "clients", "owners", "tasks")] == [
        *(2, 2, 1, 2, 1, 1)
    ]
    assert now["files"] > before["files"]
    assert now["threads"] == before["threads"]


@as_root
def test_another_user_in_the_way(daemons: Daemons) -> None:
    """A folder that somebody else made first is theirs; we do not go in."""
    squat = "os.makedirs(sys.argv[1], 0o700)"
    daemons.folder.chmod(0o1777)
    with as_user(NOBODY, squat, f"{daemons.folder}/c") as process:
        process.wait(PATIENCE_S)
    assert Path(f"{daemons.folder}/c").stat().st_uid == NOBODY
    refused(daemons(), "it belongs to user nobody")
