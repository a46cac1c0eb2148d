"""When ``up`` sends what the command of a unit says, and when what others say counts, without
processes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from support.users import as_root
from unitsync import errors, wire
from unitsync.link.conversation import Autostart
from unitsync.up.runner import hearing
from unitsync.up.runner.hearing import Hearing, _users
from unitsync.up.runner.notes import look

PATIENCE_S = 30.0


class Coordinator:
    """A client whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self._asked = asyncio.Event()
        self._answers: list[asyncio.Future[wire.AnyReply]] = []
        self.listed: list[list[str]] = []
        self.list_answer: asyncio.Future[list[wire.UnitInfo]] = asyncio.Future()

    def said(self) -> dict[str, Any]:
        return {"id": "1", "owner": None, "startup": ""}

    async def call(self, request: Any) -> Any:
        self.asked.append(request)
        answer: asyncio.Future[wire.AnyReply] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._asked.set()
        return await answer

    async def list_if_there(self, names: Collection[str]) -> list[wire.UnitInfo]:
        self.listed.append(list(names))
        return await self.list_answer

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.asked]

    async def hears(self, text: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.texts.count(text) < times:
                self._asked.clear()
                await self._asked.wait()

    def answers(self, how: Exception | wire.AnyReply | None = None) -> None:
        answer = self._answers.pop(0)
        if isinstance(how, Exception):
            answer.set_exception(how)
        else:
            answer.set_result(how or wire.Ok(id="1"))

    def answer_all(self) -> None:
        while self._answers:
            self.answers()


class Unit:
    """A job, as far as Hearing knows it, and a command that speaks."""

    name = "u"
    run = 7
    note = ""

    def __init__(self, coordinator: Coordinator, **variables: str) -> None:
        environment = {name.encode(): value.encode() for name, value in variables.items()}
        self.coordinator = coordinator
        self.heard: list[str] = []
        self._came = asyncio.Event()
        self.hearing = Hearing(environment, "", self, coordinator)  # type: ignore[arg-type]
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.link.connect(b"\0" + environment[b"NOTIFY_SOCKET"][1:])

    def on_ready(self) -> None:
        self._hear("READY")

    def on_note(self, text: str) -> None:
        self.note = text
        self._hear(text)

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        self._came.set()

    async def says(self, text: str) -> None:
        """Returns when it is heard."""
        self._came.clear()
        self.link.send(text.encode())
        async with asyncio.timeout(PATIENCE_S):
            await self._came.wait()

    async def close(self) -> None:
        self.hearing.over(failed=False)
        self.link.close()
        self.coordinator.answer_all()
        await settled()


async def settled() -> None:
    """Whatever is ready to go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def coordinator() -> Coordinator:
    return Coordinator()


@pytest_asyncio.fixture
async def unit(coordinator: Coordinator) -> AsyncIterator[Unit]:
    unit = Unit(coordinator)
    yield unit
    await unit.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is longer than any test."""
    monkeypatch.setattr(hearing, "NOTE_EVERY_S", 1e6)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "NOTE_EVERY_S", 0.001)


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow")
async def test_one_goes_at_once_and_the_next_after_a_pause(
    coordinator: Coordinator, unit: Unit
) -> None:
    await unit.says("STATUS=0")
    await coordinator.hears("0")
    (request,) = coordinator.asked
    assert (request.unit, request.text, request.run) == ("u", "0", 7)
    assert request.may.acts
    assert request.may.autostart == Autostart.NEVER
    assert isinstance(wire.decode_request(wire.encode(request)), wire.Note)
    coordinator.answers()
    await unit.says("READY=1")
    for number in range(1, 100):
        await unit.says(f"STATUS={number}")
    await settled()
    assert coordinator.texts == ["0"]
    assert unit.heard == ["0", "READY", *map(str, range(1, 100))]
    unit.hearing.over(failed=True)
    await coordinator.hears("99")
    coordinator.answers()
    assert coordinator.texts == ["0", "99"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_of_many_the_latest_is_sent_when_there_is_an_answer(
    coordinator: Coordinator, unit: Unit
) -> None:
    await unit.says("STATUS=0")
    await coordinator.hears("0")
    await unit.says("STATUS=1")
    await unit.says("STATUS=2")
    await asyncio.sleep(0.02)  # the pause is over, and there is no answer yet
    assert coordinator.texts == ["0"]
    coordinator.answers()
    await coordinator.hears("2")
    await unit.says("STATUS=3")
    await unit.says("STATUS=2")  # which it is already, when the answer has come
    coordinator.answers()
    await asyncio.sleep(0.02)
    await unit.says("STATUS=last")
    await coordinator.hears("last")
    coordinator.answers()
    await settled()
    await asyncio.sleep(0.02)
    assert coordinator.texts == ["0", "2", "last"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_what_could_not_be_sent_is_sent_again(coordinator: Coordinator, unit: Unit) -> None:
    await unit.says("STATUS=0")
    for number in range(3):
        await coordinator.hears("0", number + 1)
        coordinator.answers(errors.Unreachable("away"))
    await coordinator.hears("0", 4)
    await unit.says("STATUS=1")
    coordinator.answers(errors.Unreachable("away"))
    await coordinator.hears("1")
    await unit.says("STATUS=")  # nobody knows which one it has
    coordinator.answers(errors.Unreachable("away"))
    await coordinator.hears("")
    coordinator.answers()
    assert coordinator.texts == ["0", "0", "0", "0", "1", ""]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("failed", [True, False])
async def test_after_the_end_it_is_not_sent_again(
    coordinator: Coordinator, unit: Unit, failed: bool
) -> None:
    await unit.says("STATUS=0")
    await coordinator.hears("0")
    unit.hearing.over(failed=failed)
    coordinator.answers(errors.Unreachable("away"))
    await asyncio.sleep(0.02)
    assert coordinator.texts == ["0"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_when_the_pause_is_over_the_latest_is_sent(
    coordinator: Coordinator, unit: Unit
) -> None:
    for text in ("0", "1", "2"):
        await unit.says(f"STATUS={text}")
        await coordinator.hears(text)
        coordinator.answers()


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow")
async def test_of_one_that_has_not_failed_nothing_more_is_sent(
    coordinator: Coordinator, unit: Unit
) -> None:
    await unit.says("STATUS=0")
    await coordinator.hears("0")
    await unit.says("STATUS=1")
    unit.hearing.over(failed=False)
    coordinator.answers()
    await settled()
    assert coordinator.texts == ["0"]


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow")
async def test_what_is_there_at_the_end_is_heard_and_nothing_after_it(unit: Unit) -> None:
    before = len(os.listdir("/proc/self/fd"))
    unit.link.send(b"STATUS=1")
    unit.link.send(b"READY=1")
    unit.hearing.end()
    assert unit.heard == ["1", "READY"]
    with pytest.raises(OSError, match=r"refused|Broken pipe"):
        unit.link.send(b"STATUS=2")
    assert len(os.listdir("/proc/self/fd")) == before - 1
    unit.hearing.over(failed=True)
    await settled()


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow")
async def test_others_have_their_turn_beside_one_that_never_stops(
    unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "_AT_ONCE_MAX", 2)
    for number in range(5):
        unit.link.send(b"STATUS=%d" % number)
    unit.hearing._take()
    assert unit.heard == ["0", "1"]
    unit.hearing.end()
    assert unit.heard == ["0", "1", "2", "3", "4"]
    await settled()


@pytest.mark.asyncio
async def test_one_who_is_told_everything_is_not_waited_for(coordinator: Coordinator) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind("")
        address = "@" + outer.getsockname()[1:].decode()
        unit = Unit(coordinator, NOTIFY_SOCKET=address)
        for number in range(500):
            await unit.says(f"STATUS={number}")
        assert outer.recv(100) == b"STATUS=0"
        await unit.close()


class Asking:
    """Asks *coordinator* for the notes of *unit*, which the test says."""

    def __init__(self, unit: Unit) -> None:
        self._client = unit.coordinator
        self._client.list_answer = asyncio.Future()
        self._asking = asyncio.ensure_future(look(self._client, {"u": unit}))  # type: ignore[arg-type, dict-item]

    async def hears(self, note: str, run: int = 7) -> None:
        info = wire.UnitInfo(name="u", status=wire.Status.STARTED, is_ready=False)
        self._client.list_answer.set_result([replace(info, note=note, run=run)])
        await self._asking


@pytest.mark.asyncio
async def test_what_others_say_is_heard(unit: Unit) -> None:
    for text in ("others", "others", ""):
        await Asking(unit).hears(text)
    assert unit.heard == ["others", ""]


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_what_the_command_has_said_since_counts_more(
    coordinator: Coordinator, unit: Unit
) -> None:
    asking = Asking(unit)
    await unit.says("STATUS=mine")
    await asking.hears("others")  # while it is sent
    assert unit.note == "mine"
    await Asking(unit).hears("others")
    assert coordinator.listed == [["u"]]
    await coordinator.hears("mine")
    coordinator.answers()
    await settled()
    asking = Asking(unit)
    await settled()
    await unit.says("STATUS=more")
    await coordinator.hears("more")
    coordinator.answers()
    await settled()
    await asking.hears("others")  # when it has arrived
    assert unit.note == "more"
    await asyncio.sleep(0.02)  # the pause is over
    asking = Asking(unit)
    await settled()
    await unit.says("STATUS=mine")
    await coordinator.hears("mine", 2)
    await unit.says("STATUS=more")  # as when it was asked
    await asking.hears("others")
    assert unit.note == "more"
    coordinator.answers()
    await coordinator.hears("more", 2)
    coordinator.answers()
    await settled()
    await Asking(unit).hears("others")
    assert unit.note == "others"
    assert coordinator.listed == [["u"]] * 4


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_what_the_command_says_again_after_others_is_sent_again(
    coordinator: Coordinator, unit: Unit
) -> None:
    for number in range(2):
        await unit.says("STATUS=mine")
        await coordinator.hears("mine", number + 1)
        coordinator.answers()
        await settled()
        await Asking(unit).hears("others")


@pytest.mark.asyncio
@pytest.mark.usefixtures("fast")
async def test_what_the_coordinator_refuses_is_shown_all_the_same(
    coordinator: Coordinator, unit: Unit
) -> None:
    await unit.says("STATUS=mine")
    await coordinator.hears("mine")
    coordinator.answers(wire.Error(id="1", code="not_kept", message="the disk is full"))
    await settled()
    await Asking(unit).hears("")
    assert unit.note == "mine"
    await unit.says("STATUS=mine")
    await coordinator.hears("mine", 2)
    coordinator.answers()
    await settled()
    await Asking(unit).hears("others")
    assert unit.note == "others"


@pytest.mark.asyncio
async def test_what_others_say_of_another_run_does_not_count(
    coordinator: Coordinator, unit: Unit
) -> None:
    await Asking(unit).hears("others", run=6)
    asking = Asking(unit)
    await settled()
    unit.hearing.over(failed=False)
    again = Unit(unit.coordinator)
    unit.hearing = again.hearing
    await asking.hears("others")
    assert unit.heard == again.heard == []
    await again.close()


@as_root
def test_whom_a_command_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert _users("") == {0, 1234}
    assert _users("no-such-user") == {0, 1234}
    assert _users("nobody") == {0, 1234, 65534}
