"""Each bound of limits.py and what is counted beside them: reached, it is named in the
answer, nothing of the request is done, and everything else goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.daemon import Daemons, Sockets
from support.driver import Driven, Script, snapshot
from unitsync import wire
from unitsyncd.actors import actor, waiters
from unitsyncd.limits import Limits
from unitsyncd.requests import declaring
from unitsyncd.transport import router

LIMITS_PAGE = Path(__file__).parent.parent.parent / "docs/reference/limits.md"


def limit(reply: wire.AnyReply) -> tuple[str, int]:
    """The bound that *reply* says was reached."""
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.exit) == ("limit_reached", 1), reply
    assert f"{reply.details['maximum']:,}" in reply.message
    return reply.details["limit"], reply.details["maximum"]


def test_the_names_that_are_waited_for_are_bounded() -> None:
    driven = Driven(limits=Limits(waited_for=5))
    one, two = driven.script(), driven.script()
    request = one.waits_for("a", "b", "c")
    before = snapshot(driven)
    reply = two.ask(two.wait("a", "b", "c", patience_s=30.0))
    assert limit(reply) == ("waited_for", 5)  # type: ignore[arg-type]
    assert snapshot(driven) == before
    two.waits_for("a", "a", "a", "b")
    for unit in request.units:
        two.driven.script().does(unit)
    assert isinstance(one.told(), wire.Ok)
    assert isinstance(two.told(), wire.Ok)
    one.waits_for("v", "w", "x", "y", "z")


def test_one_client_may_not_have_all_that_is_held_back() -> None:
    driven = Driven(limits=Limits(waiting=6))
    greedy, other = driven.script(), driven.script()
    first = greedy.waits_to_start("unit", "a")
    greedy.waits_for("b")
    greedy.waits_for("c")
    before = snapshot(driven)
    for request in (
        greedy.wait("d", patience_s=30.0),
        greedy.start("unit", "a", patience_s=30.0),
        greedy.start("new", "z", patience_s=30.0),
    ):
        assert limit(greedy.ask(request)) == ("waiting_per_client", 3)  # type: ignore[arg-type]
    assert snapshot(driven) == before
    for name in ("a", "b", "c"):
        other.waits_for(name)
    other.must(wire.Ok, greedy.withdraw(first))
    greedy.waits_for("d")
    # What its waits end with makes room, too.
    driven.script().does("b")
    assert isinstance(greedy.told(), wire.Ok)
    greedy.waits_for("e")
    driven.pass_time(31)
    assert len(greedy.inbox) == 3


def test_what_one_client_waits_for_may_all_be_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert waiters.OF_CLIENT_MAX < router.REPLIES_QUEUED_MAX
    monkeypatch.setattr(waiters, "OF_CLIENT_MAX", 2)
    greedy = Driven().script()
    greedy.waits_for("a")
    greedy.waits_for("b")
    reply = greedy.ask(greedy.wait("c", patience_s=30.0))
    assert limit(reply) == ("waiting_per_client", 2)  # type: ignore[arg-type]
    assert isinstance(reply, wire.Error)
    assert reply.hint == "spread them over several clients"


def test_so_many_edges_that_were_taken_back_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(declaring, "FORGONE_MAX", 2)
    driven = Driven()
    first, second, third = driven.script(), driven.script(), driven.script()
    one = first.waits_to_start("ide", "a", "b", "c")
    second.waits_to_start("ide", "d")
    first.told()
    claim = replace(one, patience_s=0.0)
    for names, left in ((["a", "x"], ["b", "c"]), (["b"], ["b", "c"])):
        third.must(wire.Ok, third.unwant("ide", *names))
        told = first.must(wire.Waiting, claim)
        assert [edge.name for edge in told.waiting_for] == left


def test_edges_that_were_taken_back_are_remembered_until_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of earlier runs take no room."""
    monkeypatch.setattr(declaring, "FORGONE_MAX", 1)
    driven = Driven()
    first, second, third = driven.script(), driven.script(), driven.script()
    for name in ("a", "b"):
        held = first.waits_to_start("ide", name)
        other = second.waits_to_start("ide", "c")
        first.told()
        assert first.ask(held) is None
        third.must(wire.Ok, third.unwant("ide", name))
        assert isinstance(first.told(), wire.Ready)
        assert isinstance(first.claims(held), wire.Granted)
        first.ends("ide")
        second.told()
        second.must(wire.Error, replace(other, patience_s=0.0))


