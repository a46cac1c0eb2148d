"""Every verb of both clients, against a real coordinator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from unitsync import Client, errors, wire
from unitsync.testing import throwaway_coordinator

InBackground: TypeAlias = Callable[..., "Future[Any]"]
PATIENCE_S = 20.0
FOREVER_S = 60.0


class Noticed:
    """An ``on_waiting`` callback that a test can wait for."""

    def __init__(self) -> None:
        self._first: Future[wire.Waiting] = Future()

    def __call__(self, notice: wire.Waiting) -> None:
        if not self._first.done():
            self._first.set_result(notice)

    def names(self) -> list[str]:
        """What the waiting verb said first that it waits for."""
        return [prerequisite.name for prerequisite in self.notice().waiting_for]

    def notice(self) -> wire.Waiting:
        return self._first.result(PATIENCE_S)


@pytest.mark.usefixtures("coordinator")
def test_what_is_no_text_or_list_is_wrong_usage() -> None:
    wrong: Any = 5
    with Client() as client:
        client.want("y")
        assert client.fail("y", None).changed
        assert client.status("y").reason == ""
        for call in (
            lambda: client.fail("y", wrong),
            lambda: client.start("y", after=wrong),
            lambda: client.note("y", wrong),
            lambda: client.declare(wrong),
            lambda: client.declare({"y": wrong}),
        ):
            with pytest.raises(errors.UsageError, match="must be"):
                call()


class TestLooking:
    """Where nobody serves."""

    def test_where_nothing_is_kept(self, nobody_there: str, open_client: Any) -> None:
        for options in ({}, {"autostart": False}, {"startup": "new"}):
            client = open_client(**options)
            assert client.list() == []
            assert client.why().groups == []
            status = client.status("ide")
            assert status == wire.UnitInfo("ide", wire.Status.NOT_REGISTERED, True)
            assert client.why("ide").tree == wire.WhyNode(status)
            for look in (client.status, client.why):
                with pytest.raises(errors.InvalidName):
                    look("a b")
        assert not Path(nobody_there.removeprefix("ipc://")).parent.exists()
        client = open_client()
        client.ping()
        assert client.status("ide") == status

    def test_where_state_is_kept(self, nobody_there: str, open_client: Any) -> None:
        client = open_client()
        client.want("ide", "clone")
        client.stop()
        with pytest.raises(errors.Unreachable, match="turned off"):
            open_client(autostart=False).list()
        assert [unit.name for unit in client.list()] == ["ide", "clone"]
        client.stop()
        assert client.status("ide").status is wire.Status.PENDING
        client.stop()
        assert [group.cause.name for group in client.why().groups] == ["clone"]

    def test_a_page_of_what_is_gone_is_none(self, nobody_there: str, open_client: Any) -> None:
        client = open_client()
        request = wire.List(**{**client.said(), "epoch": "of the first page"}, offset=1000)
        with pytest.raises(errors.Unreachable, match="has kept nothing"):
            client.call(request)


class TestVerbs:
    def test_a_unit_from_want_to_complete(self, client: Any) -> None:
        assert client.want("ide", "clone") is None
        assert client.status("ide").status is wire.Status.PENDING
        assert client.start("clone").run == 1
        assert client.status("clone").status is wire.Status.STARTED
        assert client.complete("clone").changed
        assert client.start("ide").run == 1
        assert client.complete("ide").status is wire.Status.COMPLETED
        assert [unit.name for unit in client.list()] == ["ide", "clone"]

    def test_the_owner_is_this_process(self, client: Any) -> None:
        client.start("clone")
        owner = client.status("clone").owner
        assert owner is not None
        assert owner.pid == os.getpid()

    def test_unwant(self, client: Any) -> None:
        client.want("ide", "clone")
        client.unwant("ide", "clone")
        assert client.start("ide", wait=False).run == 1

    def test_cycle(self, client: Any) -> None:
        client.want("a", "b")
        client.want("b", "c")
        with pytest.raises(errors.CycleError) as caught:
            client.want("c", "a")
        cycle = caught.value.cycle
        assert cycle[0] == cycle[-1]
        assert set(cycle) == {"a", "b", "c"}

    def test_contradiction(self, client: Any) -> None:
        client.want("a", "b")
        with pytest.raises(errors.ContradictionError) as caught:
            client.want("a", "b", requires="start")
        assert (caught.value.unit, caught.value.prerequisite) == ("a", "b")

    def test_invalid_name(self, client: Any) -> None:
        with pytest.raises(errors.InvalidName, match="white space"):
            client.want("a b", "c")

    def test_a_wrong_type_is_answered(self, client: Any) -> None:
        with pytest.raises(errors.ProtocolError, match="optional"):
            client.want("a", "b", optional="x")

    def test_what_was_too_large_to_be_sent_is_not_taken_back(self, client: Any) -> None:
        client.ping()
        names = [f"{number:0250}" for number in range(wire.MESSAGE_BYTES_MAX // 250)]
        with pytest.raises(errors.LimitReached, match="bytes"):
            client.start("ide", after=names)
        assert client.status("ide").history == []

    @pytest.mark.parametrize("code", [256, -1, 2**70, 0.5, "x"])
    def test_what_is_no_exit_status_is_refused(self, client: Any, code: Any) -> None:
        with pytest.raises(errors.UsageError, match="is no exit status"):
            client.complete("a", exit_code=code)

    def test_unknown_unit(self, client: Any) -> None:
        client.want("git-clone", "net")
        with pytest.raises(errors.UnknownUnit) as caught:
            client.complete("git-clon")
        assert (caught.value.unit, caught.value.nearest) == ("git-clon", "git-clone")

    def test_already_started(self, client: Any, other: Client) -> None:
        other.start("clone")
        with pytest.raises(errors.AlreadyStarted) as caught:
            client.start("clone")
        assert caught.value.unit == "clone"
        assert caught.value.owner_command == "other"

    def test_fail_and_skip(self, client: Any) -> None:
        client.start("clone")
        client.fail("clone", "no  such\nhost")
        assert client.status("clone").reason == "no such host"
        with pytest.raises(errors.Skipped) as caught:
            client.start("ide", after=["clone"])
        assert (caught.value.unit, caught.value.cause) == ("ide", "clone")
        assert caught.value.path == ["ide", "clone"]

    def test_exit_code(self, client: Any) -> None:
        client.start("clone")
        client.complete("clone", exit_code=128)
        assert client.status("clone").status is wire.Status.FAILED

    def test_even_so(self, client: Any) -> None:
        with pytest.raises(errors.TimedOut):
            client.start("ide", after=["clone"], timeout_s=0)
        client.complete("ide", even_so=True)
        assert client.status("ide").status is wire.Status.COMPLETED

    def test_optional_prerequisite_nobody_registered(self, client: Any) -> None:
        client.start("ide", after=["clone"], optional=True, timeout_s=0)

    def test_requires_completion(self, client: Any) -> None:
        client.start("tests")
        client.fail("tests")
        client.start("report", after=["tests"], requires="completion", timeout_s=0)

    def test_not_ready(self, client: Any) -> None:
        with pytest.raises(errors.NotReady) as caught:
            client.start("ide", after=["clone"], wait=False)
        assert (caught.value.unit, caught.value.waiting_for) == ("ide", ["clone"])

    def test_timed_out(self, client: Any) -> None:
        with pytest.raises(errors.TimedOut) as caught:
            client.start("ide", after=["clone", "net"], timeout_s=0.05)
        assert sorted(caught.value.waiting_for) == ["clone", "net"]
        assert client.status("ide").status is wire.Status.PENDING

    def test_reset(self, client: Any) -> None:
        client.start("clone")
        client.complete("clone")
        client.reset("clone")
        assert client.status("clone").status is wire.Status.PENDING
        client.start("clone")
        with pytest.raises(errors.Refused):
            client.reset("clone")
        client.reset(all=True, force=True)

    def test_why(self, client: Any) -> None:
        client.want("ide", "clone")
        tree = client.why("ide").tree
        assert tree is not None
        assert [node.unit.name for node in tree.because] == ["clone"]
        assert client.why().tree is None

    def test_list_asks_for_every_page(self, client: Any, other: Client) -> None:
        names = [f"u{n}" for n in range(wire.List(id="").limit + 1)]
        for name in names:
            other.want(name)
        assert [unit.name for unit in client.list()] == names

    def test_ping(self, client: Any) -> None:
        pong = client.ping()
        assert pong.protocol == wire.PROTOCOL
        assert pong.pid != os.getpid()

    def test_startup_of_an_earlier_boot_is_refused(self, open_client: Any) -> None:
        with throwaway_coordinator() as address:
            earlier, later = (open_client(endpoint=address, startup=name) for name in ("1", "2"))
            earlier.want("ide", "clone")
            later.want("ide", "clone")
            with pytest.raises(errors.StaleStartup):
                earlier.want("ide", "clone")

    def test_call_returns_errors_and_ready_made_lines(
        self, coordinator: str, open_client: Any
    ) -> None:
        client = open_client(render=wire.Render.TEXT)
        reply = client.call(wire.Complete(**client.said(), unit="clone"))
        assert isinstance(reply, wire.Error)
        assert (reply.code, reply.exit) == ("unknown_unit", 4)
        assert reply.err[0].startswith("error: ")


class TestRunning:
    def test_launching_until_it_is_ready(self, client: Any, other: Client) -> None:
        assert client.start("db", launching=True).run == 1
        assert other.status("db").status is wire.Status.LAUNCHING
        with pytest.raises(errors.TimedOut):
            other.wait("db", requires="start", timeout_s=0)
        assert client.ready("db").changed
        assert other.wait("db", requires="start", timeout_s=0) == ["db"]
        assert not client.ready("db").changed

    def test_what_does_not_run_is_not_ready(self, client: Any) -> None:
        with pytest.raises(errors.UnknownUnit):
            client.ready("db")
        client.want("db")
        with pytest.raises(errors.NotStarted) as caught:
            client.ready("db")
        assert (caught.value.unit, caught.value.status) == ("db", "pending")

    def test_note(self, client: Any, other: Client) -> None:
        client.want("ide", "clone")
        run = client.start("clone").run
        assert client.note("clone", "cloning:\n43 %").changed
        assert not client.note("clone", "cloning: 43 %", run=run).changed
        assert not client.note("clone", "44 %", run=run + 1).changed
        assert other.status("clone").note == "cloning: 43 %"
        assert [edge.note for edge in other.status("ide").prerequisites] == ["cloning: 43 %"]
        assert client.note("clone", "x" * 1_000_000).changed
        assert other.status("clone").note == "x" * 199 + "…"
        assert client.note("clone", "").changed
        assert other.status("clone").note == ""
        client.complete("clone")
        late = client.note("clone", "late")
        assert (late.changed, late.status) == (False, "completed")
        with pytest.raises(errors.UnknownUnit):
            client.note("clome", "43 %")

    def test_retry(self, client: Any, other: Client) -> None:
        client.start("deps", launching=True)
        client.ready("deps")
        assert client.retry("deps", "no  such\nhost").run == 2
        assert not client.ready("deps", run=1).changed
        unit = other.status("deps")
        assert unit.status is wire.Status.LAUNCHING
        assert [(entry.what, entry.run, entry.reason) for entry in unit.history] == [
            ("launching", 1, ""),
            ("started", 1, ""),
            ("failed", 1, "no such host"),
            ("launching", 2, ""),
        ]
        with pytest.raises(errors.AlreadyStarted, match="nothing was retried") as caught:
            other.retry("deps")
        assert caught.value.owner_pid == os.getpid()
        client.complete("deps")
        with pytest.raises(errors.NotStarted) as over:
            client.retry("deps")
        assert over.value.status == "completed"

    def test_ready_to_start(
        self, coordinator: str, open_client: Any, other: Client, in_background: InBackground
    ) -> None:
        noticed = Noticed()
        other.start("clone")
        waiter = open_client(on_waiting=noticed)
        waits = in_background(waiter.ready_to_start, "ide", after=["clone"])
        assert noticed.names() == ["clone"]
        other.complete("clone")
        assert waits.result(PATIENCE_S) is None
        assert other.status("ide").status is wire.Status.PENDING
        assert waiter.start("ide", after=["clone"]).run == 1

    def test_what_ready_to_start_raises(self, client: Any, other: Client) -> None:
        with pytest.raises(errors.NotReady):
            client.ready_to_start("ide", after=["clone"], wait=False)
        with pytest.raises(errors.TimedOut):
            client.ready_to_start("ide", after=["clone"], timeout_s=0)
        other.start("clone")
        with pytest.raises(errors.AlreadyStarted):
            client.ready_to_start("clone")
        other.fail("clone")
        with pytest.raises(errors.Skipped):
            client.ready_to_start("ide", after=["clone"])
        client.ready_to_start("ide", after=["clone"], requires="completion")
        with pytest.raises(errors.CycleError):
            client.ready_to_start("clone", after=["ide"], requires="completion")

    def test_ready_to_start_is_taken_back(
        self, coordinator: str, open_client: Any, other: Client
    ) -> None:
        class TooLong(Exception):
            pass

        def give_up(notice: wire.Waiting) -> None:
            raise TooLong

        waiter = open_client(on_waiting=give_up)
        with pytest.raises(TooLong):
            waiter.ready_to_start("ide", after=["clone"])
        unit = other.status("ide")
        assert (unit.waiting_clients, unit.history[-1].reason) == (0, "cancelled")
        assert waiter.start("ide").run == 1  # which does not count for another start


class TestWaiting:
    def test_goes_on_when_its_prerequisite_completes(
        self, coordinator: str, open_client: Any, other: Client, in_background: InBackground
    ) -> None:
        noticed = Noticed()
        other.start("clone")
        started = in_background(open_client(on_waiting=noticed).start, "ide", after=["clone"])
        assert noticed.names() == ["clone"]
        other.complete("clone")
        assert started.result(PATIENCE_S).run == 1

    def test_is_skipped_when_it_fails(
        self, coordinator: str, open_client: Any, other: Client, in_background: InBackground
    ) -> None:
        noticed = Noticed()
        other.start("clone")
        started = in_background(open_client(on_waiting=noticed).start, "ide", after=["clone"])
        noticed.notice()
        other.fail("clone", "no network")
        with pytest.raises(errors.Skipped, match="no network"):
            started.result(PATIENCE_S)

    def test_wait_returns_when_all_are_met(
        self, coordinator: str, open_client: Any, other: Client, in_background: InBackground
    ) -> None:
        noticed = Noticed()
        waited = in_background(open_client(on_waiting=noticed).wait, "a", "b", requires="start")
        noticed.notice()
        other.start("a")
        other.start("b")
        assert sorted(waited.result(PATIENCE_S)) == ["a", "b"]

    def test_wait_for_any_returns_those_met(
        self, coordinator: str, open_client: Any, other: Client, in_background: InBackground
    ) -> None:
        noticed = Noticed()
        waited = in_background(open_client(on_waiting=noticed).wait, "a", "b", any=True)
        assert noticed.names() == ["a", "b"]
        other.start("b")
        other.complete("b")
        assert waited.result(PATIENCE_S) == ["b"]
        assert other.status("a").status is wire.Status.NOT_REGISTERED

    def test_wait_times_out(self, client: Any) -> None:
        with pytest.raises(errors.TimedOut):
            client.wait("a", timeout_s=0.05)

    def test_an_exception_in_the_callback_takes_the_start_back(
        self, coordinator: str, open_client: Any, other: Client
    ) -> None:
        class TooLong(Exception):
            pass

        def give_up(notice: wire.Waiting) -> None:
            raise TooLong

        with pytest.raises(TooLong):
            open_client(on_waiting=give_up).start("ide", after=["clone"])
        unit = other.status("ide")
        assert unit.status is wire.Status.PENDING
        assert unit.waiting_clients == 0
        assert unit.history[-1].reason == "cancelled"


class TestUnitBlock:
    def test_is_the_run_of_the_unit(self, client: Any, other: Client) -> None:
        with client.unit("ide", after="clone", optional=True) as granted:
            assert granted.run == 1
            assert other.status("ide").status is wire.Status.STARTED
        assert other.status("ide").status is wire.Status.COMPLETED

    @pytest.mark.parametrize(
        ("exc", "reason"),
        [
            (ValueError("no such branch"), "ValueError: no such branch"),
            (SystemExit(3), "exit status 3"),
            (KeyboardInterrupt(), "interrupted"),
            (asyncio.CancelledError(), "cancelled"),
        ],
    )
    def test_fails_on_an_exception(
        self, client: Any, other: Client, exc: BaseException, reason: str
    ) -> None:
        with pytest.raises(type(exc)) as caught, client.unit("ide"):
            raise exc
        assert caught.value is exc
        unit = other.status("ide")
        assert (unit.status, unit.reason) == (wire.Status.FAILED, reason)

    @pytest.mark.parametrize("code", [0, None])
    def test_exit_0_completes(self, client: Any, other: Client, code: int | None) -> None:
        with pytest.raises(SystemExit), client.unit("ide"):
            raise SystemExit(code)
        assert other.status("ide").status is wire.Status.COMPLETED

    def test_is_not_entered_when_skipped(self, client: Any) -> None:
        client.start("clone")
        client.fail("clone")
        with pytest.raises(errors.Skipped), client.unit("ide", after=["clone"]):
            pytest.fail("entered")

    def test_what_was_said_inside_stays(self, client: Any, other: Client) -> None:
        with client.unit("ide"):
            client.fail("ide", "on purpose")
        assert other.status("ide").reason == "on purpose"
