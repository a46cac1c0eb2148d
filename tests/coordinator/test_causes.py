"""What is told of causes, compared with a plain search, while everything changes and one
request may look at very little."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from journal.memory_store import MemoryStore
from support.driver import Driven, Script
from support.needs import SUCCESS
from support.refusing import Refusing
from unitsync import wire
from unitsync.clients.verbs import merged
from unitsync.wire import Requirement, Status
from unitsyncd.actors.registry import Registry
from unitsyncd.core.causes import Causes
from unitsyncd.core.graph import MANY_EDGES
from unitsyncd.core.requirement import Condition, Verdict
from unitsyncd.core.state import Unit
from unitsyncd.core.store import StoreError

UNITS = 14
STEPS = 60
EDGES = MANY_EDGES + 10


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that small graphs reach."""
    for name, bound in (("MANY_EDGES", 2), ("SHOWN_MAX", 3), ("PASSED_MAX", 30)):
        monkeypatch.setattr(f"unitsyncd.core.causes.{name}", bound)
    for name, bound in (("SHOWN_MAX", 3), ("WHY_PAGE", 3), ("LIST_EDGES_MAX", 5)):
        monkeypatch.setattr(f"unitsyncd.core.view.{name}", bound)


class Changing:
    """A coordinator to which anything happens, and is taken back now and then."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = Refusing(MemoryStore())
        self.driven = Driven(store=self.store)
        self.script = self.driven.script()
        self.other = self.driven.script()

    @property
    def registry(self) -> Registry:
        return self.driven.supervisor._handlers.registry

    def name(self) -> str:
        return f"u{self.chance.randrange(UNITS)}"

    def change(self) -> None:
        pick, script = self.chance.choice, self.script
        names = [self.name() for _ in range(self.chance.randrange(7))]
        kind = pick(["want", "want", "want", "start", "complete", "fail", "unwant", "reset"])
        if kind == "want":
            optional = self.chance.random() < 0.2
            request: wire.AnyRequest = script.want(
                self.name(), *names, requires=pick(list(Requirement)), optional=optional
            )
        elif kind == "start":
            request = script.start(self.name(), wait=False)
        elif kind == "complete":
            request = script.complete(self.name(), even_so=True)
        elif kind == "fail":
            request = script.fail(self.name(), "broken")
        elif kind == "unwant":
            request = script.unwant(*self.some_edges())
        else:
            request = script.reset(self.name(), force=True)
        self.store.refuse(*(["append"] if self.chance.random() < 0.2 else []))
        # Somebody looks at what is not final yet.
        self.driven.turn((script, request), (self.other, wire.Why(id="")))
        self.store.refuse()
        script.inbox.clear()
        self.other.inbox.clear()

    def some_edges(self) -> list[str]:
        """A unit and one or two that it waits for, met or not."""
        graph, names = self.registry.graph, (f"u{number}" for number in range(UNITS))
        unit = self.chance.choice([name for name in names if graph.prerequisites(name)] or ["u0"])
        edges = list(graph.prerequisites(unit)) or ["u1"]
        return [unit, *self.chance.sample(edges, self.chance.randint(1, min(2, len(edges))))]

    def why(self, change: bool) -> Iterator[wire.WhyReply]:
        offset = 0
        while offset >= 0:
            reply = self.script.must(wire.WhyReply, wire.Why(id="", offset=offset))
            yield reply
            offset = reply.next
            if change:
                self.change()

    def waits(self) -> set[tuple[str, str, str]]:
        """(unit, kind, root cause) of all that wait or were skipped, by a plain search."""
        found = set()
        registry = self.registry
        for name, actor in registry.units.items():
            if actor.unit.phase is not Status.PENDING:
                continue
            if actor.unit.blocked:
                root = self.root(name, Condition.SKIPPED, Verdict.BLOCKED)
                found.add((name, "skipped", root))
            elif not registry.view.info(name).given_up:
                for edge in self.prerequisites(name, Verdict.OUTSTANDING):
                    root = self.root(edge, Condition.PENDING, Verdict.OUTSTANDING)
                    found.add((name, "waiting", root))
        return found

    def unmet(self, name: str) -> set[str]:
        return {
            edge
            for verdict in (Verdict.OUTSTANDING, Verdict.BLOCKED)
            for edge in self.prerequisites(name, verdict)
        }

    def root(self, name: str, through: Condition, verdict: Verdict) -> str:
        while self.registry.bus.condition(name) is through:
            deeper = self.prerequisites(name, verdict)
            if not deeper:
                break
            name = deeper[0]
        return name

    def prerequisites(self, name: str, verdict: Verdict) -> list[str]:
        edges, condition = self.registry.graph.prerequisites(name), self.registry.bus.condition
        return [edge for edge, need in edges.items() if need.verdicts[condition(edge)] is verdict]


def told(replies: list[wire.WhyReply]) -> set[tuple[str, str, str]]:
    return {
        (unit, group.kind, group.cause.name)
        for group in merged(replies).groups
        for unit in group.units
    }


@pytest.mark.parametrize("seed", range(40))
def test_causes_are_those_of_a_plain_search(little: None, seed: int) -> None:
    changing = Changing(seed)
    for step in range(STEPS):
        changing.change()
        if step % 3 == 0:
            assert told(list(changing.why(change=False))) == changing.waits()
            listed = [row for page in pages(changing.script) for row in page.units]
            names = [*changing.registry.units, *changing.registry.graph.unregistered]
            assert [row.name for row in listed] == names
            for row in listed:
                assert {edge.name for edge in row.prerequisites} <= changing.unmet(row.name)
                assert bool(row.prerequisites) == bool(changing.unmet(row.name))
        name = changing.name()
        if changing.registry.bus.condition(name) is Condition.SKIPPED:
            changing.registry.view.causes.begin()
            path = changing.registry.view.causes.skip_path(name)
            assert path[0] == name
            assert path[-1] == changing.root(name, Condition.SKIPPED, Verdict.BLOCKED)
    assert changing.driven.defects == []


@pytest.mark.parametrize("seed", range(40))
def test_what_waits_all_the_time_is_told_while_others_change(little: None, seed: int) -> None:
    """Units and edges that come and go shift the pages; who stays is never passed over."""
    changing, script = Changing(seed), None
    for _ in range(STEPS):
        changing.change()
    script = changing.driven.script()
    causes = [f"cause{number}" for number in range(8)]
    script.must(wire.Ok, script.want("many", *causes, *(f"u{n}" for n in range(UNITS))))
    script.must(wire.Ok, script.want("few", "cause0", "cause1"))
    for _ in range(5):
        replies = list(changing.why(change=True))
        for name, whose in (("many", causes), ("few", causes[:2])):
            assert {(name, "waiting", cause) for cause in whose} <= told(replies) or any(
                unit == name and kind == "skipped" for unit, kind, _ in told(replies)
            )
        assert len(replies) < 40


def test_a_met_prerequisite_of_many_is_taken_back(driven: Driven, ann: Script) -> None:
    """What was passed over of many is counted anew: otherwise status and list end with an
    error, and why says that nothing is in the way."""
    names = [f"p{number}" for number in range(MANY_EDGES + 10)]
    ann.must(wire.Ok, ann.want("ide", *names))
    for name in names[:-1]:
        ann.does(name)
    for unit in ("ide", "dependent"):
        ann.must(wire.Ok, ann.want("dependent", "ide"))
        assert waits_for(ann, unit) == (names[-1] if unit == "ide" else "ide")
    ann.must(wire.Ok, ann.unwant("ide", names[0]))
    assert waits_for(ann, "ide") == names[-1]
    page = ann.must(wire.ListReply, wire.List(id=""))
    (row,) = (row for row in page.units if row.name == "ide")
    assert [edge.name for edge in row.prerequisites] == [names[-1]]
    why = told([ann.must(wire.WhyReply, wire.Why(id=""))])
    assert why == {("ide", "waiting", names[-1]), ("dependent", "waiting", names[-1])}
    assert driven.defects == []


def test_what_was_seen_in_a_turn_that_was_taken_back_is_not_remembered() -> None:
    """An owner ends while the disk is full, and somebody who waits would have been told of
    it: nothing of that has happened, and nothing of it is shown."""
    driven = Driven(store=(store := Refusing(MemoryStore())))
    ann, bob = driven.script("ann.sh"), driven.script("bob.sh")
    names = [f"p{number}" for number in range(MANY_EDGES)]
    ann.must(wire.Ok, ann.want("ide", *names))
    ann.must(wire.Granted, ann.start("p0", on_owner_exit=wire.OnOwnerExit.COMPLETE))
    waiting = bob.wait("p0", "ide", any=True, patience_s=30.0)
    assert bob.ask(waiting) is None
    store.refuse("append")
    with pytest.raises(StoreError):
        driven.die(ann.owner)
    assert waits_for(driven.script(), "ide") == f"p0 and {MANY_EDGES - 1} more"
    store.refuse()
    driven.owners.watched.add(ann.owner.key)
    driven.die(ann.owner)
    assert isinstance(bob.told(), wire.Ok)
    assert waits_for(driven.script(), "ide") == f"p1 and {MANY_EDGES - 2} more"


@pytest.mark.parametrize("kind", ["added", "taken away"])
def test_edges_that_are_taken_back_with_their_turn_are_not_passed_over(kind: str) -> None:
    """Somebody looks in the turn that the store then refuses: what was met before the first
    edge that was not is another number afterwards."""
    driven = Driven(store=(store := Refusing(MemoryStore())))
    ann, bob = driven.script("ann.sh"), driven.script("bob.sh")
    met = [f"p{number}" for number in range(MANY_EDGES + 5)]
    for name in met:
        ann.does(name)
    if kind == "added":
        ann.must(wire.Ok, ann.want("ide", *met[:-1]))
        change: wire.AnyRequest = ann.want("ide", met[-1], "never")
    else:
        ann.must(wire.Ok, ann.want("ide", "first", *met, "never"))
        change = ann.unwant("ide", "first")
    store.refuse("append")
    driven.turn((ann, change), (bob, wire.StatusOf(id="", unit="ide")))
    refused, shown = ann.told(), bob.told()
    assert isinstance(refused, wire.Error)
    assert isinstance(shown, wire.StatusReply)
    store.refuse()
    if kind == "added":
        ann.must(wire.Ok, ann.want("ide", "other"))
        assert waits_for(ann, "ide") == "other"
    else:
        assert waits_for(ann, "ide") == "first and 1 more"


def test_who_gave_up_is_not_named_while_another_waits(
    driven: Driven, ann: Script, bob: Script
) -> None:
    bob.waits_to_start("ide", "clone")
    ann.must(wire.Waiting, ann.start("ide", "clone"))
    ann.refused("timed_out", ann.start("ide", "clone", last=True))
    assert told([ann.must(wire.WhyReply, wire.Why(id=""))]) == {("ide", "waiting", "clone")}
    info = ann.status("ide")
    assert (info.waiting_clients, info.given_up) == (1, "")
    (row,) = ann.must(wire.ListReply, wire.List(id="", limit=1)).units
    assert (row.waiting_clients, row.given_up) == (1, "")
    driven.pass_time(31)
    assert isinstance(bob.told(), wire.Waiting)
    assert ann.status("ide").given_up == "timed out", "now nobody waits"
    groups = ann.must(wire.WhyReply, wire.Why(id="")).groups
    assert [(group.kind, group.cause.name) for group in groups] == [("given up", "ide")]


def test_what_one_request_passes_over_in_a_wide_chain_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each unit of the chain waits for 30 others before the next one of it: looking down
    to the root costs 31 edges a step."""
    monkeypatch.setattr("unitsyncd.core.causes.PASSED_MAX", 300)
    driven = Driven()
    script = driven.script()
    others = [f"other{number}" for number in range(30)]
    units = [wire.Declaration(f"c{n}", [*others, f"c{n - 1}"]) for n in range(1, 200)]
    script.must(wire.Ok, wire.Declare(id="", units=units))
    for name in others:
        script.does(name)
    script.must(wire.Ok, script.want("c0"))
    view = driven.supervisor._handlers.registry.view
    for kind in ("waiting", "skipped"):
        for ask in (
            lambda: view.why_groups(198),
            lambda: view.causes.skip_root("c199"),
            lambda: view.info("c199", full=True),
            lambda: view.page(190, 10),
        ):
            view.causes.begin()
            ask()
            assert view.causes._passed <= 600, kind
        script.must(wire.Ok, script.fail("c0", "broken"))


