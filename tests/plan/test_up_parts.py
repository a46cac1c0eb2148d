"""Parts of ``up`` by themselves: who is believed at its socket, its record, slots, last lines, what
its runner asks and ends."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from unitsync import wire
from unitsync.aio import AsyncClient
from unitsync.errors import Refused, UnitsyncError, Unreachable, UsageError
from unitsync.link.conversation import Autostart
from unitsync.plan.model import Edge, Plan, UnitPlan
from unitsync.up import control, session
from unitsync.up.control import Request
from unitsync.up.runner import runner
from unitsync.up.runner.client import RunnerClient
from unitsync.up.runner.processes import LINE_BYTES_MAX, LastLines, marked
from unitsync.up.runner.record import Record, create, digest, lock, plan_of, read, record_file
from unitsync.up.runner.runner import Runner
from unitsync.up.runner.slots import Slots
from unitsync.up.runner.states import State
from unitsync.wire import Requirement, Status

PATIENCE_S = 20.0


def plan(**after: tuple[Edge, ...]) -> Plan:
    units = {
        name: UnitPlan(name=name, words=("true",), cwd="/", source=Path("/p"), after=edges)
        for name, edges in after.items()
    }
    return Plan(path=Path("/p"), units=units)


def test_a_socket_that_belongs_to_another_process_is_not_believed(tmp_path: Path) -> None:
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(tmp_path / f"up-{parent}.sock"))
        here.listen()
        assert control.running(str(tmp_path)) == [parent]
        with pytest.raises(Unreachable) as problem:
            control.ask(str(tmp_path), parent, Request("describe"), patience_s=1)
        assert not isinstance(problem.value, control.Silent)  # it was not even asked


def test_its_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    async def answer(request: Request) -> control.Answer:
        return control.Answer()

    async def modes() -> list[int]:
        async with control.Listener(str(tmp_path), answer):
            return [entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)]

    assert asyncio.run(modes()) == [0o600]


def test_what_the_system_refuses_is_said_to_who_asked(tmp_path: Path) -> None:
    async def refuse(request: Request) -> control.Answer:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def run() -> None:
        async with control.Listener(str(tmp_path), refuse):
            await asyncio.to_thread(control.ask, str(tmp_path), os.getpid(), Request("down"))

    with pytest.raises(UnitsyncError, match="No space left on device"):
        asyncio.run(run())


def test_a_long_request_is_heard_where_an_old_socket_was_left(tmp_path: Path) -> None:
    (tmp_path / f"up-{os.getpid()}.sock").touch()

    async def repeat(request: Request) -> control.Answer:
        return control.Answer(units=request.units)

    async def run() -> control.Answer:
        async with control.Listener(str(tmp_path), repeat):
            return await asyncio.to_thread(control.ask, str(tmp_path), os.getpid(), request)

    request = Request("kill", units=[f"unit-{number}" for number in range(20_000)])
    assert asyncio.run(run()).units == request.units


def test_an_error_and_its_hint_are_those_of_who_refuses(tmp_path: Path) -> None:
    async def refuse(request: Request) -> control.Answer:
        raise UsageError("there is no unit x", hint="did you mean y?")

    async def run() -> None:
        async with control.Listener(str(tmp_path), refuse):
            await asyncio.to_thread(control.ask, str(tmp_path), os.getpid(), Request("kill"))

    with pytest.raises(UsageError, match="there is no unit x") as problem:
        asyncio.run(run())
    assert problem.value.hint == "did you mean y?"


def test_sockets_of_dead_processes_are_removed(tmp_path: Path) -> None:
    for name in ("up-4194305.sock", "up-x.sock", "other"):
        (tmp_path / name).touch()
    assert control.running(str(tmp_path)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "up-x.sock"]


def test_a_socket_of_a_process_in_another_container_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(tmp_path / "up-4194305.sock"))
        here.listen()
        assert control.running(str(tmp_path)) == []
        assert (tmp_path / "up-4194305.sock").exists()


def test_an_up_that_cannot_be_seen_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LOCKED_MAX_S", 0.0)
    held = lock(str(tmp_path), Path("/p"))
    try:
        with pytest.raises(Unreachable, match="has the lock of /p"):
            session.runner_of(str(tmp_path), Path("/p"))
    finally:
        os.close(held)
    assert session.runner_of(str(tmp_path), Path("/p")) == 0


def test_the_record_knows_what_has_changed(tmp_path: Path) -> None:
    folder = str(tmp_path)
    first = plan(a=(), b=(Edge("a"), Edge("c", optional=True)))
    record = Record(folder, Path("/p"), "e1")
    assert record.no_longer(first) == {}
    record.declared(first)
    record.started(first.units["a"])
    record.close()
    assert plan_of(folder, "a", "e1") == Path("/p")
    assert plan_of(folder, "b", "e1") == Path("/p")  # it was not started, but is of that plan
    assert plan_of(folder, "a", "e2") is None
    again = Record(folder, Path("/p"), "e1")
    assert again.no_longer(plan(a=(), b=(Edge("a"), Edge("c")))) == {"b": ["c"]}
    assert again.no_longer(plan(a=())) == {}
    assert again.has_run(first.units["a"])
    assert not again.has_run(first.units["b"])
    changed = UnitPlan(name="a", words=("false",), cwd="/", source=Path("/p"))
    assert not again.has_run(changed)
    assert not Record(folder, Path("/p"), "e2").has_run(first.units["a"])
    other = Record(folder, Path("/other"), "e1")
    assert not other.has_run(first.units["a"])
    assert other.no_longer(plan(b=())) == {"b": ["a", "c"]}
    outside = replace(plan(x=()), external=frozenset({"b"}))
    assert other.no_longer(outside) == {}  # another plan runs b


def test_a_record_that_was_cut_off_can_be_read(tmp_path: Path) -> None:
    record = Record(str(tmp_path), Path("/p"), "e")
    record.declared(plan(a=(Edge("b"),)))
    (file,) = (tmp_path / "plans").iterdir()
    with file.open("ab") as more:
        more.write(b'{"epoch":"e","unit":"a","dig')
    assert Record(str(tmp_path), Path("/p"), "e").no_longer(plan(a=())) == {"a": ["b"]}


def test_links_beside_a_record_are_not_followed(tmp_path: Path) -> None:
    """The folder may belong to another user than us."""
    file, aim = record_file(str(tmp_path), Path("/p")), tmp_path / "aim"
    aim.write_bytes(b"theirs")
    (tmp_path / "plans").mkdir()
    Path(f"{file}.log").symlink_to(aim)
    with pytest.raises(OSError, match="symbolic links"):
        create(f"{file}.log", os.O_TRUNC)
    with pytest.raises(OSError, match="symbolic links"):
        read(f"{file}.log")
    assert aim.read_bytes() == b"theirs"


def test_the_plan_of_a_unit_is_the_one_that_has_started_it_last(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for path in ("/p", "/q"):
        record = Record(folder, Path(path), "e")
        record.declared(plan(a=()))
        record.started(plan(a=()).units["a"])
        record.close()
    for first, then in (("/p", "/q"), ("/q", "/p")):
        os.utime(record_file(folder, Path(first)), (1, 1))
        os.utime(record_file(folder, Path(then)), (2, 2))
        assert plan_of(folder, "a", "e") == Path(then)


def test_what_a_killed_up_left_of_a_record_is_no_part_of_the_next(tmp_path: Path) -> None:
    record = Record(str(tmp_path), Path("/p"), "e")
    record.declared(plan(a=()))
    file = Path(record_file(str(tmp_path), Path("/p")))
    before = file.read_bytes()
    file.with_suffix(".new").write_bytes(before * 10)
    record.declared(plan(a=()))
    assert file.read_bytes() == before


def test_a_gate_with_another_count_is_another_one() -> None:
    gate = replace(plan(a=(Edge("b"), Edge("c"))).units["a"], gate=True, count=1)
    assert digest(gate) != digest(replace(gate, count=2))


def test_a_plan_has_one_lock(tmp_path: Path) -> None:
    first, other = lock(str(tmp_path), Path("/p")), lock(str(tmp_path), Path("/q"))
    assert first >= 0
    assert other >= 0
    assert lock(str(tmp_path), Path("/p")) == -1
    os.close(first)
    again = lock(str(tmp_path), Path("/p"))
    assert again >= 0
    os.close(again)
    os.close(other)


def test_slots_go_to_who_waits_longest_and_none_is_lost() -> None:
    async def run() -> None:
        slots, got = Slots(1), list[int]()

        async def one(number: int) -> None:
            await slots.take()
            got.append(number)

        await one(0)
        tasks = [asyncio.create_task(one(number)) for number in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        slots.give_back()
        tasks[1].cancel()  # it has got its turn, and does not know yet
        await asyncio.wait(tasks[:3])
        assert got == [0, 3]
        slots.limit = 2
        await tasks[3]
        slots.take_at_once()
        slots.limit = 0
        await one(5)
        assert got == [0, 3, 4, 5]

    asyncio.run(run())


def test_a_slot_that_comes_free_while_somebody_gives_up_waiting_goes_to_the_next() -> None:
    async def run() -> None:
        slots = Slots(1)
        await slots.take()
        first, second = (asyncio.create_task(slots.take()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        slots.give_back()  # before the first of them knows
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(run())


def test_the_last_lines_are_whole_or_the_ends_of_long_ones() -> None:
    lines = LastLines()
    for data in (b"a\nb", b"c\n", b"\n", b"x" * 50_000, b"\nend"):
        lines.add(data)
    assert lines.all() == ["a", "bc", "", "x" * LINE_BYTES_MAX, "end"]
    assert lines.last() == "end"
    lines.add(b"\n \n\n")
    assert lines.last() == "end"
    assert LastLines().last() == ""


SAID: dict[str, Any] = {"id": "1", "owner": None}


def a_runner(folder: Path, of: Plan | None = None, **display: Any) -> Runner:
    """One that runs nothing yet."""
    shows: Any = SimpleNamespace(on_room=lambda call: None, **display)
    return Runner(of or plan(a=()), f"ipc://{folder}/s", shows, str(folder))


@pytest.mark.parametrize(
    ("request_", "epoch"),
    [
        (wire.Start(**SAID, unit="a"), "e"),
        (wire.Complete(**SAID, unit="a"), "e"),
        (wire.Declare(**SAID, units=[]), "e"),
        (wire.Wait(**SAID, units=["a"], epoch="earlier"), "earlier"),
        (wire.List(**SAID), ""),
        (wire.Ping(**SAID), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_it_changes_it_changes_only_in_the_state_that_it_began_with(
    monkeypatch: pytest.MonkeyPatch, request_: wire.AnyRequest, epoch: str
) -> None:
    """Another one knows no prerequisites, and would let everybody start."""
    asked: list[str] = []

    async def call(client: AsyncClient, request: wire.AnyRequest, timeout_s: float | None) -> Any:
        asked.append(request.epoch)

    monkeypatch.setattr(AsyncClient, "_call", call)
    client = RunnerClient("ipc:///nowhere/s")
    before = request_.epoch
    asyncio.run(client._call(request_, None))
    client.epoch = "e"
    asyncio.run(client._call(request_, None))
    assert asked == [before, epoch]


@pytest.mark.parametrize(
    ("status", "given_up", "over"),
    [
        (Status.PENDING, "", False),
        (Status.PENDING, "timed out", True),
        (Status.SKIPPED, "", True),
        (Status.COMPLETED, "", True),
        (Status.FAILED, "", True),
        (Status.STARTED, "refused", False),
        (Status.LAUNCHING, "refused", False),
    ],
)
def test_what_counts_until_a_unit_is_started_again(
    status: Status, given_up: str, over: bool
) -> None:
    """It is reset. Otherwise the others are told that nobody is there to start it."""
    assert runner._is_over(wire.UnitInfo("a", status, False, given_up=given_up)) is over


@pytest.mark.asyncio
@pytest.mark.parametrize("is_in_a_hurry", [False, True])
async def test_what_was_left_behind_is_asked_to_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_a_hurry: bool
) -> None:
    """A second signal often means that nothing is to be cleaned up any more. When nobody wants to
    wait, it is killed."""
    looked, enough = [0], asyncio.Event()

    def looks(mark: str) -> list[int]:
        looked[0] += (tmp_path / "asked").exists()
        if looked[0] > 5:
            loop.call_soon_threadsafe(enough.set)
        return marked(mark)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(runner, "marked", looks)
    monkeypatch.setattr(runner, "_LEFT_OVER_EVERY_S", 0.001)
    ends = a_runner(tmp_path)
    code = "trap 'echo asked >> asked' TERM; echo; until [ -e enough ]; do sleep 0.01; done; exit 0"
    name, _, value = ends._mark.partition("=")
    left = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", code),
        env=os.environ | {name: value},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    async with asyncio.timeout(PATIENCE_S):
        assert left.stdout is not None
        await left.stdout.readline()
        ending = loop.create_task(ends._end_the_rest())
        await enough.wait()
        if is_in_a_hurry:
            ends._hurried = True
        else:
            (tmp_path / "enough").touch()
        await left.communicate()
        await ending
    assert left.returncode == (-signal.SIGKILL if is_in_a_hurry else 0)
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_who_waits_for_what_only_a_pattern_has_brought_asks_when_others_have_to_wait(
    tmp_path: Path,
) -> None:
    """The coordinator may have taken that edge back, because of a cycle."""
    of = plan(
        a=(Edge("b"), Edge("d"), Edge("f")),
        b=(Edge("c", pattern="c*"),),
        d=(Edge("e"),),
        e=(Edge("c", pattern="c*"),),
        f=(Edge("c", pattern="c*"), Edge("e")),
        c=(),
    )
    waits = a_runner(tmp_path, of, waiting=lambda lines: None)
    asked: list[str] = []
    for name, unit in of.units.items():
        missing = {edge.unit for edge in unit.after}
        job: Any = SimpleNamespace(unit=unit, state=State.WAITING, missing=missing)
        job.ask = partial(asked.append, name)
        waits.jobs[name] = job
    waits.jobs["c"].state = State.RUNNING
    edges = [
        wire.Prerequisite(name, Requirement.SUCCESS, Status.PENDING, False)
        for name in ("b", "d", "f", "outside")
    ]
    waits._waits(wire.Waiting(id="1", waiting_for=edges))
    assert sorted(asked) == ["b", "e"]


def test_that_what_runs_cannot_be_recorded_is_said_once(tmp_path: Path) -> None:
    warned: list[str] = []

    def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    runs = a_runner(tmp_path, warn=lambda text, hint: warned.append(text))
    for _ in range(3):
        runs._recorded(refuse, None)
    assert warned == ["what runs cannot be recorded: No space left on device"]


@pytest.mark.asyncio
async def test_an_up_that_has_ended_takes_nothing_more(tmp_path: Path) -> None:
    runs = a_runner(tmp_path)
    runs._over = True
    with pytest.raises(Refused, match="this up is ending"):
        await runs.bring_up(runs.plan)


@pytest.mark.asyncio
async def test_units_are_asked_for_page_by_page_and_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = (wire.UnitInfo(name, Status.STARTED, False) for name in "ab")
    asked: list[wire.List] = []

    async def ask(client: AsyncClient, request: wire.List, kind: type) -> wire.ListReply:
        asked.append(request)
        assert len(asked) < 9, "it never ends"
        units = [b if request.offset else a]
        return wire.ListReply(id="1", units=units, total=9, next=request.offset + 1)

    monkeypatch.setattr(AsyncClient, "_ask", ask)
    client = RunnerClient("ipc:///nowhere/s")
    client.epoch = "e"
    assert await client.list_if_there(["a", "b"]) == [a, b]
    assert [(each.epoch, each.offset, each.units) for each in asked] == [
        *(("e", 0, ["a", "b"]), ("e", 1, ["a", "b"]))
    ]
    assert all(each.may.autostart == Autostart.NEVER for each in asked)


@pytest.mark.asyncio
async def test_only_the_start_of_a_unit_has_it_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def exchange(client: AsyncClient, *_: Any, told: bool) -> wire.AnyReply:
        return wire.Waiting(id="1")

    monkeypatch.setattr(AsyncClient, "_exchange", exchange)
    client = RunnerClient("ipc:///nowhere/s")
    client.on_start_waits = lambda unit, reply: heard.append(unit)
    step: Any = None
    for request in (wire.Start(**SAID, unit="a"), wire.Wait(**SAID, units=["b"])):
        await client._exchange(request, b"", step, told=False)
    assert heard == ["a"]
