"""Where the coordinator is, and which folders and peers are refused."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from unitsync import Client, errors
from unitsync.link import absent, endpoint, spawn
from unitsync.link import by_hand as wire_by_hand
from unitsync.link.autostart import ensure
from unitsync.link.conversation import Autostart

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
NOBODY = 65534


class TestResolve:
    def test_depends_on_the_user_alone(self) -> None:
        place = endpoint.resolve(None, {"HOME": "/elsewhere", "XDG_RUNTIME_DIR": "/run/user/7"})
        assert place.address == f"ipc:///tmp/unitsync-{os.geteuid()}/coordinator.sock"
        assert place.folder == f"/tmp/unitsync-{os.geteuid()}"

    def test_the_argument_goes_before_the_environment(self) -> None:
        environ = {"UNITSYNC_ENDPOINT": "ipc:///run/b/c.sock"}
        assert endpoint.resolve(None, environ).path == "/run/b/c.sock"
        assert endpoint.resolve("ipc:///run/a/c.sock", environ).path == "/run/a/c.sock"

    def test_an_empty_variable_is_none(self) -> None:
        assert endpoint.resolve(None, {"UNITSYNC_ENDPOINT": ""}) == endpoint.resolve(None, {})

    @as_root
    def test_under_sudo_it_is_the_invoking_users(self) -> None:
        place = endpoint.resolve(None, {"SUDO_UID": "1234"})
        assert place.user == 1234
        assert place.address == "ipc:///tmp/unitsync-1234/coordinator.sock"

    @pytest.mark.parametrize(("euid", "user"), [(0, 1234), (1000, 1000)])
    def test_only_root_has_an_invoking_user(
        self, monkeypatch: pytest.MonkeyPatch, euid: int, user: int
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: euid)
        assert endpoint.invoking_user({"SUDO_UID": "1234"}) == user

    @pytest.mark.parametrize("by_sudo", ["", "x", "-1", "٣"])
    def test_a_sudo_uid_that_is_none_is_ignored(self, by_sudo: str) -> None:
        assert endpoint.invoking_user({"SUDO_UID": by_sudo}) == os.geteuid()

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("tcp://127.0.0.1:7000", "only ipc:// endpoints are supported, not tcp://"),
            ("inproc://x", "not inproc://"),
            ("/run/a/c.sock", "not an endpoint"),
            ("ipc://c.sock", "absolute path"),
            ("ipc://@abstract", "absolute path"),
            ("ipc://*", "absolute path"),
            ("ipc:///run/a/", "absolute path"),
            ("ipc:///run/a\0b", "absolute path"),
            ("ipc:///run/caf\udce9/c.sock", "not UTF-8"),
            ("ipc:///" + "x" * 107, "108 bytes; a unix socket's path has at most 107"),
        ],
    )
    def test_what_is_no_endpoint(self, address: str, message: str) -> None:
        with pytest.raises(errors.UsageError, match=message):
            endpoint.resolve(address)

    def test_a_path_is_hinted_at(self) -> None:
        with pytest.raises(errors.UsageError) as caught:
            Client("/run/a/c.sock")
        assert "ipc:///run/a/c.sock" in caught.value.hint

    def test_the_longest_path(self, short_path: Path) -> None:
        room = endpoint.PATH_BYTES_MAX - len(str(short_path)) - 1
        path = short_path / ("x" * room)
        short_path.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            assert endpoint.is_there(endpoint.resolve(f"ipc://{path}"))


class TestFolder:
    def place(self, folder: Path) -> endpoint.Endpoint:
        return endpoint.resolve(f"ipc://{folder}/coordinator.sock")

    def test_that_is_missing_holds_no_coordinator(self, short_path: Path) -> None:
        assert endpoint.connect(self.place(short_path / "c")) is None

    def test_of_ours_alone_is_fine(self, short_path: Path) -> None:
        (short_path / "c").mkdir(mode=0o700)
        assert endpoint.check_folder(self.place(short_path / "c")) is not None

    @pytest.mark.parametrize("mode", [0o750, 0o770, 0o705, 0o777, 0o722])
    def test_open_to_others_is_refused(self, short_path: Path, mode: int) -> None:
        folder = short_path / "c"
        folder.mkdir()
        folder.chmod(mode)
        with pytest.raises(errors.Unreachable, match=f"mode 0{mode:o}") as caught:
            endpoint.check_folder(self.place(folder))
        assert f"chmod 700 {folder}" in caught.value.hint

    def test_tmp_itself_is_refused(self) -> None:
        with pytest.raises(errors.Unreachable, match="mode 1777") as caught:
            endpoint.check_folder(self.place(Path("/tmp")))
        assert "folder of its own" in caught.value.hint

    def test_a_link_is_refused(self, short_path: Path) -> None:
        (short_path / "real").mkdir(mode=0o700)
        (short_path / "c").symlink_to("real")
        with pytest.raises(errors.Unreachable, match="symbolic link"):
            endpoint.check_folder(self.place(short_path / "c"))

    def test_a_file_is_refused(self, short_path: Path) -> None:
        (short_path / "c").touch()
        with pytest.raises(errors.Unreachable, match="not a folder"):
            endpoint.check_folder(self.place(short_path / "c"))

    @as_root
    def test_of_somebody_else_is_refused(self, short_path: Path) -> None:
        folder = short_path / "c"
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
        with pytest.raises(errors.Unreachable, match="belongs to user nobody, not to user root"):
            Client(self.place(folder).address).ping()

    @as_root
    def test_of_the_invoking_user_is_fine(
        self, short_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SUDO_UID", str(NOBODY))
        folder = short_path / "c"
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
        assert endpoint.connect(self.place(folder)) is None


class TestPeer:
    @as_root
    def test_that_is_not_ours_is_refused_within_a_second(self, short_path: Path) -> None:
        path = short_path / "coordinator.sock"
        short_path.chmod(0o711)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            program = (
                "import os, socket, sys\n"
                "os.setuid(65534)\n"
                "listener = socket.socket(fileno=int(sys.argv[1]))\n"
                "listener.listen()\n"
                "print(flush=True)\n"
                "sys.stdin.read()\n"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            with process:
                assert process.stdout is not None
                process.stdout.readline()
                began = time.monotonic()
                with pytest.raises(errors.Unreachable, match="served by user nobody"):
                    Client(f"ipc://{path}").ping()
                assert time.monotonic() - began < 1
                process.communicate()

    def test_that_ended_is_none(self, short_path: Path) -> None:
        short_path.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(short_path / "c.sock"))
        assert endpoint.connect(endpoint.resolve(f"ipc://{short_path}/c.sock")) is None

    def test_that_says_nothing_yet_has_refused_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To a user whom it serves besides its own."""
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY - 1)
        link, peer = socket.socketpair()
        with link, peer:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1000))
            assert endpoint._is_greeted(link)
            peer.send(b"hello")
            assert endpoint._is_greeted(link)
            link.recv(5)
            peer.close()
            assert not endpoint._is_greeted(link)

    def test_with_a_full_backlog_is_waited_for(
        self, short_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wire_by_hand, "CONNECT_PATIENCE_S", 1)
        short_path.chmod(0o700)
        place = endpoint.resolve(f"ipc://{short_path}/c.sock")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(place.path)
            listener.listen(0)
            first.connect(place.path)
            with pytest.raises(errors.Unreachable, match="accepts no connections"):
                endpoint.connect(place)

    @as_root
    def test_that_we_may_not_reach(self, short_path: Path) -> None:
        """A user who may pass through the folder, but not connect."""
        short_path.chmod(0o711)
        path = short_path / "c.sock"
        program = (
            "import os, sys\n"
            "from unitsync import Client, errors\n"
            "import unitsync.client\n"
            "os.setuid(65534)\n"
            "try:\n"
            f"    Client('ipc://{path}').ping()\n"
            "except errors.NotPermitted as exc:\n"
            "    sys.exit(exc.exit_status)\n"
        )
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen()
            assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 77