@pytest.mark.parametrize(
    ("look", "passes"),
    [
        (lambda causes, unit: list(causes.edges("all", met=True)), EDGES),
        (lambda causes, unit: causes.first_unmet(unit), EDGES),
        (lambda causes, unit: [causes.first_unmet(unit) for _ in range(3)], EDGES),
        (lambda causes, unit: causes.waits_at(unit, 1, EDGES), EDGES),
        (lambda causes, unit: causes.skip_path("few", {"other": SUCCESS}), 2),
        (lambda causes, unit: causes.skip_root("few"), 2),
    ],
    ids=["edges", "first", "first, remembered", "page", "path", "root"],
)
def test_what_a_search_passes_over_is_counted(
    driven: Driven, ann: Script, look: Callable[[Causes, Unit], object], passes: int
) -> None:
    """Or nothing would bound a request."""
    names = [f"p{number}" for number in range(EDGES)]
    ann.must(wire.Ok, ann.want("all", *names))
    ann.must(wire.Ok, ann.want("few", "ended", "other"))
    ann.does("ended")
    ann.does("other", exit_code=1)
    registry = driven.supervisor.handlers.registry
    causes = registry.view.causes
    causes.begin()
    assert causes._passed == 0
    look(causes, registry.units["all"].unit)
    assert causes._passed == passes


