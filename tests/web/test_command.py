"""The command itself: where it listens, how it ends, and what it says if it cannot begin."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from support.coordinators import PATIENCE_S, Coordinator, clean_environment, without_module
from unitsync.link.conversation import OVERDUE_MAX, REPLY_SLACK_S
from unitsync.testing import throwaway_coordinator
from unitsync.web import serving as served
from web.conftest import COMMAND, Web, serving

MAIN = "from unitsync.express import main; main()"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with throwaway_coordinator() as address:
        yield address


def refused(address: str, *words: str) -> list[str]:
    done = subprocess.run(
        [COMMAND, "web", "--endpoint", address, *words],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_port_that_is_taken(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        error, hint = refused(address, "--listen", place)
    assert error == f"error: no page at {place}: something else is there"
    assert hint.startswith("hint: it may be another one like this")


def test_a_host_that_there_is_not(address: str) -> None:
    error, hint = refused(address, "--listen", "nowhere.invalid:0")
    assert error.startswith("error: no page at nowhere.invalid:0: ")
    assert hint == "hint: an address of this machine, or unix:PATH in a folder that exists"


def test_no_token_for_others(address: str) -> None:
    error, hint = refused(address, "--listen", "0.0.0.0:0", "--no-token")
    assert error == "error: --no-token: whoever reaches 0.0.0.0:0 could see everything"
    assert hint.startswith("hint: listen on 127.0.0.1")


def test_for_all_addresses(address: str) -> None:
    with serving(address, "--listen", "0.0.0.0:0") as web:
        assert web.url.hostname == "127.0.0.1"
        assert web.ask().status == 200
        assert web.ask(Cookie="").status == 403


def test_ipv6(address: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with serving(address, "--listen", "[::1]:0") as web:
        assert web.link.startswith("http://[::1]:")
        assert web.ask().status == 200


def test_a_unix_socket(address: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with serving(address, "--listen", f"unix:{path}") as web:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert web.ask().status == 200
        assert web.ask(Cookie="").status == 403
        error, _ = refused(address, "--listen", f"unix:{path}")
        assert error == f"error: no page at unix:{path}: something else is there"
        assert web.ask().status == 200
    assert not path.exists()


def test_only_its_own_socket_is_removed(address: str, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with serving(address, "--listen", f"unix:{path}"):
        path.unlink()
        path.write_text("of somebody else")
    assert path.read_text() == "of somebody else"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it(address: str, number: int, status: int) -> None:
    web = Web(address, "--listen", "127.0.0.1:0")
    connection = web.connection()  # which asks for nothing
    try:
        began = monotonic()
        assert web.end(number) == (status, "")
        assert monotonic() - began < served.END_S + PATIENCE_S / 4
    finally:
        connection.close()


def test_who_asks_for_nothing_is_sent_away(address: str) -> None:
    """In less time than a test may take."""
    with serving(address) as web:
        idle, busy = web.connection(), web.connection()
        try:
            busy.request("GET", "/changes", headers={"Cookie": f"{web.cookie}={web.token}"})
            with busy.getresponse() as response:
                assert idle.sock.recv(1) == b""
                assert b": still there\n" in iter(response.readline, b"")
        finally:
            idle.close()
            busy.close()


class WebOfModule(Web):
    """Python waits for its threads at the end; the script ``unitsync`` does not."""

    command = (sys.executable, "-m", "unitsync")


def test_a_coordinator_that_hangs_does_not_hold_it(coordinator: Coordinator) -> None:
    web = WebOfModule(coordinator.address, "--listen", "127.0.0.1:0")
    connections = [web.connection() for _ in range(2)]
    coordinator.signal(signal.SIGSTOP)
    try:
        began = monotonic()
        for connection, path in zip(connections, ("startups", "unit"), strict=True):
            cookie = {"Cookie": f"{web.cookie}={web.token}"}
            connection.request("GET", f"/{path}.json?name=a", headers=cookie)
        assert web.ask().status == 200  # then it has begun with the others
        assert web.end() == (0, "")
        assert monotonic() - began < OVERDUE_MAX * REPLY_SLACK_S
    finally:
        coordinator.signal(signal.SIGCONT)
        for connection in connections:
            connection.close()


def test_it_ends_if_it_can_no_longer_tell_of_changes(address: str) -> None:
    broken = (
        "from unitsync.web.changes import Changes\n"
        "async def run(self): raise OSError('it is broken')\n"
        "Changes.run = run\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-c", broken + MAIN),
            *("web", "--endpoint", address, "--listen", "127.0.0.1:0"),
        ],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "it is broken" in done.stderr


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, module: str) -> None:
    done = without_module(module, "web", "--endpoint", f"ipc://{tmp_path}/c.sock")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: web serves its page with {module}, which is not installed",
        f"hint: in a clone of unitsync: {sys.executable} -m pip install '.[web]'",
    ]
