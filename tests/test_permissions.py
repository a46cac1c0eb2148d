"""Another user can neither take part nor get in the way, and nothing is written for
anybody through what somebody else has put there."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemons, Sockets, output_as
from support.users import BIN, CLI, NOBODY, environment, run, serving_as
from unitsync import wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

FILES = (
    *("coordinator.log", "spawn.lock", "stopped", "coordinator.sock", "coordinator.sock.full"),
    *("journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal"),
    *("journal.db.mark", "journal.db.mark.new", "journal.db.snapshot", "journal.db.snapshot.new"),
    *("journal.db.clock", "journal.db.clock.new"),
    *("allowed", "allowed.new", "coordinator.sock.new"),
)
"""All that is ever written into the folder."""


def unitsync(*words: str, endpoint: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """A verb, called by root."""
    return run(sys.executable, "-m", "unitsync", *words, endpoint=endpoint, env=env)


def listing(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    return sorted((path.name, known(path)) for path in folder.iterdir())


def known(path: Path) -> tuple[int, ...]:
    """All that is known of *path*, but when it was last looked at."""
    seen = path.lstat()
    times = (seen.st_mtime_ns, seen.st_ctime_ns)
    of_whom = (seen.st_uid, seen.st_gid)
    return (seen.st_ino, seen.st_mode, seen.st_nlink, *of_whom, seen.st_size, *times)


def given_to(user: int, folder: Path) -> Path:
    """A folder that *user* has made and filled beforehand."""
    folder.mkdir(0o700, exist_ok=True)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, user, follow_symlinks=False)
    return folder


# --- taking part ------------------------------------------------------------------


def test_no_verb_is_permitted(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready()
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Want(id="w", unit="a", prerequisites=["b"]))
    before = req.ask(wire.List(id="l"))
    verbs = ("ping", "want a c", "start a --timeout 0", "complete a", "fail a", "wait b")
    more = ("status a", "list", "why", "unwant a b", "reset --all --force", "stop")
    for words in (*verbs, *more):
        status, err = run(
            *(sys.executable, "-c", CLI, str(NOBODY), *words.split()),
            endpoint=daemon.endpoint,
        )
        assert status == 77, (words, err)
        assert err.startswith("error: no permission to use the coordinator at")
    assert req.ask(wire.List(id="l")) == before


ATTEMPTS = """
import socket
path, folder, pid = sys.argv[1], os.path.dirname(sys.argv[1]), int(sys.argv[2])
def attempt(what, act):
    try:
        act()
    except OSError:
        return
    print(what, "was possible")
for name in sys.argv[3:]:
    file = os.path.join(folder, name)
    attempt("reading " + name, lambda: open(file).close())
    attempt("writing " + name, lambda: open(file, "r+").close())
    attempt("removing " + name, lambda: os.unlink(file))
    attempt("renaming " + name, lambda: os.rename(file, file + ".x"))
    attempt("changing " + name, lambda: os.chmod(file, 0o777))
attempt("listing", lambda: os.listdir(folder))
attempt("making a file", lambda: open(os.path.join(folder, "new"), "w").close())
attempt("linking", lambda: os.symlink("/etc/passwd", os.path.join(folder, "stopped")))
attempt("binding", lambda: socket.socket(socket.AF_UNIX).bind(path))
attempt("moving the folder", lambda: os.rename(folder, folder + ".x"))
attempt("opening the folder", lambda: os.chmod(folder, 0o777))
attempt("locking", lambda: os.open(folder, os.O_RDONLY))
attempt("killing", lambda: os.kill(pid, 9))
attempt("stopping", lambda: os.kill(pid, 19))
attempt("connecting", lambda: socket.socket(socket.AF_UNIX).connect(path))
"""


@pytest.mark.parametrize("allow", [False, True])
def test_nothing_can_be_touched(daemons: Daemons, sockets: Sockets, allow: bool) -> None:
    """Who is allowed to talk may do no more than that."""
    daemon = daemons.ready(*(["--allow", "nobody"] if allow else []))
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Want(id="w", unit="a", prerequisites=["b"]))
    names = [name for name, _ in listing(daemon.path.parent)]
    assert {"coordinator.sock", "coordinator.log", "journal.db"} <= set(names)
    daemons.folder.chmod(0o1777)
    said = output_as(NOBODY, ATTEMPTS, str(daemon.path), str(daemon.process.pid), *names)
    assert said == ("connecting was possible" if allow else "")
    assert isinstance(req.ask(wire.Ping(id="p")), wire.Pong)


def test_the_user_and_root_may(daemons: Daemons) -> None:
    """A coordinator of nobody's: nobody, and root on behalf of nobody."""
    folder = given_to(NOBODY, daemons.folder / "c")
    endpoint = daemons.endpoint
    with serving_as(NOBODY, endpoint):
        ask = (sys.executable, "-c", CLI)
        assert run(*ask, str(NOBODY), "want", "a", "b", endpoint=endpoint)[0] == 0
        assert unitsync("want", "a", "c", endpoint=endpoint, env={"SUDO_UID": str(NOBODY)})[0] == 0
        status, err = run(*ask, str(BIN), "ping", endpoint=endpoint)
        assert status == 69
        assert "it belongs to user nobody, not to user bin" in err
        # Root by itself does not go into other people's folders.
        root = (sys.executable, "-c", CLI, "0")
        status, err = run(*root, "want", "a", "d", endpoint=endpoint)
        assert status == 69
        assert "it belongs to user nobody, not to user root" in err
        assert {path.lstat().st_uid for path in folder.iterdir()} == {NOBODY}