@pytest.mark.parametrize(
    ("when", "waits", "autostart", "left", "outcome"),
    [
        (Autostart.ALWAYS, False, True, "", "starts"),
        (Autostart.ALWAYS, False, True, "stopped", "starts"),
        (Autostart.ALWAYS, True, True, "", "starts"),
        (Autostart.ALWAYS, True, True, "stopped", errors.Stopped),
        (Autostart.ALWAYS, False, False, "", absent.Absent),
        (Autostart.IF_STATE_IS_KEPT, False, True, "", absent.NothingKept),
        (Autostart.IF_STATE_IS_KEPT, False, True, "kept", "starts"),
        (Autostart.IF_STATE_IS_KEPT, False, False, "kept", absent.Absent),
        (Autostart.NEVER, False, True, "kept", absent.Absent),
    ],
)
def test_who_starts_one_where_there_is_none(
    short_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: Autostart,
    waits: bool,
    autostart: bool,
    left: str,
    outcome: str | type[errors.UnitsyncError],
) -> None:
    short_path.chmod(0o700)
    place = endpoint.resolve(f"ipc://{short_path}/c.sock")
    if left == "stopped":
        Path(place.stopped).touch()
    started = []
    monkeypatch.setattr("unitsync.link.autostart.has_kept_state", lambda journal: left == "kept")
    monkeypatch.setattr(spawn, "start", lambda *where: started.append(where))
    asked = partial(ensure, place, when=when, autostart=autostart, told=waits, by=7.0)
    if isinstance(outcome, str):
        asked()
        assert started == [(place, 7.0)]
    else:
        with pytest.raises(outcome) as caught:
            asked()
        assert caught.type is outcome
        assert not started
