"""One unit under ``up``, with real commands and a coordinator whose answers the test gives."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from unitsync import errors, wire
from unitsync.logs.files import RunLog
from unitsync.plan.model import Edge, UnitPlan
from unitsync.process import probes
from unitsync.up.runner import processes, reports, stopping
from unitsync.up.runner.gate_job import GateJob
from unitsync.up.runner.job import Job
from unitsync.up.runner.probing import Probing
from unitsync.up.runner.processes import Children, Guardian, Output
from unitsync.up.runner.reports import Reports
from unitsync.up.runner.slots import Slots
from unitsync.up.runner.states import State

PATIENCE_S = 20.0
processes._spare_descriptors()  # they stay open


class Coordinator:
    """A client that grants the start at once. The test answers what follows."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.starts = 0
        self._answers: list[asyncio.Future[Any]] = []
        self._came = asyncio.Event()

    def said(self) -> dict[str, Any]:
        return {"id": "1", "owner": None, "startup": ""}

    async def start(self, name: str, **how: Any) -> wire.Granted:
        self.starts += 1
        return wire.Granted(id="1", epoch="e", run=1)

    async def ready(self, name: str, *, run: int) -> None:
        await self._answer(f"ready {run}")

    async def retry(self, name: str, reason: str) -> wire.Granted:
        await self._answer("retry")
        return wire.Granted(id="1", epoch="e", run=2)

    async def call(self, request: Any) -> wire.AnyReply:
        reply: wire.AnyReply | None = await self._answer(type(request).__name__.lower())
        return reply or wire.Ok(id="1")

    async def _answer(self, to: str) -> Any:
        self.asked.append(to)
        self._answers.append(asyncio.get_running_loop().create_future())
        self._came.set()
        return await self._answers[-1]

    async def hears(self, *asked: str) -> None:
        """Returns once exactly this was asked."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.asked) < len(asked):
                self._came.clear()
                await self._came.wait()
        await settled()
        assert self.asked == list(asked)

    def answers(self, how: Exception | wire.Error | None = None) -> None:
        answer = self._answers.pop(0)
        if isinstance(how, Exception):
            answer.set_exception(how)
        else:
            answer.set_result(how)


async def settled() -> None:
    """Whatever is ready to go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


class Runner:
    """The Host of one job. ``seen`` are its states."""

    def __init__(self, folder: Path, client: Coordinator) -> None:
        self.client: Any = client
        self.slots = Slots(0)
        self.guardian = Guardian(f"{processes.MARK}=test", str(folder))
        self.children = Children(asyncio.get_running_loop(), self.guardian)
        self.left_behind: list[Output] = []
        self.seen: list[str] = []
        self._moved = asyncio.Event()

    def waits_for_others(self, unit: UnitPlan) -> bool:
        return False

    def environment(self, unit: UnitPlan) -> dict[bytes, bytes]:
        return dict(os.environb)

    def open_log(self, epoch: str, unit: str, run: int) -> RunLog | None:
        return None

    def on_started(self, job: Job) -> None:
        pass

    def on_moved(self, job: Job) -> None:
        self.seen.append(job.state)
        self._moved.set()

    def on_output(self, job: Job, data: bytes) -> None:
        pass

    def warn(self, text: str, hint: str = "") -> None:
        pytest.fail(text)

    async def sees(self, state: State) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while state not in self.seen:
                self._moved.clear()
                await self._moved.wait()

    def close(self) -> None:
        self.children.close()
        self.guardian.end()


@pytest_asyncio.fixture
async def coordinator() -> Coordinator:
    return Coordinator()


@pytest_asyncio.fixture
async def runner(tmp_path: Path, coordinator: Coordinator) -> AsyncIterator[Runner]:
    runner = Runner(tmp_path, coordinator)
    yield runner
    runner.close()


def launched(runner: Runner, folder: Path, code: str, **more: Any) -> Job:
    """The job of a unit that runs *code* in *folder*."""
    job = Job(unit(folder, code, **more), runner)
    job.launch(())
    return job


