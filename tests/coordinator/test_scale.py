"""Answers about many units: bounded in size, page by page, and still right."""

from __future__ import annotations

from coordinator.test_bulk import Bench
from unitsync import session, wire

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


def test_causes_are_merged_from_all_pages() -> None:
    bench = Bench()
    chain(bench)
    assert len(pages(bench)) > 2
    [waiting] = session.merged(pages(bench)).groups
    assert (waiting.cause.name, waiting.kind) == ("u0", "waiting")
    assert waiting.units == [f"u{n}" for n in range(1, COUNT)]
    bench.ask(wire.Fail(id="f", unit="u0", reason="broken"))
    [skipped] = session.merged(pages(bench)).groups
    assert (skipped.cause.name, skipped.kind) == ("u0", "skipped")
    assert skipped.units == waiting.units


def test_what_is_remembered_of_causes_is_forgotten_with_every_change() -> None:
    bench = Bench()
    bench.declare({"c": ["b"], "b": ["a"], "a": [], "z": []})
    assert session.merged(pages(bench)).groups[0].cause.name == "a"
    bench.ask(wire.Want(id="w", unit="a", prerequisites=["z"]))
    [group] = session.merged(pages(bench)).groups
    assert (group.cause.name, group.units) == ("z", ["c", "b", "a"])
    bench.ask(wire.Unwant(id="u", unit="a", prerequisites=["z"]))
    assert session.merged(pages(bench)).groups[0].cause.name == "a"
    bench.ask(wire.Fail(id="f", unit="a"))
    bench.ask(wire.Fail(id="g", unit="b"))
    [group] = session.merged(pages(bench)).groups
    assert (group.cause.name, group.kind, group.units) == ("b", "skipped", ["c"])
