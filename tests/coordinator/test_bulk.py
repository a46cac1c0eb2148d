"""``declare``: many units and edges in one request, all or nothing."""

from __future__ import annotations

import itertools
import random
import secrets

import pytest
from msgspec.structs import replace

from unitsync import wire
from unitsyncd.actors.registry import Registry
from unitsyncd.limits import Limits
from unitsyncd.requests.supervisor import Supervisor


class Nobody:
    """No owners are involved here."""

    unseen = ()
    unkept = ()

    def is_alive(self, owner: wire.Owner) -> bool:
        return True

    def can_be_seen(self, owner: wire.Owner) -> bool:
        return True

    def watch(self, owner: wire.Owner) -> None:
        raise AssertionError(owner)

    def forget(self, key: tuple[int, int, int]) -> None:
        raise AssertionError(key)


class Identity:
    version = "test"
    pid = 1
    since = 0.0


class Bench:
    def __init__(self, limits: Limits | None = None) -> None:
        self.defects: list[BaseException] = []
        self.supervisor = Supervisor(
            startup="s",
            new_epoch=lambda: secrets.token_hex(4),
            owners=Nobody(),
            identity=Identity(),
            limits=limits or Limits(),
            on_defect=lambda what, defect: self.defects.append(defect),
        )

    @property
    def registry(self) -> Registry:
        return self.supervisor._handlers.registry

    def turn(self, request: wire.AnyRequest) -> list[wire.AnyReply]:
        replies = self.supervisor.turn([(b"peer", wire.encode(request))], 1.0, 1.0)
        assert not self.defects
        return [wire.decode_reply(frame) for _, frame in replies]

    def ask(self, request: wire.AnyRequest) -> wire.AnyReply:
        [reply] = self.turn(request)
        return reply

    def declare(self, units: dict[str, list[str]]) -> wire.AnyReply:
        pairs = [wire.Declaration(unit, edges) for unit, edges in units.items()]
        return self.ask(wire.Declare(id=secrets.token_hex(4), units=pairs))

    def listed(self) -> dict[str, list[str]]:
        reply = self.ask(wire.List(id="list"))
        assert isinstance(reply, wire.ListReply)
        return {info.name: [edge.name for edge in info.prerequisites] for info in reply.units}


def test_declares_everything() -> None:
    bench = Bench()
    assert isinstance(bench.declare({"c": ["b", "a"], "b": ["a"], "x": []}), wire.Ok)
    assert bench.listed() == {"c": ["b", "a"], "b": ["a"], "x": [], "a": []}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"d": [], "a": ["c"]}, "cycle"),
        ({"d": ["a"], "e": ["no space"]}, "invalid_name"),
        ({"d": ["a"], "-e": []}, "invalid_name"),
        ({"d": ["a"], "e": ["d"], "f": []}, "limit_reached"),
    ],
)
def test_or_nothing(wrong: dict[str, list[str]], code: str) -> None:
    bench = Bench(Limits(units=4))
    bench.declare({"c": ["b"], "b": ["a"]})
    before = bench.listed()
    reply = bench.declare(wrong)
    assert isinstance(reply, wire.Error)
    assert reply.code == code
    assert bench.listed() == before
    assert isinstance(bench.declare({"d": ["c"]}), wire.Ok)


@pytest.mark.parametrize("seed", range(5))
def test_looked_at_together_or_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no difference for what comes of it: who is skipped, and who waits."""
    choose = random.Random(seed)
    pairs = [(max(pair), min(pair)) for pair in itertools.combinations(range(40), 2)]
    edges = [wire.Declaration(f"u{a}", [f"u{b}"]) for a, b in choose.sample(pairs, 200)]
    benches = [Bench(), Bench(), Bench()]
    for number, bench in enumerate(benches):
        bench.declare({"u3": [], "u0": []})
        bench.ask(wire.Fail(id="1", unit="u3"))
        bench.ask(wire.Complete(id="2", unit="u0"))
        if number == 0:
            for edge in edges:
                request = wire.Want(id="3", unit=edge.unit, prerequisites=edge.prerequisites)
                assert isinstance(bench.ask(request), wire.Ok)
            continue
        least = 1 << 60 if number == 1 else -(1 << 60)
        monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", least)
        assert isinstance(bench.ask(wire.Declare(id="3", units=edges)), wire.Ok)
    first, *others = [bench.ask(wire.List(id="list")) for bench in benches]
    assert isinstance(first, wire.ListReply)
    assert any(unit.status is wire.Status.SKIPPED for unit in first.units)
    for other in others:
        assert replace(other, epoch=first.epoch) == first


def test_a_contradiction_takes_everything_back() -> None:
    bench = Bench()
    bench.ask(wire.Want(id="1", unit="b", prerequisites=["a"], requires=wire.Requirement.START))
    before = bench.listed()
    reply = bench.declare({"z": ["b"], "b": ["a"]})
    assert isinstance(reply, wire.Error)
    assert reply.code == "contradiction"
    assert bench.listed() == before


def test_counts_units_and_prerequisites_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PREREQUISITES_PER_REQUEST_MAX", 2000)
    bench = Bench()
    half = wire.PREREQUISITES_PER_REQUEST_MAX // 2
    units = {f"u{n}": [f"p{n}"] for n in range(half)}
    assert isinstance(bench.declare(units), wire.Ok)
    reply = bench.declare({**units, "one-more": []})
    assert isinstance(reply, wire.Error)
    assert reply.code == "limit_reached"


def test_who_waits_already_is_held_by_new_edges() -> None:
    bench = Bench()
    bench.declare({"a": [], "b": ["a"]})
    reply = bench.ask(wire.Start(id="2", unit="b"))
    assert isinstance(reply, wire.Waiting)
    bench.declare({"b": ["c"]})
    bench.ask(wire.Complete(id="3", unit="a"))
    again = bench.ask(wire.Start(id="2", unit="b", since_run=reply.run, epoch=reply.epoch))
    assert isinstance(again, wire.Waiting)
    assert [edge.name for edge in again.waiting_for] == ["c"]