def test_what_was_parked_in_a_turn_that_is_undone_does_not_count() -> None:
    driven = Driven(limits=Limits(waiting=2, waited_for=2))
    script = driven.script()
    handlers = driven.supervisor._handlers
    script.waits_for("a")
    held = handlers.waiters.all()
    mark = handlers.registry.turn.savepoint()
    handlers.settle(held[0], wire.Ok(id="x"))
    handlers.waiters.hold(held[0].actor, script.peer, held[0].request, driven.now)
    handlers.registry.turn.rollback(mark)
    assert handlers.waiters.all() == held
    driven.script().waits_for("b")
    # What was answered in it counts again.
    last = driven.script()
    reply = last.ask(last.wait("c", patience_s=30.0))
    assert limit(reply) == ("waiting", 2)  # type: ignore[arg-type]


def test_the_startups_of_a_boot_are_bounded() -> None:
    driven = Driven(limits=Limits(startups=3))
    script = driven.script()
    for startup in ("second", "third"):
        script.startup = startup
        script.must(wire.Ok, script.want("a", "b"))
    script.startup = "fourth"
    before = snapshot(driven)
    assert limit(script.ask(script.want("a", "c"))) == ("startups", 3)  # type: ignore[arg-type]
    assert snapshot(driven) == before
    script.startup = "third"
    script.must(wire.Ok, script.want("a", "c"))
    script.startup = "second"
    script.refused("stale_startup", script.want("a", "d"))


def test_a_full_mailbox_is_a_bound_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven()
    script = driven.script()
    names = [f"p{number}" for number in range(5)]
    before = snapshot(driven)
    monkeypatch.setattr(actor, "MAILBOX_MAX", 3)
    assert limit(script.ask(script.want("unit", *names))) == ("mailbox", 3)  # type: ignore[arg-type]
    assert snapshot(driven) == before
    assert driven.defects == []
    script.must(wire.Ok, script.want("unit", *names[:3]))


def test_the_log_of_a_defect_is_bounded(ann: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ann.driven.supervisor._handlers.registry, "register", broken)
    names = [f"prerequisite-{number}" for number in range(10_000)]
    ann.refused("internal", ann.want("unit", *names))
    ((what, _),) = ann.driven.defects
    assert len(what) < 5000


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("units", [wire.Want(id=str(n), unit=f"u{n}", prerequisites=[]) for n in range(4)]),
        ("edges", [wire.Want(id="1", unit="u", prerequisites=list("abcd"))]),
        ("waiting", [wire.Wait(id=str(n), units=["a"], patience_s=30) for n in range(4)]),
        ("waited_for", [wire.Wait(id="1", units=list("abcd"), patience_s=30)]),
        ("followers", [wire.Events(id=str(n), after_epoch=1, patience_s=30) for n in range(4)]),
        ("startups", [wire.Want(id="1", unit="u", prerequisites=[], startup=s) for s in "abcd"]),
    ],
)
def test_each_is_set_by_its_variable(
    daemons: Daemons, sockets: Sockets, name: str, requests: list[wire.AnyRequest]
) -> None:
    daemon = daemons.ready(env={f"UNITSYNC_MAX_{name.upper()}": "3"})
    dealers = [sockets.dealer(daemon.endpoint) for _ in requests]
    for dealer, request in zip(dealers, requests, strict=True):
        dealer.send(request)
        if name not in ("waiting", "followers") or request is requests[-1]:
            assert dealer.socket.poll(5000)
        else:
            dealer.send(wire.Ping(id="p"))
            assert isinstance(dealer.told(), wire.Pong)
    assert limit(dealers[-1].told()) == (name, 3)
    assert isinstance(sockets.req(daemon.endpoint).ask(wire.Ping(id="p")), wire.Pong)


def test_every_setting_is_on_the_page() -> None:
    text = LIMITS_PAGE.read_text()
    rows = re.findall(r"\| ([\d,]+)[^|]*\| `UNITSYNC_MAX_(\w+)` \|", text)
    shown = {variable.lower(): int(value.replace(",", "")) for value, variable in rows}
    assert shown == {name: getattr(Limits(), name) for name in Limits.__struct_fields__}