# --- being there first ------------------------------------------------------------


def squat_folder(folder: Path, victims: Path) -> None:
    given_to(NOBODY, folder)


def squat_open_folder(folder: Path, victims: Path) -> None:
    given_to(NOBODY, folder).chmod(0o777)


def squat_link_to_theirs(folder: Path, victims: Path) -> None:
    given_to(NOBODY, folder.with_name("theirs"))
    folder.symlink_to("theirs")
    os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)


def squat_link_to_ours(folder: Path, victims: Path) -> None:
    folder.symlink_to(victims)
    os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)


def squat_dangling_link(folder: Path, victims: Path) -> None:
    folder.symlink_to(victims / "new")
    os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)


def squat_file(folder: Path, victims: Path) -> None:
    folder.write_text("mine")
    os.chown(folder, NOBODY, NOBODY)


def squat_links_inside(folder: Path, victims: Path) -> None:
    folder.mkdir()
    for name in FILES:
        (folder / name).symlink_to(victims / "precious")
    given_to(NOBODY, folder)


SQUATS: list[Any] = [value for name, value in globals().copy().items() if name.startswith("squat_")]


@pytest.fixture
def victims(tmp_path: Path) -> Path:
    """A folder of root's with a file in it that nobody is to change."""
    folder = tmp_path / "victims"
    folder.mkdir(0o700)
    victim(folder)
    return folder


def victim(folder: Path) -> Path:
    precious = folder / "precious"
    precious.write_text("as it was")
    precious.chmod(0o600)
    return precious


def untouched(victims: Path) -> None:
    assert [name for name, _ in listing(victims)] == ["precious"]
    precious = victims / "precious"
    assert precious.read_text() == "as it was"
    found = precious.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


@pytest.mark.parametrize("squat", SQUATS)
@pytest.mark.parametrize("words", ["ping", "serve"])
def test_what_somebody_else_has_put_there_is_refused(
    daemons: Daemons, victims: Path, squat: Any, words: str
) -> None:
    """Nobody is first at the place in /tmp that will be root's; root does not go in."""
    daemons.folder.chmod(0o1777)
    folder = daemons.folder / "c"
    squat(folder, victims)
    before = known(folder), listing(folder) if folder.is_dir() else []
    status, err = unitsync(words, endpoint=daemons.endpoint)
    assert status == 69, err
    assert err.startswith("error: ")
    assert str(folder) in err
    assert "\nhint: " in err
    untouched(victims)
    assert (known(folder), listing(folder) if folder.is_dir() else []) == before


def test_a_folder_that_is_replaced_by_a_link_while_it_is_down(
    daemons: Daemons, victims: Path
) -> None:
    """Where the folder above it is somebody else's, it can be moved away at any time."""
    above = given_to(NOBODY, daemons.folder / "above")
    endpoint = f"ipc://{above}/c/coordinator.sock"
    daemon = daemons.ready(endpoint=endpoint)
    daemon.kill()
    (above / "c").rename(above / "old")
    (above / "c").symlink_to(victims)
    for words in ("ping", "serve"):
        status, err = unitsync(words, endpoint=endpoint)
        assert status == 69
        assert "it is a symbolic link" in err
        untouched(victims)


