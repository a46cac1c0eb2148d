"""The watch on processes, with real ones: word comes once when one has ended, and of
whatever a client may say about its owner nothing is an accident."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from unitsync import owner as owners
from unitsync.wire import Owner
from unitsyncd.adapters import owners as adapter
from unitsyncd.adapters.owners import Owners
from unitsyncd.core.events import OwnerKey

PATIENCE_S = 20.0


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that ends when its stdin is closed."""
    code = "import sys; print('there', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


class Watch:
    def __init__(self) -> None:
        self.gone: list[OwnerKey] = []
        self._news = asyncio.Event()
        self.owners = Owners(self._on_gone, pidfds_max=1000)

    def _on_gone(self, key: OwnerKey) -> None:
        self.gone.append(key)
        self._news.set()

    async def next(self) -> OwnerKey:
        await asyncio.wait_for(self._news.wait(), PATIENCE_S)
        self._news.clear()
        return self.gone[-1]

    def watched(self) -> int:
        return len(self.owners._watched)


def watching(test: Callable[[Watch], Any]) -> None:
    async def run() -> None:
        watch = Watch()
        try:
            await test(watch)
        finally:
            watch.owners.close()

    asyncio.run(run())


@pytest.fixture(params=["pidfd", "polled"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "polled":
        monkeypatch.setattr(adapter, "POLL_S", 0.02)

        def no_pidfd(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not in this kernel")

        monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    return str(request.param)


@pytest.mark.usefixtures("how")
class TestEitherWay:
    @pytest.mark.parametrize("number", [9, 15, 0])
    def test_word_comes_when_a_process_has_ended(self, number: int) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                watch.owners.watch(owner)
                assert watch.owners.is_alive(owner)
                if number:
                    child.send_signal(number)
                else:
                    assert child.stdin is not None
                    child.stdin.close()
                assert await watch.next() == owner.key  # not reaped yet
                assert not watch.owners.is_alive(owner)
                assert watch.watched() == 0
            assert watch.gone == [owner.key]

        watching(test)

    def test_one_that_had_ended_before_is_told_of_too(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
            watch.owners.watch(owner)
            assert watch.gone == [], "never from within watch"
            assert await watch.next() == owner.key

        watching(test)

    def test_a_pid_that_belongs_to_another_process_by_now_is_one_that_has_ended(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                former = replace(owners.of_pid(child.pid), start=1)
                assert not watch.owners.is_alive(former)
                watch.owners.watch(former)
                assert await watch.next() == former.key
                assert watch.owners.is_alive(owners.of_pid(child.pid))

        watching(test)

    def test_who_was_forgotten_is_not_told_of(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child, process() as other:
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                watch.owners.watch(owners.of_pid(other.pid))
                watch.owners.forget(owner.key)
                child.kill()
                child.wait()
                other.kill()
                await watch.next()
            assert watch.gone == [owners_key(other)]

        def owners_key(other: subprocess.Popen[bytes]) -> OwnerKey:
            return next(key for key in seen if key[1] == other.pid)

        seen: list[OwnerKey] = []
        original = Owners.watch

        def noting(self: Owners, owner: Owner) -> None:
            seen.append(owner.key)
            original(self, owner)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Owners, "watch", noting)
            watching(test)

    def test_many_at_once(self) -> None:
        command = ["sleep", "1000"]
        children = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(50)]

        async def test(watch: Watch) -> None:
            keys = []
            for child in children:
                owner = owners.of_pid(child.pid)
                keys.append(owner.key)
                watch.owners.watch(owner)
            for child in children:
                child.kill()
            while len(watch.gone) < len(keys):
                await watch.next()
            assert sorted(watch.gone) == sorted(keys)
            for child in children:
                child.wait()

        watching(test)


@pytest.mark.parametrize("pid", [0, -1, -(2**31), 2**31, 2**40, 2**63 - 1])
def test_a_pid_that_cannot_be_one_is_one_that_has_ended(pid: int) -> None:
    """A client may send anything."""

    async def test(watch: Watch) -> None:
        owner = Owner(pid, 1, owners.this_process().ns)
        assert not watch.owners.is_alive(owner)
        watch.owners.watch(owner)
        assert await watch.next() == owner.key

    watching(test)


def test_a_thread_is_watched_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id is no process id, but has an entry in /proc."""
    monkeypatch.setattr(adapter, "POLL_S", 0.02)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id is not None
    number = thread.native_id

    async def test(watch: Watch) -> None:
        owner = owners.of_pid(number)
        watch.owners.watch(owner)
        assert watch.owners.is_alive(owner)
        end.set()
        assert await watch.next() == owner.key

    try:
        watching(test)
    finally:
        end.set()
        thread.join()


def test_a_pidfd_that_epoll_does_not_take_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "POLL_S", 0.02)

    async def test(watch: Watch) -> None:
        loop = asyncio.get_running_loop()

        def full(*args: Any) -> None:
            raise OSError(errno.ENOSPC, "too many watches")

        with process() as child:
            owner = owners.of_pid(child.pid)
            with monkeypatch.context() as patch:
                patch.setattr(loop, "add_reader", full)
                watch.owners.watch(owner)
            child.kill()
            assert await watch.next() == owner.key

    watching(test)


@pytest.mark.parametrize(
    "change", [{"ns": 1}, {"start": 0}, {"watched": False}], ids=["elsewhere", "no start", "no"]
)
def test_who_cannot_be_seen_counts_as_alive(change: dict[str, Any]) -> None:
    async def test(watch: Watch) -> None:
        with process() as child:
            owner = replace(owners.of_pid(child.pid), **change)
            watch.owners.watch(owner)
        assert watch.watched() == 0
        assert watch.owners.is_alive(owner)
        assert not watch.owners.can_be_seen(owner)

    watching(test)


HIDDEN = """
import asyncio, json, os, subprocess
from unitsync import owner
from unitsyncd.adapters.owners import Owners

child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
ended = subprocess.Popen(["true"], stdin=subprocess.PIPE)
roots, gone = owner.of_pid(child.pid), owner.of_pid(ended.pid)
ended.communicate()
os.setgroups([])
if os.fork() == 0:
    os.setresgid(12345, 12345, 12345)  # group 0 sees everything
    os.setresuid(12345, 12345, 12345)

    async def look():
        watch = Owners(lambda key: None, pidfds_max=10)
        for who in (roots, gone, owner.this_process()):
            watch.watch(who)
            print(watch.can_be_seen(who), watch.is_alive(who), watch.watched)
        watch.close()

    asyncio.run(look())
    os._exit(0)
os.wait()
child.communicate()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a process")
def test_one_that_proc_hides_is_not_one_that_has_ended() -> None:
    """hidepid of proc(5): what a process of another user is up to is not shown."""
    apart = ["unshare", "-m", "--propagation", "private"]
    hide = "mount -t proc -o hidepid=2 proc /proc"
    if subprocess.run([*apart, "sh", "-c", hide], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    command = [*apart, "sh", "-c", f'{hide} && exec "$0" -c "$1"', sys.executable, HIDDEN]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        "False True 0",  # it lives, and nobody could tell when it ends
        "True False 1",
        "True True 2",
    ]


def test_no_more_of_a_process_is_read_than_its_start() -> None:
    """To read its command line can block, on a lock that the process holds."""
    code = (
        "import os, sys\n"
        "from unitsyncd.adapters.owners import process_start\n"
        "read = []\n"
        "sys.addaudithook(lambda what, args: read.append(args[0]) if what == 'open' else None)\n"
        "process_start(os.getppid())\n"
        "print(*read)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [f"/proc/{os.getpid()}/stat"]


def test_no_descriptor_is_left(how: str) -> None:
    async def test(watch: Watch) -> None:
        before = len(os.listdir("/proc/self/fd"))
        with process() as child:
            for _ in range(20):
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                watch.owners.forget(owner.key)
        assert len(os.listdir("/proc/self/fd")) == before

    watching(test)
