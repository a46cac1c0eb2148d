"""The watch on processes, with real ones: word comes once when one has ended and not
before, and of whatever a client may say about its owner nothing is an accident."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from unitsync.clients import owner as owners
from unitsync.wire import Owner
from unitsyncd.core.events import OwnerKey
from unitsyncd.system import owners as adapter
from unitsyncd.system.owners import Owners

PATIENCE_S = 20.0


UNTIL_CLOSED = "import sys; print('there', flush=True); sys.stdin.read()"
WITHOUT_MAIN_THREAD = """
import ctypes, os, sys, threading

def work():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    print("there", flush=True)
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@contextmanager
def process(code: str = UNTIL_CLOSED) -> Iterator[subprocess.Popen[bytes]]:
    """One that ends when its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


def kill_unreaped(child: subprocess.Popen[bytes]) -> None:
    """Returns when it is a zombie. Needs no descriptor."""
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


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

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(adapter.POLL_S / 2)

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


@pytest.fixture
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "POLL_S", 0.02)


@pytest.fixture(params=["pidfd", "polled"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, polls_often: None) -> str:
    if request.param == "polled":

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

    @pytest.mark.parametrize("number", [9, 0])
    def test_one_that_goes_on_without_its_main_thread(self, number: int) -> None:
        """That is a zombie then, as /proc/PID/stat has it."""

        async def test(watch: Watch) -> None:
            with process(WITHOUT_MAIN_THREAD) as child, process() as other:
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                watch.owners.watch(owners.of_pid(other.pid))
                assert watch.owners.is_alive(owner)
                other.kill()
                await watch.next()  # everybody was looked at
                assert watch.owners.is_alive(owner)
                assert watch.owners.watched == 1
                if number:
                    child.send_signal(number)
                else:
                    assert child.stdin is not None
                    child.stdin.close()
                assert await watch.next() == owner.key
                assert not watch.owners.is_alive(owner)

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


@pytest.mark.usefixtures("polls_often")
def test_a_thread_is_watched_as_well() -> None:
    """Its id is no process id, but has an entry in /proc."""
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


@pytest.mark.usefixtures("polls_often")
def test_a_pidfd_that_epoll_does_not_take_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
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
    "change",
    [{"ns": 1}, {"clock": 1}, {"start": 0}, {"watched": False}],
    ids=["elsewhere", "another clock", "no start", "no"],
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


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing can be opened, as if this process had as many files open as it may."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("polls_often")
class TestWithoutDescriptors:
    def test_who_cannot_be_looked_at_is_not_dead_but_unseen(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
                with no_descriptors():
                    watch.owners.watch(owner)
                    assert watch.owners.is_alive(owner)
                    await asyncio.sleep(0)
                    assert watch.gone == []
                    assert (watch.owners.unseen, watch.owners.watched) == ({owner.key}, 0)
                await watch.until(lambda: not watch.owners.unseen)
                assert watch.owners.watched == 1
                assert watch.owners._watched[owner.key] is not None, "by polling alone"
                child.kill()
                assert await watch.next() == owner.key

        watching(test)

    def test_who_is_looked_at_by_polling(self) -> None:
        async def test(watch: Watch) -> None:
            watch.owners = Owners(watch._on_gone, pidfds_max=0)
            with process() as child:
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                assert watch.owners.watched == 1
                with no_descriptors():
                    await watch.until(lambda: watch.owners.unseen == {owner.key})
                await watch.until(lambda: not watch.owners.unseen)
                assert watch.gone == []
                child.kill()
                assert await watch.next() == owner.key

        watching(test)

    @pytest.mark.parametrize("ends", [False, True])
    def test_a_descriptor_that_is_free_again_is_used_for_the_next(self, ends: bool) -> None:
        """Whether its owner has ended or was forgotten; there is one for all."""

        async def test(watch: Watch) -> None:
            watch.owners = Owners(watch._on_gone, pidfds_max=1)
            with process() as first, process() as other, process() as next_one:
                keys = []
                for child in (first, other):
                    owner = owners.of_pid(child.pid)
                    watch.owners.watch(owner)
                    keys.append(owner.key)
                held = watch.owners._watched
                assert [held[key] is not None for key in keys] == [True, False]
                if ends:
                    first.kill()
                    assert await watch.next() == keys[0]
                else:
                    watch.owners.forget(keys[0])
                watch.owners.forget(keys[1])
                owner = owners.of_pid(next_one.pid)
                watch.owners.watch(owner)
                assert held[owner.key] is not None

        watching(test)

    def test_one_that_is_watched_already(self) -> None:
        """What was opened for it before tells all there is to know."""

        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
                watch.owners.watch(owner)
                with no_descriptors():
                    assert watch.owners.is_alive(owner)
                    kill_unreaped(child)
                    assert not watch.owners.is_alive(owner)
                    assert await watch.next() == owner.key

        watching(test)

    def test_one_whose_pid_is_free_has_ended(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
                with no_descriptors():
                    watch.owners.watch(owner)
                    child.kill()
                    child.wait()
                    assert await watch.next() == owner.key
                    assert not watch.owners.is_alive(owner)
                assert watch.owners.unseen == set()

        watching(test)

    def test_one_that_is_forgotten_is_unseen_no_more(self) -> None:
        async def test(watch: Watch) -> None:
            with process() as child:
                owner = owners.of_pid(child.pid)
                with no_descriptors():
                    watch.owners.watch(owner)
                    watch.owners.forget(owner.key)
                assert (watch.owners.unseen, watch.watched()) == (set(), 0)

        watching(test)


PRELUDE = """
import asyncio, os, signal, subprocess, sys
from unitsync.clients import owner
from unitsyncd.system import owners