def test_each_request_of_a_turn_may_look_at_as_much(
    ann: Script, bob: Script, driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.core.causes.PASSED_MAX", 20)
    ann.must(wire.Ok, ann.want("ide", *(f"p{number}" for number in range(15))))
    requests = [(script, wire.StatusOf(id="", unit="ide")) for script in (ann, bob)]
    driven.turn(*requests, *requests)
    told = [*ann.inbox, *bob.inbox]
    ann.inbox.clear()
    bob.inbox.clear()
    reasons = [reply.unit.reason for reply in told if isinstance(reply, wire.StatusReply)]
    assert reasons == ["waits for p0 and 14 more"] * 4


def test_a_page_about_causes_looks_at_a_bounded_number_of_edges(
    ann: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unitsyncd.core.view.WHY_PAGE", 10)
    for unit in range(6):
        ann.must(wire.Ok, ann.want(f"u{unit}", *(f"p{number}" for number in range(4))))
    offset, seen = 0, []
    while offset >= 0:
        reply = ann.must(wire.WhyReply, wire.Why(id="", offset=offset))
        seen.append(sum(len(group.units) for group in reply.groups))
        offset = reply.next
    assert sum(seen) == 24
    assert max(seen) <= 10


def waits_for(script: Script, unit: str) -> str:
    """The one that *unit* is said to wait for."""
    reason = script.status(unit).reason
    assert reason.startswith("waits for "), reason
    return reason.removeprefix("waits for ")


def test_a_page_goes_on_with_another_unit_when_one_has_been_completed_meanwhile(
    little: None,
) -> None:
    """The place in its prerequisites does not count for the next one."""
    driven = Driven()
    script = driven.script()
    script.must(wire.Ok, script.want("first", *(f"a{n}" for n in range(9))))
    script.must(wire.Ok, script.want("second", "b"))
    page = script.must(wire.WhyReply, wire.Why(id=""))
    script.must(wire.Ok, script.complete("first", even_so=True))
    later = []
    while page.next >= 0:
        page = script.must(wire.WhyReply, wire.Why(id="", offset=page.next))
        later.append(page)
    assert ("second", "waiting", "b") in told(later)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["waiting", "skipped"])
def test_a_long_chain_takes_few_pages_while_others_change(
    monkeypatch: pytest.MonkeyPatch, reverse: bool, kind: str
) -> None:
    monkeypatch.setattr("unitsyncd.core.causes.DOWN_MAX", 50)
    monkeypatch.setattr("unitsyncd.core.view.WHY_PAGE", 100)
    driven = Driven()
    script = driven.script()
    units = [wire.Declaration(f"c{n}", [f"c{n - 1}"] if n else []) for n in range(1000)]
    units = units[::-1] if reverse else units
    script.must(wire.Ok, wire.Declare(id="", units=[*units, wire.Declaration("busy", [])]))
    if kind == "skipped":
        script.must(wire.Ok, script.fail("c0", "broken"))
    for ask in (wire.Why, wire.List):
        offset, asked, seen = 0, 0, set()
        while offset >= 0:
            reply = script.ask(ask(id="", offset=offset))
            assert isinstance(reply, wire.WhyReply | wire.ListReply)
            if isinstance(reply, wire.WhyReply):
                seen |= {unit for group in reply.groups for unit in group.units}
            else:
                seen |= {row.name for row in reply.units}
            offset, asked = reply.next, asked + 1
            script.must(wire.Ok, script.complete("busy", even_so=True))
            script.must(wire.Ok, script.reset("busy", force=True))
        assert asked <= 25
        assert {f"c{n}" for n in range(1, 1000)} <= seen


def test_one_answer_names_one_root_of_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitsyncd.core.causes.DOWN_MAX", 100)
    driven = Driven()
    script = driven.script()
    units = [wire.Declaration(f"c{n}", [f"c{n - 1}"] if n else []) for n in range(1000)]
    script.must(wire.Ok, wire.Declare(id="", units=units))
    script.must(wire.Ok, script.fail("c0", "broken"))
    tree = script.must(wire.WhyReply, wire.Why(id="", unit="c999")).tree
    reasons = set()
    while tree is not None:
        reasons |= {tree.unit.reason, *(edge.reason for edge in tree.unit.prerequisites)}
        tree = tree.because[0] if tree.because else None
    [reason] = reasons
    assert reason.endswith(" is skipped")


def test_a_tree_has_a_bounded_number_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitsyncd.core.view.TREE_NODES_MAX", 20)
    driven = Driven()
    script = driven.script()
    for layer in range(5):
        for n in range(5):
            above = [f"l{layer + 1}-{other}" for other in range(5)]
            script.must(wire.Ok, script.want(f"l{layer}-{n}", *above))
    tree = script.must(wire.WhyReply, wire.Why(id="", unit="l0-0")).tree
    assert tree is not None
    nodes, left_out = [tree], 0
    for node in nodes:
        nodes += node.because
        left_out += node.more
    assert len(nodes) == 20
    assert left_out > 0


def test_a_tree_has_once_what_is_below_a_unit() -> None:
    """Five layers of six units, each of which needs the whole layer below."""
    driven = Driven()
    script = driven.script()
    for layer in range(5):
        for n in range(6):
            script.must(wire.Ok, script.want(f"l{layer}.{n}", *([f"l{layer - 1}.*"] * (layer > 0))))
    tree = script.must(wire.WhyReply, wire.Why(id="", unit="l4.0")).tree
    assert tree is not None
    nodes, grown = [tree], []
    for node in nodes:
        nodes += node.because
        grown += [node.unit.name] * bool(node.because)
        assert node.more == 0
    assert len(nodes) == 1 + 6 + 3 * 36
    assert len(grown) == len(set(grown)) == 1 + 3 * 6


def test_a_page_of_a_list_names_a_bounded_number_of_prerequisites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unitsyncd.core.view.LIST_EDGES_MAX", 20)
    driven = Driven()
    script = driven.script()
    units = [wire.Declaration(f"u{n}", [f"p{n}", f"q{n}", f"r{n}"]) for n in range(50)]
    script.must(wire.Ok, wire.Declare(id="", units=units))
    named, offset = [], 0
    while offset >= 0:
        page = script.must(wire.ListReply, wire.List(id="", offset=offset))
        named.append(sum(len(row.prerequisites) for row in page.units))
        offset = page.next
    assert max(named) < 20 + 3
    assert sum(named) == 150


def pages(script: Script) -> Iterator[wire.ListReply]:
    offset = 0
    while offset >= 0:
        reply = script.must(wire.ListReply, wire.List(id="", offset=offset, limit=6))
        yield reply
        offset = reply.next