def unit(folder: Path, code: str, **more: Any) -> UnitPlan:
    words = ("/bin/sh", "-c", code)
    return UnitPlan(**({"name": "u", "words": words, "cwd": str(folder), "source": folder} | more))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "then"), [(0, "complete"), (1, "retry")], ids=["completed", "retried"]
)
async def test_what_is_told_of_a_run_arrives_before_its_end(
    runner: Runner, coordinator: Coordinator, tmp_path: Path, status: int, then: str
) -> None:
    """If the link breaks meanwhile, both are sent again, in any order."""
    code = f"echo up; test -e again && exit 0; touch again; exit {status}"
    job = launched(runner, tmp_path, code, ready="line:up", retries=1, backoff_s=0.0)
    await runner.sees(State.RETRYING if status else State.RUNNING)
    if not status:
        assert job._over is not None
        await job._over
    await coordinator.hears("ready 1")
    assert (job.hearing is None) == bool(status)  # the end of a unit is told with its last note
    coordinator.answers()
    await coordinator.hears("ready 1", then)
    coordinator.answers()
    if status:
        await coordinator.hears("ready 1", "retry", "ready 2")
        coordinator.answers()
        await coordinator.hears("ready 1", "retry", "ready 2", "complete")
        coordinator.answers()
    await job.over()
    assert job.state is State.COMPLETED