# --- sudo -------------------------------------------------------------------------

SUDO = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}


@pytest.fixture
def theirs(daemons: Daemons) -> Path:
    """A folder for a socket that belongs to who called sudo."""
    return given_to(NOBODY, daemons.folder / "c")


@pytest.fixture
def precious(daemons: Daemons) -> Iterator[Path]:
    """A file of root's, on the file system where others may link to it: systems without
    fs.protected_hardlinks let anybody do that. It is to stay as it is."""
    folder = daemons.folder / "victims"
    folder.mkdir(0o700)
    yield victim(folder)
    untouched(folder)


def ended_soon(daemons: Daemons, words: str) -> str:
    """What the verb says, called by root under sudo; what it may have started is ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "unitsync", *words.split()],
        env=environment(daemons.endpoint, SUDO),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "serving" in line:
                process.terminate()
    assert "Traceback" not in said
    if words != "serve":
        unitsync("stop", endpoint=daemons.endpoint, env=SUDO)
    return said


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("serve", "coordinator.log"),
        ("serve", "journal.db"),
        ("serve", "journal.db-shm"),
        ("serve", "journal.db.mark.new"),
        ("serve", "stopped"),
        ("ping", "spawn.lock"),
    ],
)
def test_links_in_the_folder_of_who_called_sudo(
    daemons: Daemons, theirs: Path, precious: Path, words: str, name: str, link: Any
) -> None:
    """There it is allowed, but with the rights of that user alone."""
    link(precious, theirs / name)
    said = ended_soon(daemons, words)
    assert "serving" in said or "error: " in said


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_doctor_leaves_all_as_it_is(
    daemons: Daemons, theirs: Path, precious: Path, link: Any
) -> None:
    """SQLite opens files beside what it only reads, and gives them to its owner."""
    journal = sqlite3.connect(theirs / "journal.db")
    journal.executescript("PRAGMA journal_mode = WAL; CREATE TABLE epochs (number)")
    journal.close()
    link(precious, theirs / "journal.db-wal")
    before = listing(theirs)
    for env in ({}, SUDO):
        unitsync("doctor", endpoint=daemons.endpoint, env=env)
        assert listing(theirs) == before


@pytest.mark.parametrize("words", ["ping", "serve"])
def test_no_folder_is_made_through_a_link_of_who_called_sudo(
    daemons: Daemons, precious: Path, words: str
) -> None:
    (daemons.folder / "c").symlink_to(precious.parent)
    status, err = unitsync(
        *words.split(),
        endpoint=f"ipc://{daemons.folder}/c/new/coordinator.sock",
        env=SUDO,
    )
    assert status == 69
    assert err.startswith("error: ")
    assert "user nobody" in err


def test_under_sudo_it_is_the_invoking_users(daemons: Daemons) -> None:
    daemons.folder.chmod(0o1777)
    with subprocess.Popen(
        [sys.executable, "-m", "unitsync", "serve"],
        env=environment(daemons.endpoint, SUDO),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "serving" not in (line := process.stderr.readline()):
            assert line, "it did not serve"
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        ids = {line.split()[0]: line.split()[1:] for line in status if ":" in line}
        assert ids["Uid:"] == ids["Gid:"] == [str(NOBODY)] * 4
        assert "0" not in ids["Groups:"]
        assert int(ids["CapEff:"][0], 16) == 0
        folder = daemons.folder / "c"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {NOBODY}
        ask = (sys.executable, "-c", CLI, str(NOBODY))
        assert run(*ask, "want", "a", "b", endpoint=daemons.endpoint)[0] == 0
        assert unitsync("want", "a", "c", endpoint=daemons.endpoint, env=SUDO)[0] == 0
        process.terminate()


def test_a_folder_of_roots_stays_roots_under_sudo(daemons: Daemons) -> None:
    """As of a system-wide coordinator."""
    (daemons.folder / "c").mkdir(0o700)
    daemon = daemons.ready(env=SUDO)
    assert Path(f"/proc/{daemon.process.pid}").stat().st_uid == 0
    assert unitsync("ping", endpoint=daemons.endpoint, env=SUDO)[0] == 0
