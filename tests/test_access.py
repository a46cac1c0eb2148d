"""Who may talk to a coordinator: nobody else is heard, and who was let in with ``--allow``
takes part in everything but what is for its own user and root."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, Daemons, Sockets, output_as
from support.users import BIN, CLI, HUNG_UP, NOBODY, as_root, environment, run
from unitsync import errors, wire
from unitsyncd.storage import lines
from unitsyncd.transport import access
from unitsyncd.transport.access import Access

VERBS = (
    *("ping", "want a c", "start a --timeout 0", "complete a", "fail a", "wait b"),
    *("status a", "list", "why", "unwant a b", "reset --all --force", "stop"),
)


def hung_up_on(user: int, daemon: Daemon) -> bool:
    return output_as(user, HUNG_UP, str(daemon.path)) == "True"


def may_talk(user: int, endpoint: str) -> bool:
    """Whether a verb of *user* is served, and if not, whether it says so."""
    status, err = run(sys.executable, "-c", CLI, str(user), "ping", endpoint=endpoint)
    assert status in (0, 77), err
    return status == 0


# --- who is not allowed -----------------------------------------------------------


@as_root
@pytest.mark.parametrize("whom", ["bin", "2", "daemon"])
def test_a_stranger_is_hung_up_on_before_a_word(daemons: Daemons, whom: str) -> None:
    """Of users and of groups."""
    daemon = daemons.ready("--allow", whom)
    assert daemon.path.stat().st_mode & 0o777 == 0o666
    assert hung_up_on(NOBODY, daemon)


@as_root
@pytest.mark.timeout(180)
def test_no_verb_of_a_stranger(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready("--allow", "bin")
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Want(id="w", unit="a", prerequisites=["b"]))
    before = req.ask(wire.List(id="l"))
    for words in VERBS:
        command = (sys.executable, "-c", CLI, str(NOBODY), *words.split())
        status, err = run(*command, endpoint=daemon.endpoint)
        assert status == 77, (words, err)
        first, second = err.splitlines()
        assert first == f"error: no permission to use the coordinator at {daemon.endpoint}"
        assert "user root, who can allow user nobody: unitsync serve --allow nobody" in second
    assert req.ask(wire.List(id="l")) == before


BOTH_CLIENTS = """
import asyncio
from unitsync import AsyncClient, Client, errors
async def ask():
    async with AsyncClient(sys.argv[1]) as client:
        await client.ping()
for call in (lambda: Client(sys.argv[1]).ping(), lambda: asyncio.run(ask())):
    try:
        call()
    except errors.UnitsyncError as problem:
        print(problem.code, problem)
"""
_LOADED_FIRST = (
    "import unitsync.client, unitsync.aio, unitsync.link.spawn, concurrent.futures.thread\n"
)


@as_root
def test_the_python_clients_of_a_stranger(daemons: Daemons) -> None:
    daemon = daemons.ready("--allow", "bin")
    said = output_as(NOBODY, BOTH_CLIENTS, daemon.endpoint, load=_LOADED_FIRST)
    assert [line.split()[0] for line in said.splitlines()] == ["not_permitted"] * 2, said


HANGS_UP = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
times = int(sys.argv[2])
while times:
    link, _ = listener.accept()
    times -= 1
    if not times:
        listener.close()
    link.close()
"""


def ping_at_one_that_hangs_up(folder: Path, user: int, times: int) -> tuple[int, str]:
    """What a verb of *user* says where somebody hangs up on *times* connections, and is
    gone then."""
    place = folder / "c"
    place.mkdir(mode=0o711)
    place.chmod(0o711)
    path = place / "coordinator.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        number = listener.fileno()
        command = [sys.executable, "-c", HANGS_UP, str(number), str(times)]
        dying = subprocess.Popen(command, pass_fds=[number])
    try:
        return run(
            *(sys.executable, "-c", CLI, str(user), "ping"),
            endpoint=f"ipc://{path}",
            env={"UNITSYNC_AUTOSTART": "0"},
        )
    finally:
        dying.kill()
        dying.wait()


@as_root
@pytest.mark.parametrize("user", [0, NOBODY])
def test_one_that_dies_has_refused_nobody(daemons: Daemons, user: int) -> None:
    """It hangs up before its greeting, too, but then there is none."""
    status, err = ping_at_one_that_hangs_up(daemons.folder, user, 1)
    assert status == 69
    assert err.startswith("error: no coordinator runs at")


@as_root
def test_its_own_user_is_never_refused(daemons: Daemons) -> None:
    """However often it dies: it asks again, with pauses in the end."""
    status, err = ping_at_one_that_hangs_up(daemons.folder, 0, 8)
    assert status == 69, err


@as_root
def test_who_is_hung_up_on_twice_is_refused(daemons: Daemons) -> None:
    status, err = ping_at_one_that_hangs_up(daemons.folder, NOBODY, 100)
    assert status == 77, err


# --- who is allowed ---------------------------------------------------------------