owners.POLL_S = 0.02

class Watch(owners.Owners):
    def __init__(self, pidfds_max):
        self.gone = []
        super().__init__(self.gone.append, pidfds_max=pidfds_max)

async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)

"""


def unshared(flags: list[str], before: str, code: str) -> list[str]:
    """What *code* prints in namespaces of its own, where the command *before* was run."""
    apart = ["unshare", *flags, "--propagation", "private"]
    if subprocess.run([*apart, "sh", "-c", before], check=False).returncode:
        pytest.skip("there are no namespaces to be had here")
    command = f'{before} && exec "$0" -c "$1"'
    return subprocess.run(
        [*apart, "sh", "-c", command, sys.executable, PRELUDE + code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()


HIDDEN = """
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
roots = owner.of_pid(child.pid)
to_root, ask = os.pipe()
answer, to_user = os.pipe()
if os.fork():
    with os.fdopen(to_root) as asked:
        os.close(ask)
        for what in asked:
            if what == "end\\n":
                child.kill()
                child.wait()
            else:
                subprocess.run(["mount", "-o", "remount," + what.strip(), "/proc"], check=True)
            os.write(to_user, b"\\n")
    os.wait()
    os._exit(0)

os.close(to_root)
os.setgroups([])
os.setresgid(12345, 12345, 12345)  # group 0 sees everything
os.setresuid(12345, 12345, 12345)

def root(what):
    os.write(ask, what.encode() + b"\\n")
    os.read(answer, 1)

async def look():
    polled, watching, late = Watch(0), Watch(9), Watch(9)
    for watch in polled, watching:
        watch.watch(roots)
        print("shown", watch.is_alive(roots), watch.watched)
    root("hidepid=2")
    late.watch(roots)
    await until(lambda: polled.unseen)
    for watch in polled, watching, late:
        print("hidden", watch.is_alive(roots), watch.watched, watch.gone)
    late.watch(owner.this_process())
    print("ourselves", late.watched)
    root("hidepid=0")
    await until(lambda: not polled.unseen and not late.unseen)
    print("shown again", polled.watched, late.watched)
    root("hidepid=2")
    await until(lambda: polled.unseen)
    root("end")
    await until(lambda: polled.gone and watching.gone and late.gone)
    print("ended", polled.is_alive(roots), polled.watched, watching.watched, late.watched)
    for watch in polled, watching, late:
        watch.close()

asyncio.run(look())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a process")
def test_one_that_proc_hides_is_not_one_that_has_ended() -> None:
    """hidepid of proc(5): what a process of another user is up to is not shown."""
    assert unshared(["-m"], "mount -t proc proc /proc", HIDDEN) == [
        "shown True 1",
        "shown True 1",
        "hidden True 0 []",  # it lives, and nobody could tell when it ends
        "hidden True 1 []",
        "hidden True 0 []",
        "ourselves 1",
        "shown again 1 2",
        "ended False 0 0 1",
    ]


REUSED = """
def process(pid=0):
    if pid:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
    child = os.fork()
    if not child:
        signal.pause()
    assert pid in (0, child)
    return child

def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

pidfd_open = os.pidfd_open

def too_late(pid):
    # Its number goes to another process just before it is opened.
    os.pidfd_open = pidfd_open
    end(pid)
    process(pid)
    while owner.of_pid(pid).start == script.start:  # within one tick of the clock
        end(pid)
        process(pid)
    return pidfd_open(pid)

async def look():
    global script
    for what in "watch", "is_alive":
        script = owner.of_pid(process())
        watch = Watch(9)
        os.pidfd_open = too_late
        if what == "watch":
            watch.watch(script)
            await until(lambda: watch.gone)
            print(watch.gone == [script.key])
        else:
            print(watch.is_alive(script))
        print(watch.is_alive(owner.of_pid(script.pid)))
        end(script.pid)
        watch.close()

asyncio.run(look())
"""


def test_a_pid_that_is_given_to_another_process_just_before_it_is_opened() -> None:
    flags = ["-pf", "--mount-proc"] if os.geteuid() == 0 else ["-rpf", "--mount-proc"]
    told = unshared(flags, "test -w /proc/sys/kernel/ns_last_pid", REUSED)
    assert told == ["True", "True", "False", "True"]


def test_no_more_of_a_process_is_read_than_its_start() -> None:
    """To read its command line can block, on a lock that the process holds."""
    code = (
        "import os, sys\n"
        "from unitsyncd.system.processes import has_ended\n"
        "read = []\n"
        "sys.addaudithook(lambda what, args: read.append(args[0]) if what == 'open' else None)\n"
        "has_ended(os.getppid(), 1, None)\n"
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
