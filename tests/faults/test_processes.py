"""What the kernel says of processes, with real ones."""

from __future__ import annotations

import os

import pytest

from faults.test_owner_watch import WITHOUT_MAIN_THREAD, kill_unreaped, no_descriptors, process
from unitsync.owner.calling_script import Process
from unitsyncd.system.processes import has_died, is_dying
from unitsyncd.transport.access import Peer
from unitsyncd.transport.client_processes import ClientProcesses


def looks(pid: int) -> tuple[bool, bool]:
    return has_died(pid), is_dying(pid)


def test_until_it_is_reaped_and_afterwards() -> None:
    with process() as child:
        assert looks(child.pid) == (False, False)
        kill_unreaped(child)
        assert looks(child.pid) == (True, True)
    assert looks(child.pid) == (True, True)


def test_without_its_main_thread() -> None:
    with process(WITHOUT_MAIN_THREAD) as child:
        assert looks(child.pid) == (False, False)
        kill_unreaped(child)
        assert looks(child.pid) == (True, True)


def test_without_a_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel before 5.3."""

    def none(pid: int, flags: int = 0) -> int:
        raise OSError("not in this kernel")

    monkeypatch.setattr(os, "pidfd_open", none)
    test_until_it_is_reaped_and_afterwards()
    test_without_its_main_thread()


def test_without_descriptors() -> None:
    """What cannot be looked at is not dead."""
    with process() as child:
        with no_descriptors():
            assert looks(child.pid) == (False, False)
        kill_unreaped(child)
        with no_descriptors():
            assert looks(child.pid) == (False, False)
    with no_descriptors():
        assert looks(child.pid) == (True, True)


@pytest.mark.parametrize(
    ("state", "flags", "threads", "pending", "dying"),
    [
        ("S", 0x400000, 1, 0, False),
        ("R", 0x400000, 1, 1 << 14, False),  # SIGTERM, which it may survive
        ("S", 0x400000, 1, 1 << 8, True),  # SIGKILL, which it has not noticed
        ("R", 0x400000, 7, 1 << 8, True),
        ("R", 0x400004, 1, 0, True),  # PF_EXITING
        ("R", 0x400004, 7, 0, False),  # of the main thread alone
        ("Z", 0x400004, 7, 0, False),
        ("Z", 0x400004, 1, 0, True),
        ("X", 0x400004, 0, 0, True),
    ],
)
def test_killed_and_about_to_end(
    state: str, flags: int, threads: int, pending: int, dying: bool
) -> None:
    """The fields of proc_pid_stat(5), of which no process holds still."""
    stat = f"7 (a) b) {state} 1 1 1 0 -1 {flags}{' 0' * 10} {threads} 0 99{' 0' * 8} {pending} 0"
    assert Process(7, stat.encode(), b"").is_dying is dying


@pytest.mark.parametrize("closely", [False, True])
def test_a_client_is_looked_at_once_a_turn(closely: bool) -> None:
    with process() as child:
        clients = ClientProcesses({b"peer": Peer(0, 0, child.pid), b"elsewhere": Peer(0, 0, 0)}.get)
        assert not clients.is_dead(b"peer", closely=closely)
        kill_unreaped(child)
        assert not clients.is_dead(b"peer", closely=closely)
        clients.end_turn()
        for peer, dead in {b"peer": True, b"elsewhere": False, b"unknown": False}.items():
            for _ in range(2):
                assert clients.is_dead(peer, closely=closely) is dead


def test_one_that_was_alive_a_moment_ago_is_looked_at_more_closely_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been killed on the word that all is ready."""
    monkeypatch.setattr("unitsyncd.transport.client_processes.is_dying", lambda pid: True)
    clients = ClientProcesses({b"peer": Peer(0, 0, os.getpid())}.get)
    assert not clients.is_dead(b"peer")
    assert clients.is_dead(b"peer", closely=True)