@pytest.mark.asyncio
async def test_a_stop_command_does_not_outlast_the_run_that_it_is_about(
    runner: Runner, coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could end the next run."""

    def noted(group: int, number: int) -> bool:
        runner.seen.append("killed")
        return processes.signal_group(group, number)

    monkeypatch.setattr(stopping, "signal_group", noted)
    code = "test -e pid && exit 0; echo $$ > new; mv new pid; exec sleep 1000"
    stop = "until kill $(cat pid); do sleep 0.01; done; exec sleep 1000"
    more: dict[str, Any] = {"timeout_s": 3600, "grace_s": 1, "retries": 1, "backoff_s": 0.0}
    job = launched(runner, tmp_path, code, stop=stop, shell=("/bin/sh",), **more)
    await runner.sees(State.RUNNING)
    assert job._life is not None
    job._carry_out(job._life.tick(job._life.deadline))  # its time is up
    await coordinator.hears("retry")
    coordinator.answers()
    await coordinator.hears("retry", "complete")
    coordinator.answers()
    await job.over()
    assert runner.seen == [
        *("running", "stopping", "retrying"),
        *("killed", "running", "completed"),
    ]


@pytest.mark.asyncio
async def test_a_run_that_may_not_be_retried_is_the_last_one(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    job = launched(runner, tmp_path, "echo ran >> ran; exit 3", retries=5, backoff_s=0.0)
    await coordinator.hears("retry")
    coordinator.answers(errors.Refused("others run it"))
    await coordinator.hears("retry", "fail")
    coordinator.answers()
    await job.over()
    assert (job.state, job.reason) == (State.FAILED, "exit status 3; others run it")
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.asyncio
async def test_one_that_becomes_ready_and_fails_at_once_is_never_shown_as_ready(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    """What needs only its start would go on."""
    code = "mkdir ran || exit 4; until [ -e go ]; do sleep 0.01; done; echo up; exit 3"
    job = launched(runner, tmp_path, code, ready="line:up", retries=1, backoff_s=0.0)
    await runner.sees(State.LAUNCHING)
    assert job.output is not None
    job.output.hold()  # as if this were busy: its last line is read when it has ended
    (tmp_path / "go").touch()
    for asked in (["ready 1"], ["ready 1", "retry"], ["ready 1", "retry", "fail"]):
        await coordinator.hears(*asked)
        coordinator.answers()
    await job.over()
    assert runner.seen == ["launching", "retrying", "launching", "failed"]
    assert job.lasted_s(0.0) == job.since - job.began >= 0


@pytest.mark.asyncio
async def test_a_program_that_is_not_there_leaves_nothing_open(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    job = launched(runner, tmp_path, "", words=("no-such-program-1357",), retries=5)
    await coordinator.hears("fail")
    coordinator.answers()
    await job.over()
    assert job.reason == "no-such-program-1357: no such program"


@pytest.mark.asyncio
async def test_it_asks_for_its_start_when_what_it_waits_for_has_moved_on(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    job = Job(unit(tmp_path, "true"), runner)
    asked: list[str] = []
    for times in (1, 2):  # the second time, it is run again
        job.launch({"a", "b"})
        job.moved_on("a")
        await settled()
        assert coordinator.starts == times - 1
        job.moved_on("b")
        asked.append("complete")
        await coordinator.hears(*asked)
        coordinator.answers()
        await job.over()
        job.begin_anew()
    assert coordinator.starts == 2


@pytest.mark.asyncio
async def test_a_gate_is_asked_about_while_what_it_waits_for_may_still_be_enough(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    edges = tuple(map(Edge, "abcd"))
    job = GateJob(unit(tmp_path, "", gate=True, count=2, after=edges), runner)
    job.launch("abcd")
    job.moved_on("a")
    await coordinator.hears()
    job.moved_on("b")
    await coordinator.hears("wait")
    skipped = wire.Error(id="1", code="skipped", message="u is skipped: a and b failed earlier")
    coordinator.answers(skipped)
    await settled()
    job.moved_on("b")  # it has ended; before, it had only started
    await coordinator.hears("wait")
    job.moved_on("c")
    await coordinator.hears("wait", "wait")
    coordinator.answers()
    await job.over()
    assert job.state is State.COMPLETED


@pytest.mark.asyncio
async def test_whoever_is_in_a_hurry_waits_for_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_HURRY_S", 0.01)
    told = Reports("u", lambda text, hint: pytest.fail(text))
    told.begin(asyncio.Event().wait())
    told.hurry()
    told.begin(asyncio.Event().wait())  # of an end that comes now
    async with asyncio.timeout(PATIENCE_S):
        await told.over()


SAYS = """
import os, socket
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
link.sendto(b"READY=1", b"\\0" + os.environb[b"NOTIFY_SOCKET"][1:])
"""


@pytest.mark.asyncio
async def test_what_a_command_says_right_before_its_end_counts(
    runner: Runner, coordinator: Coordinator, tmp_path: Path
) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    code = f"until [ -e go ]; do sleep 0.01; done; exec {sys.executable} -S says.py"
    job = launched(runner, tmp_path, code, ready="notify")
    await runner.sees(State.LAUNCHING)
    assert job.hearing is not None
    asyncio.get_running_loop().remove_reader(job.hearing._socket)  # as if this were busy
    (tmp_path / "go").touch()
    await coordinator.hears("ready 1")
    coordinator.answers()
    await coordinator.hears("ready 1", "complete")
    coordinator.answers()
    await job.over()


@pytest.mark.asyncio
async def test_when_a_unit_has_ended_so_has_its_probe(
    runner: Runner, coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.Probe.check, "__defaults__", (3600.0,))  # it is not waited for
    code = "until [ -e probed ]; do sleep 0.01; done"
    more: dict[str, Any] = {"ready": "touch probed; exec sleep 1000", "shell": ("/bin/sh",)}
    job = launched(runner, tmp_path, code, **more)
    await runner.sees(State.LAUNCHING)
    assert job._probing is not None
    trying = job._probing._task
    await coordinator.hears("fail")
    assert trying is not None
    assert trying.done()
    coordinator.answers()
    await job.over()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ready", "says", "is_ready"),
    [
        ("notify", True, True),
        ("line:up", True, False),
        ("exit 1", True, False),
        ("true", False, True),
    ],
)
async def test_a_service_is_ready_once_and_by_what_was_asked_for(
    tmp_path: Path, ready: str, says: bool, is_ready: bool
) -> None:
    told, news = list[str](), asyncio.Event()

    def tell(what: str) -> None:
        told.append(what)
        news.set()

    environment = dict(os.environb)
    probing = Probing(unit(tmp_path, "", ready=ready), environment, lambda: tell("ready"), tell)
    if says:
        probing.said_ready()
    if ready in ("exit 1", "true"):
        async with asyncio.timeout(PATIENCE_S):
            await news.wait()
    await settled()
    assert told.count("ready") == is_ready
    assert probing._task is None or probing._task.done() == is_ready
    probing.end()
    await probing.over()
