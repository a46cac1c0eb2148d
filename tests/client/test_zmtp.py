"""The connection that the command line makes by hand: byte for byte, against a peer that is only
the other end of a socket."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from support.daemon import short_folder
from unitsync.link import by_hand as wire_by_hand

ANSWER = b"\x01\x00" + b"\x00\x06answer"


class Peer:
    """The other end of a link."""

    def __init__(self) -> None:
        ours, self._socket = socket.socketpair()
        self.link = wire_by_hand.Link(ours)
        assert self.hears() == wire_by_hand.GREETING + wire_by_hand.READY

    def says(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hears(self) -> bytes:
        """What has been sent so far."""
        try:
            return self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()
    peer.link.close()


def now() -> float:
    """A time that is up as soon as nothing more has arrived."""
    return monotonic()


def soon() -> float:
    return monotonic() + 10


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, b"\x00\x00"), (255, b"\x00\xff"), (256, b"\x02" + bytes(6) + b"\x01\x00")],
)
def test_how_long_a_frame_is(peer: Peer, size: int, head: bytes) -> None:
    peer.says(wire_by_hand.GREETING + wire_by_hand.READY)
    for _ in range(2):  # a link is good for several
        peer.link.send(b"x" * size, soon())
        assert peer.hears() == b"\x01\x00" + head + b"x" * size


def test_nothing_is_sent_before_the_peer_is_ready(peer: Peer) -> None:
    """Also if its greeting comes so late that it is given up in between."""
    for come in (
        b"",
        wire_by_hand.GREETING[:63],
        wire_by_hand.GREETING[63:],
        wire_by_hand.READY[:-1],
    ):
        peer.says(come)
        with pytest.raises(TimeoutError):
            peer.link.send(b"", now())
        assert peer.hears() == b""
    peer.says(wire_by_hand.READY[-1:])
    peer.link.send(b"", soon())
    assert peer.hears() == b"\x01\x00\x00\x00"


@pytest.mark.parametrize(
    ("comes", "greeted"),
    [
        (wire_by_hand.GREETING[:10] + b"\x02" + wire_by_hand.GREETING[11:], False),  # ZMTP 2
        (b"\x00" + wire_by_hand.GREETING[1:], False),
        (wire_by_hand.GREETING[:9] + b"\x00" + wire_by_hand.GREETING[10:], False),
        (wire_by_hand.GREETING + b"\x04\x06\x05ERROR", True),
        (wire_by_hand.GREETING + b"\x00" + wire_by_hand.READY[1:], True),  # no command
    ],
)
def test_who_does_not_speak_as_we_do_is_left(peer: Peer, comes: bytes, greeted: bool) -> None:
    peer.says(comes)
    with pytest.raises(ConnectionError):
        peer.link.send(b"", soon())
    assert peer.link.greeted is greeted
    assert peer.hears() == b""


def test_a_command_is_no_answer(peer: Peer) -> None:
    peer.says(wire_by_hand.GREETING + wire_by_hand.READY + b"\x04\x05\x04PING" + ANSWER)
    peer.link.send(b"", soon())
    assert peer.link.receive(soon()) == b"answer"


def test_a_peer_that_hangs_up_is_gone_and_not_late(peer: Peer) -> None:
    peer.says(wire_by_hand.GREETING + wire_by_hand.READY + ANSWER[:5])
    peer.link.send(b"", soon())
    peer.hears()  # or it would be reset
    peer.close()
    with pytest.raises(ConnectionError):
        peer.link.receive(soon())


def test_what_was_sent_in_part_is_not_sent_again_on_the_same_link(peer: Peer) -> None:
    peer.says(wire_by_hand.GREETING + wire_by_hand.READY)
    with pytest.raises(ConnectionError):
        peer.link.send(bytes(1 << 24), now())  # more than a socket holds


# --- who is there -------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[Path]:
    """The socket of somebody who listens, in a folder that is ours."""
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        (folder / "c").mkdir(mode=0o700)
        path = folder / "c" / "coordinator.sock"
        listener.bind(str(path))
        listener.listen()
        yield path


def test_who_is_ours_is_reached(served: Path) -> None:
    wire_by_hand.reach(f"ipc://{served}", by=soon()).close()


@pytest.mark.parametrize(("left_s", "patience_s"), [(3600, 5), (2, 2), (-1, 0.001)])
def test_a_busy_peer_is_waited_for_as_long_as_there_is_time(
    served: Path, left_s: float, patience_s: float
) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        wire_by_hand.connect(link, str(served), monotonic() + left_s)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            timeval = link.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("ll"))
            seconds, microseconds = struct.unpack("ll", timeval)
            assert seconds + microseconds / 1e6 == pytest.approx(patience_s, abs=0.5)
            assert timeval.strip(b"\0"), "that would be forever"


@pytest.mark.parametrize("address", ["tcp://a", "/a/b", "ipc://a", f"ipc:///{'ü' * 53}/s"])
def test_what_is_no_address_is_not_tried(address: str) -> None:
    with pytest.raises(ValueError, match=address):
        wire_by_hand.reach(address, by=soon())


def test_a_folder_that_may_be_anybodys_is_not_entered(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = served.parent.with_name("link")
    link.symlink_to(served.parent)
    with monkeypatch.context() as patch:
        # Here, the mode of a link lets everybody change it. On other file systems it need not.
        patch.setattr(wire_by_hand, "folder_mode_trusted", lambda mode: True)
        with pytest.raises(PermissionError):
            wire_by_hand.reach(f"ipc://{link}/coordinator.sock", by=soon())
    os.chmod(served.parent, 0o755)
    with pytest.raises(PermissionError):
        wire_by_hand.reach(f"ipc://{served}", by=soon())


def test_a_peer_of_another_user_is_not_spoken_to(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def is_only_the_folder(uid: int, user: int) -> bool:
        asked.append((uid, user))
        return len(asked) == 1

    monkeypatch.setattr(wire_by_hand, "trusted", is_only_the_folder)
    with pytest.raises(PermissionError):
        wire_by_hand.reach(f"ipc://{served}", by=soon())
    assert asked == [(os.geteuid(), wire_by_hand.invoking_user(os.environ))] * 2


@pytest.mark.parametrize("user", [os.geteuid() + 1, os.geteuid()])
def test_only_for_itself_a_process_takes_the_lock_to_start_one(
    monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    """Under sudo it is started as the invoking user, by a process of that user."""
    from unitsync.link import spawn_lock

    waited: list[int] = []
    monkeypatch.setattr(
        spawn_lock, "await_another", lambda folder, user, connect, by: waited.append(user)
    )
    monkeypatch.setattr(wire_by_hand, "invoking_user", lambda environ: user)
    for starting in (True, False):
        with pytest.raises(ConnectionRefusedError):
            wire_by_hand.reach(
                "ipc:///nonexistent/c/coordinator.sock", by=soon(), starting=starting
            )
    assert waited == ([user] if user == os.geteuid() else [])