@as_root
@pytest.mark.parametrize("how", ["nobody", "65534", "nogroup", "UNITSYNC_ALLOW"])
def test_others_may_be_allowed(daemons: Daemons, how: str) -> None:
    """By name, number, group, and from the environment."""
    env = {}
    options = ["--allow", how]
    if how == "UNITSYNC_ALLOW":
        options, env = [], {how: "bin,nobody"}
    daemon = daemons.ready(*options, env=env)
    assert may_talk(NOBODY, daemon.endpoint)
    assert may_talk(BIN, daemon.endpoint) is (how == "UNITSYNC_ALLOW")
    # They may pass through, not look around, and not into the other files.
    listing = "try: os.listdir(sys.argv[1])\nexcept OSError as exc: print(exc.strerror)"
    assert output_as(NOBODY, listing, str(daemon.path.parent)) == "Permission denied"
    read = "try: open(sys.argv[1])\nexcept OSError as exc: print(exc.strerror)"
    for path in daemon.path.parent.iterdir():
        if path != daemon.path:
            expected = "No such device or address" if path.is_socket() else "Permission denied"
            assert output_as(NOBODY, read, str(path)) == expected


LISTED = """
mount --bind "$1" /etc/group || exit 9
shift
exec "$@"
"""


@as_root
def test_who_is_listed_in_a_group(daemons: Daemons) -> None:
    """It is not the group that its process runs with."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    groups = daemons.folder / "group"
    lines = [f"{group.gr_name}:x:{group.gr_gid}:" for group in grp.getgrall()]
    groups.write_text("\n".join((*lines, "unitsync-test:x:54321:daemon,nobody", "")))
    serve = [sys.executable, "-m", "unitsync", "serve", "--allow", "unitsync-test"]
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", LISTED, "_", groups, *serve],
        env=environment(daemons.endpoint),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            while "serving" not in (line := process.stderr.readline()):
                assert line, "it did not serve"
            assert may_talk(NOBODY, daemons.endpoint)
            assert not may_talk(BIN, daemons.endpoint)
        finally:
            process.terminate()


TALK = """
from unitsync import wire
dealer = zmq.Context().socket(zmq.DEALER)
dealer.set(zmq.LINGER, 0)
dealer.set(zmq.RCVTIMEO, 10_000)
dealer.connect(sys.argv[1])
for request in (
    wire.Want(id="1", unit="theirs", prerequisites=["b"]),
    wire.Declare(id="2", units=[wire.Declaration("more")]),
    wire.Start(id="3", unit="a"),
    wire.Complete(id="4", unit="a"),
    wire.Reset(id="5", units=["a"]),
    wire.Wait(id="6", units=["mine"]),
    wire.List(id="7"),
    wire.Why(id="8"),
    wire.Reset(id="9", all=True),
    wire.Reset(id="10", all=True, force=True),
    wire.Reset(id="11", units=["mine"], force=True),
    wire.Stop(id="12"),
    wire.Startups(id="13"),
    wire.Events(id="14"),
):
    dealer.send_multipart((b"", wire.encode(request)))
    reply = wire.decode_reply(dealer.recv_multipart()[1])
    print(getattr(reply, "code", "fine"), reply.id, bool(reply.epoch))
dealer.close()
"""


@as_root
def test_what_is_for_its_own_user_alone(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready("--allow", "nobody")
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Start(id="s", unit="mine", owner=wire.Owner(pid=1, watched=False)))
    said = output_as(NOBODY, TALK, daemon.endpoint).splitlines()
    assert said == [f"fine {number} True" for number in range(1, 9)] + [
        f"not_permitted {number} True" for number in range(9, 13)
    ] + [f"fine {number} True" for number in (13, 14)]
    mine = req.ask(wire.StatusOf(id="m", unit="mine"))
    assert isinstance(mine, wire.StatusReply)
    assert mine.unit.status is wire.Status.STARTED
    # Its own user may.
    assert req.ask(wire.Reset(id="r", all=True, force=True)).exit == 0
    assert req.ask(wire.Stop(id="t")).exit == 0
    assert daemon.end()[0] == 0


@as_root
def test_who_was_let_in_may_belong_to_a_new_startup(daemons: Daemons, sockets: Sockets) -> None:
    """Then everything begins anew, as docs/explanation/security.md says of --allow."""
    daemon = daemons.ready("--allow", "nobody")
    req = sockets.req(daemon.endpoint)
    req.ask(wire.Want(id="w", unit="before", prerequisites=[]))
    command = (sys.executable, "-c", CLI, str(NOBODY), "want", "after", "b")
    assert run(*command, endpoint=daemon.endpoint, env={"UNITSYNC_STARTUP": "new"}) == (0, "")
    found = req.ask(wire.List(id="l"))
    assert isinstance(found, wire.ListReply)
    assert [unit.name for unit in found.units] == ["after", "b"]


@as_root
@pytest.mark.parametrize("words", ["stop", "reset --all", "reset a --force", "reset --all --force"])
def test_who_was_let_in_is_told_who_may(daemons: Daemons, words: str) -> None:
    daemon = daemons.ready("--allow", "nobody")
    command = (sys.executable, "-c", CLI, str(NOBODY), *words.split())
    status, err = run(*command, endpoint=daemon.endpoint)
    assert status == 77
    first, second = err.splitlines()
    what = words.replace(" a ", " ") if "--all" not in words else "reset --all"
    assert first == f"error: {what} is for user root alone"
    assert second.startswith("hint: others who were let in")


@as_root
def test_a_coordinator_of_a_user_names_both_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(errors.NotPermitted, match="stop is for user nobody and user root alone"):
        Access(["bin"]).check(wire.Stop(id="s"), None)


# --- what was allowed is kept -----------------------------------------------------


@as_root
@pytest.mark.parametrize("ended", ["killed", "stopped"])
def test_one_that_a_verb_starts_again_allows_the_same(
    daemons: Daemons, ended: str, own_verb: Callable[..., None]
) -> None:
    daemon = daemons.ready("--allow", "nobody", "--allow", "2")
    if ended == "killed":
        daemon.kill()
    else:
        own_verb("stop")
    own_verb("ping")
    assert may_talk(NOBODY, daemon.endpoint)
    assert may_talk(BIN, daemon.endpoint)
    own_verb("reset", "--all")
    own_verb("stop")
    own_verb("ping")
    assert may_talk(NOBODY, daemon.endpoint)


@pytest.fixture
def own_verb(daemons: Daemons) -> Iterator[Callable[..., None]]:
    """Calls verbs of root's, which start a coordinator where there is none."""

    def call(*words: str, env: dict[str, str] | None = None) -> None:
        command = (sys.executable, "-m", "unitsync", *words)
        status, err = run(*command, endpoint=daemons.endpoint, env=env)
        assert status == 0, err

    yield call
    call("stop")


