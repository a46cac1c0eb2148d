"""Answers about many units: bounded in size, page by page, and still right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from coordinator.test_bulk import Bench
from unitsync import wire
from unitsync.clients.verbs import merged
from unitsyncd.actors.unit_actor import UnitActor
from unitsyncd.core import similar
from unitsyncd.core.causes import SHOWN_MAX
from unitsyncd.core.requirement import Condition
from unitsyncd.core.view import WHY_PAGE
from unitsyncd.core.wording import EDGES_SHOWN

COUNT = 5000


def chain(bench: Bench) -> None:
    bench.declare({f"u{n}": [f"u{n - 1}"] if n else [] for n in range(COUNT)})


def pages(bench: Bench) -> list[wire.WhyReply]:
    found: list[wire.WhyReply] = []
    offset = 0
    while offset >= 0:
        reply = bench.ask(wire.Why(id="why", offset=offset))
        assert isinstance(reply, wire.WhyReply)
        found.append(reply)
        offset = reply.next
    return found


def test_a_long_path_names_its_root() -> None:
    bench = Bench()
    chain(bench)
    bench.ask(wire.Fail(id="f", unit="u0", reason="broken"))
    reply = bench.ask(wire.Start(id="s", unit=f"u{COUNT - 1}"))
    assert isinstance(reply, wire.Error)
    assert reply.details["cause"] == "u0"
    assert reply.details["path"][:2] == [f"u{COUNT - 1}", f"u{COUNT - 2}"]
    assert reply.details["path"][-1] == "u0"
    assert len(reply.details["path"]) < 30


def test_many_edges_by_match_give_way_at_once() -> None:
    bench = Bench()
    bench.ask(wire.Want(id="w", unit="last", prerequisites=["*"]))
    chain(bench)
    assert isinstance(bench.ask(wire.Want(id="v", unit="u0", prerequisites=["last"])), wire.Ok)
    reply = bench.ask(wire.Start(id="s", unit="last", optional=True, wait=False))
    assert isinstance(reply, wire.Granted)
    assert "last does not wait for u0, u1" in reply.note


def test_the_search_for_a_root_goes_on_where_the_last_one_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unitsyncd.core.causes.DOWN_MAX", 1000)
    bench = Bench()
    chain(bench)
    bench.ask(wire.Fail(id="f", unit="u0", reason="broken"))
    looks = looks_at_conditions(bench)

    def cause() -> tuple[str, str]:
        looks.clear()
        reply = bench.ask(wire.Start(id="s", unit=f"u{COUNT - 1}"))
        assert isinstance(reply, wire.Error)
        assert len(looks) < 3 * 1000
        return reply.details["cause"], reply.message

    causes = [cause() for _ in range(7)]
    reached = [int(name[1:]) for name, _ in causes]
    assert reached[0] < COUNT - 1000
    assert reached == sorted(reached, reverse=True)
    assert f"u{reached[0]} is skipped" in causes[0][1]
    assert causes[-1] == causes[-2]
    assert causes[-1][0] == "u0"
    assert "u0 failed: broken" in causes[-1][1]


def test_causes_are_merged_from_all_pages() -> None:
    bench = Bench()
    chain(bench)
    assert len(pages(bench)) > 2
    [waiting] = merged(pages(bench)).groups
    assert (waiting.cause.name, waiting.kind) == ("u0", "waiting")
    assert waiting.units == [f"u{n}" for n in range(1, COUNT)]
    bench.ask(wire.Fail(id="f", unit="u0", reason="broken"))
    [skipped] = merged(pages(bench)).groups
    assert (skipped.cause.name, skipped.kind) == ("u0", "skipped")
    assert skipped.units == waiting.units


def test_what_is_remembered_of_causes_is_forgotten_with_every_change() -> None:
    bench = Bench()
    bench.declare({"c": ["b"], "b": ["a"], "a": [], "z": []})
    assert merged(pages(bench)).groups[0].cause.name == "a"
    bench.ask(wire.Want(id="w", unit="a", prerequisites=["z"]))
    [group] = merged(pages(bench)).groups
    assert (group.cause.name, group.units) == ("z", ["c", "b", "a"])
    bench.ask(wire.Unwant(id="u", unit="a", prerequisites=["z"]))
    assert merged(pages(bench)).groups[0].cause.name == "a"
    bench.ask(wire.Fail(id="f", unit="a"))
    bench.ask(wire.Fail(id="g", unit="b"))
    groups = merged(pages(bench)).groups
    assert [(group.cause.name, group.kind, group.units) for group in groups] == [
        ("b", "skipped", ["c"]),
        ("a", "failed", []),
    ]


def test_many_who_have_waited_long_enough_are_not_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unitsyncd.requests.supervisor.EXPIRED_MAX", 20)
    bench = Bench()
    for n in range(50):
        assert bench.turn(wire.Wait(id=f"w{n}", units=["u"], patience_s=30.0)) == []
    answered = []
    while (due := bench.supervisor.next_deadline()) is not None:
        assert due <= 31.0
        answered.append(len(bench.supervisor.expire(31.0, 31.0)))
    assert answered == [20, 20, 10]


# --- what an answer costs, counted in units that are looked at ----------------------


def looks_at_conditions(bench: Bench) -> list[str]:
    """The units whose condition the view looks at from now on."""
    looked = Looked()
    looked.conditions = bench.registry.bus.conditions
    bench.registry.view.causes._conditions = looked
    return looked.at


class Looked(dict[str, Condition]):
    """What is to be looked at, and ``at`` what it was."""

    conditions: Mapping[str, Condition]

    def __init__(self) -> None:
        self.at: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        self.at.append(name)
        return self.conditions.get(name, default)


def test_who_waits_and_leaves_does_not_make_causes_forgotten() -> None:
    """Each of those who wait on a long chain is told its root in the turn that breaks it."""
    bench, waits = Bench(), 100
    chain(bench)
    for n in range(waits):
        wait = wire.Wait(id=f"w{n}", units=[f"u{COUNT - 1 - n}"], patience_s=30.0)
        assert bench.turn(wait) == []
    looks = looks_at_conditions(bench)
    replies = bench.turn(wire.Fail(id="f", unit="u0", reason="broken"))
    causes = [reply.details["cause"] for reply in replies if isinstance(reply, wire.Error)]
    assert causes == ["u0"] * waits
    assert len(looks) < 10 * COUNT
    looks.clear()
    for n in range(waits):
        bench.ask(wire.Wait(id=f"v{n}", units=[f"u{COUNT - 1 - n}"]))
    assert len(looks) < 10 * COUNT


def test_a_waiting_notice_looks_no_further_than_to_what_it_names() -> None:
    bench = Bench()
    bench.declare({"all": [f"p{n}" for n in range(COUNT)]})
    looks = looks_at_conditions(bench)
    reply = bench.ask(wire.Start(id="s", unit="all"))
    assert isinstance(reply, wire.Waiting)
    assert [edge.name for edge in reply.waiting_for] == [f"p{n}" for n in range(SHOWN_MAX)]
    assert reply.total == COUNT
    assert len(looks) <= 3 * SHOWN_MAX


def test_who_waits_for_a_unit_does_not_look_through_what_that_waits_for() -> None:
    """A gate that many stand at: 2,000 prerequisites, of which only the last has not
    completed, and 2,000 dependents."""
    bench, names = Bench(), [f"p{n}" for n in range(2000)]
    bench.declare({**{name: [] for name in names}, "gate": names})
    bench.declare({f"d{n}": ["gate"] for n in range(2000)})
    for name in names[:-1]:
        bench.ask(wire.Complete(id=name, unit=name))
    looks = looks_at_conditions(bench)
    [waiting] = merged(pages(bench)).groups
    assert (waiting.cause.name, len(waiting.units)) == (names[-1], 2001)
    rows = [row for page in listed(bench) for row in page.units if row.name.startswith("d")]
    assert {row.prerequisites[0].reason for row in rows} == {f"waits for {names[-1]}"}
    assert len(looks) < 10 * COUNT


def test_what_is_met_is_passed_over_once() -> None:
    """All ask what is missing while thousands complete one after the other."""
    bench, names = Bench(), [f"p{n}" for n in range(COUNT)]
    bench.declare({**{name: [] for name in names}, "all": names})
    looks = looks_at_conditions(bench)
    for n, name in enumerate(names[:-1]):
        bench.ask(wire.Complete(id=name, unit=name))
        if n % 500 == 0:
            reply = bench.ask(wire.StatusOf(id="q", unit="all"))
            assert isinstance(reply, wire.StatusReply)
            assert reply.unit.prerequisites_total == COUNT
            reply = bench.ask(wire.Start(id="s", unit="all"))
            assert isinstance(reply, wire.Waiting)
            assert reply.waiting_for[0].name == names[n + 1]
    looks.clear()
    assert isinstance(bench.ask(wire.Start(id="s", unit="all")), wire.Waiting)
    assert len(looks) < 500 + 3 * SHOWN_MAX
    bench.ask(wire.Reset(id="r", units=[names[7]]))
    reply = bench.ask(wire.Start(id="s", unit="all"))
    assert isinstance(reply, wire.Waiting)
    assert [edge.name for edge in reply.waiting_for] == [names[7], names[-1]]
    bench.ask(wire.Complete(id="again", unit=names[7]))
    bench.ask(wire.Unwant(id="u", unit="all", prerequisites=names[:10]))
    reply = bench.ask(wire.Start(id="s", unit="all"))
    assert isinstance(reply, wire.Waiting)
    assert [edge.name for edge in reply.waiting_for] == [names[-1]]


def listed(bench: Bench) -> list[wire.ListReply]:
    found: list[wire.ListReply] = []
    offset = 0
    while offset >= 0:
        reply = bench.ask(wire.List(id="list", offset=offset, limit=1000))
        assert isinstance(reply, wire.ListReply)
        found.append(reply)
        offset = reply.next
    return found


def test_a_page_passes_over_a_bounded_number_of_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitsyncd.core.causes.PASSED_MAX", 1000)
    bench, names = Bench(), [f"p{n}" for n in range(300)]
    after = [f"d{n}" for n in range(50)]
    bench.declare({**{name: [] for name in names}, **dict.fromkeys(after, names)})
    for name in names[:-1]:
        bench.ask(wire.Complete(id=name, unit=name))
    looks = looks_at_conditions(bench)
    found: list[str] = []
    offset = 0
    while offset >= 0:
        looks.clear()
        reply = bench.ask(wire.List(id="list", offset=offset, limit=1000))
        assert isinstance(reply, wire.ListReply)
        assert len(looks) < 1000 + 2 * len(names)
        found += [row.name for row in reply.units]
        offset = reply.next
    assert found == [*names, *after]
    bench.ask(wire.Reset(id="again", units=[names[0]]))  # nothing is remembered any more
    bench.ask(wire.Complete(id="again", unit=names[0]))
    replies, offset = [], 0
    while offset >= 0:
        looks.clear()
        why = bench.ask(wire.Why(id="why", offset=offset))
        assert isinstance(why, wire.WhyReply)
        assert len(looks) < 1000 + 2 * len(names)
        replies.append(why)
        offset = why.next
    assert len(replies) > 10
    [waiting] = merged(replies).groups
    assert (waiting.cause.name, waiting.units) == (names[-1], after)


def test_a_unit_that_waits_for_more_than_a_page_of_causes() -> None:
    """Each cause is told of once, the ones that others wait for too; of two prerequisites
    that wait for one unit, that one."""
    bench = Bench()
    names = [f"p{n}" for n in range(COUNT)]
    bench.declare({names[0]: ["end"], names[-1]: ["end"], "all": names, "b": [names[2]]})
    replies = pages(bench)
    assert len(replies) > 2
    assert max(len(reply.groups) for reply in replies) <= WHY_PAGE
    told = {group.cause.name: group.units for group in merged(replies).groups}
    assert told == {
        "end": [names[0], names[-1], "all"],
        **{name: ["all"] for name in names[1:-1]},
        names[2]: ["all", "b"],
    }


def test_all_who_ask_in_one_turn_share_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, compared = Bench(), 0
    bench.declare({f"u{n}": [] for n in range(similar.UNITS_MAX)})
    for n in range(50):
        after = [f"u{n}x", f"u{n}y", f"u{n}z"]
        asked = wire.Start(id=f"s{n}", unit=f"u{n}", after=after, patience_s=30.0)
        assert bench.turn(asked) == []
    in_common = similar._in_common

    def counted(places: Mapping[str, int], length: int, other: str) -> int:
        nonlocal compared
        compared += len(other)
        return in_common(places, length, other)

    monkeypatch.setattr(similar, "_in_common", counted)
    assert len(bench.supervisor.expire(31.0, 31.0)) == 50
    assert 0 < compared < similar.COMPARED_MAX + 256
    reply = bench.ask(wire.StatusOf(id="q", unit="u1999x"))
    assert isinstance(reply, wire.StatusReply)
    assert reply.unit.nearest == "u1999"


def test_the_answer_about_a_unit_with_many_prerequisites_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unitsyncd.core.view.STATUS_MAX", 1000)
    bench = Bench()
    names = [f"p{n}" for n in range(COUNT)]
    bench.declare({"all": names, **{name: [] for name in names}})
    late = [names[0], names[-1]]

    def status() -> wire.StatusReply:
        reply = bench.ask(wire.StatusOf(id="q", unit="all", render=wire.Render.TEXT))
        assert isinstance(reply, wire.StatusReply)
        assert reply.unit.prerequisites_total == COUNT
        assert len(reply.unit.prerequisites) == 1000
        assert sum(line.startswith("  p") for line in reply.out) == EDGES_SHOWN
        assert f"  and {COUNT - EDGES_SHOWN:,} more" in reply.out
        return reply

    assert [edge.name for edge in status().unit.prerequisites] == names[:1000]
    for name in names[1:-1]:
        bench.ask(wire.Complete(id=name, unit=name))
    reply = status()
    assert [edge.name for edge in reply.unit.prerequisites] == [*late, *names[1:999]]
    first = reply.out.index("Prerequisites:") + 1
    assert [line.split()[0] for line in reply.out[first : first + 3]] == [*late, names[1]]


class Counted(dict[str, UnitActor]):
    """Counts how often a unit is looked at."""

    looks = 0

    def __getitem__(self, name: str) -> UnitActor:
        self.looks += 1
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.looks += 1
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            self.looks += 1
            yield name


def test_a_page_of_a_list_looks_only_at_what_it_shows() -> None:
    bench = Bench()
    bench.declare({f"u{n}": [f"p{n}"] for n in range(COUNT)})
    view = bench.registry.view
    units = view._units = view.causes._units = Counted(bench.registry.units)
    for offset in (0, COUNT - 10, COUNT - 5, COUNT, 2 * COUNT - 10):
        units.looks = 0
        rows, total, following = view.page(offset, 10)
        assert [row.name for row in rows] == [
            f"u{n}" if n < COUNT else f"p{n - COUNT}" for n in range(offset, offset + 10)
        ]
        assert total == 2 * COUNT
        assert following == (offset + 10 if offset + 10 < total else -1)
        assert units.looks <= 10 * 3