@as_root
def test_serve_says_all_of_who_may(daemons: Daemons, own_verb: Callable[..., None]) -> None:
    """Another list takes the place of the one before it, and none is one, too."""
    daemons.ready("--allow", "nobody").kill()
    own_verb("ping", env={"UNITSYNC_ALLOW": "bin"})
    own_verb("stop")
    own_verb("ping")
    assert may_talk(BIN, daemons.endpoint)
    assert not may_talk(NOBODY, daemons.endpoint)
    own_verb("stop")
    with subprocess.Popen(
        [sys.executable, "-m", "unitsync", "serve"],
        env=environment(daemons.endpoint),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
    own_verb("ping")
    assert (daemons.folder / "c").stat().st_mode & 0o777 == 0o700
    assert not may_talk(BIN, daemons.endpoint)


@as_root
def test_what_was_kept_ends_with_the_startup_of_the_machine(
    daemons: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = daemons.ready("--allow", "nobody")
    folder = str(daemon.path.parent)
    assert access.kept_allowed(folder) == ["nobody"]
    monkeypatch.setattr(lines, "machine_startup", lambda: "another")
    assert access.kept_allowed(folder) == []


def test_what_was_kept_is_never_in_the_way(tmp_path: Path) -> None:
    """Users that are gone, a file that is none, a folder that is full or gone."""
    folder = str(tmp_path)
    assert access.kept_allowed(folder) == []
    access.keep_allowed(folder, ["no-such-user-here", "root", "1234"])
    assert access.kept_allowed(folder) == ["root", "1234"]
    file = tmp_path / access.ALLOWED_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    access.keep_allowed(folder, [])
    assert not file.exists()
    for text in (b"", b"\xff\xfe", b"nobody\n"):
        file.write_bytes(text)
        assert access.kept_allowed(folder) == []
    file.unlink()
    file.mkdir()
    access.keep_allowed(folder, ["root"])
    assert access.kept_allowed(folder) == []
    access.keep_allowed(f"{folder}/gone", ["root"])


def test_a_kept_number_beyond_all_users(daemons: Daemons) -> None:
    daemon = daemons.ready("--allow", "nobody")
    daemon.kill()
    file = daemon.path.parent / access.ALLOWED_FILE
    file.write_text(file.read_text().replace("nobody", "9" * 30))
    daemons.ready()


@as_root
def test_who_was_let_in_waits_for_its_return(daemons: Daemons, sockets: Sockets) -> None:
    """It is not for them to start it, and their waits go on all the same."""
    daemon = daemons.ready("--allow", "nobody")
    waiting = [sys.executable, "-c", CLI, str(NOBODY), "start", "a", "--after", "b"]
    with subprocess.Popen(
        waiting, env=environment(daemon.endpoint), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            assert "a waits for b" in process.stderr.readline()
            daemon.kill()
            assert process.stderr.readline() == (
                f"unitsync: no coordinator runs at {daemon.endpoint}, and this user may not start "
                "it; waiting for its return\n"
            )
            assert process.stderr.readline() == "hint: start it as user root: unitsync serve\n"
            daemon = daemons.ready("--allow", "nobody")
            req = sockets.req(daemon.endpoint)
            for request in (
                wire.Want(id="w", unit="b", prerequisites=[]),
                wire.Complete(id="c", unit="b"),
            ):
                assert req.ask(request).exit == 0
            assert process.wait(30) == 0
        finally:
            process.kill()
