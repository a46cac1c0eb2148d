"""Cycles, against a search of the whole graph that keeps nothing in mind."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.needs import COMPLETION, OPTIONAL_START, SUCCESS
from unitsync.errors import CycleError
from unitsync.wire import Requirement
from unitsyncd.core.graph import MANY_EDGES, ONE_BY_ONE_MIN, Graph, Request
from unitsyncd.core.requirement import NEEDS, By, Need, need_by, need_of
from unitsyncd.core.undo import UndoLog
from unitsyncd.core.wording import CYCLE_SHOWN_MAX

Edge = tuple[str, str]
"""(dependent, prerequisite)"""


def reaches(edges: Iterable[Edge], start: str, goal: str) -> bool:
    """Whether *start* waits for *goal*, directly or through others, or is it."""
    further: dict[str, set[str]] = {}
    for dependent, prerequisite in edges:
        further.setdefault(dependent, set()).add(prerequisite)
    seen, todo = set(), {start}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= further.get(name, set()) - seen
    return goal in seen


def contents(graph: Graph, names: Iterable[str]) -> tuple[object, ...]:
    """All that can be asked about *names*."""
    names = list(names)
    return (
        graph.edges,
        {name: dict(graph.prerequisites(name)) for name in names},
        {name: set(graph.dependents(name)) for name in names},
        set(graph.unregistered),
    )


def new_graph() -> Graph:
    return Graph((), UndoLog())


def add(graph: Graph, *edges: Edge) -> UndoLog:
    for edge in edges:
        graph.add(*edge, SUCCESS, Request(graph))
    return graph.undo


def cycle_of(graph: Graph, dependent: str, prerequisite: str) -> list[str]:
    with pytest.raises(CycleError) as caught:
        graph.add(dependent, prerequisite, SUCCESS, Request(graph))
    return caught.value.cycle


def check_cycle(cycle: list[str], edges: Iterable[Edge], new: Edge) -> None:
    """It begins with the new edge, all others exist, and no unit is on it twice."""
    steps = list(itertools.pairwise(cycle))
    assert cycle[0] == cycle[-1]
    assert steps[0] == new
    assert set(steps[1:]) <= set(edges)
    assert len(set(cycle)) == len(cycle) - 1


# --- by hand ----------------------------------------------------------------------


def test_a_unit_cannot_wait_for_itself() -> None:
    graph = new_graph()
    with pytest.raises(CycleError, match=r"^cycle: a → a$") as caught:
        graph.add("a", "a", SUCCESS, Request(graph))
    assert caught.value.cycle == ["a", "a"]
    assert caught.value.hint == "a unit cannot wait for itself"
    assert contents(graph, "a") == contents(new_graph(), "a")


def test_the_whole_cycle_is_spelled_out() -> None:
    graph = new_graph()
    add(graph, ("b", "c"), ("c", "a"))
    with pytest.raises(CycleError, match=r"^cycle: a → b → c → a$") as caught:
        graph.add("a", "b", SUCCESS, Request(graph))
    assert caught.value.cycle == ["a", "b", "c", "a"]
    # The edge that the hint says to take back is one that is there.
    assert caught.value.hint.endswith("unitsync unwant c a")


def test_the_shortest_cycle_is_reported() -> None:
    graph = new_graph()
    add(graph, ("b", "c"), ("c", "d"), ("d", "a"), ("b", "x"), ("x", "a"), ("b", "y"))
    assert cycle_of(graph, "a", "b") == ["a", "b", "x", "a"]


@pytest.mark.parametrize("length", [40, CYCLE_SHOWN_MAX - 1])
def test_a_long_cycle_too(length: int) -> None:
    graph = new_graph()
    names = [f"u{i}" for i in range(length)]
    add(graph, *itertools.pairwise(names))
    with pytest.raises(CycleError) as caught:
        graph.add(names[-1], names[0], SUCCESS, Request(graph))
    assert caught.value.cycle == [names[-1], *names]
    assert str(caught.value) == f"cycle: {' → '.join([names[-1], *names])}"


def test_of_one_that_is_too_long_for_people_both_ends_are() -> None:
    graph, length = new_graph(), 5000
    names = [f"u{i}" for i in range(length)]
    add(graph, *itertools.pairwise(names))
    with pytest.raises(
        CycleError, match=r"u4999 → u0 → .* → \(4,001 more\) → .* → u4999$"
    ) as caught:
        graph.add(names[-1], names[0], SUCCESS, Request(graph))
    assert caught.value.cycle == [names[-1], *names]
    assert str(caught.value).count("→") == CYCLE_SHOWN_MAX


@pytest.mark.parametrize("order", [1, -1])
def test_a_chain_in_either_order_of_declaration(order: int) -> None:
    graph, length = new_graph(), 3000
    edges = [(f"u{i}", f"u{i + 1}") for i in range(length)]
    add(graph, *edges[::order])
    assert graph.edges == length
    for i in (1, 2, length // 2, length):
        check_cycle(cycle_of(graph, f"u{i}", "u0"), edges, (f"u{i}", "u0"))
    assert graph.edges == length


def test_a_diamond_is_no_cycle() -> None:
    graph = new_graph()
    add(graph, ("d", "b"), ("d", "c"), ("b", "a"), ("c", "a"), ("d", "a"))
    assert set(graph.prerequisites("d")) == {"a", "b", "c"}
    assert list(graph.dependents("a")) == ["b", "c", "d"]
    assert cycle_of(graph, "a", "d") == ["a", "d", "a"]


def test_an_edge_that_was_taken_back_closes_nothing() -> None:
    graph = new_graph()
    add(graph, ("a", "b"), ("b", "c"))
    cycle_of(graph, "c", "a")
    graph.remove("b", "c")
    add(graph, ("c", "a"))
    assert cycle_of(graph, "b", "c") == ["b", "c", "a", "b"]


def test_taking_a_turn_back() -> None:
    graph, names = new_graph(), "abcd"
    undo = add(graph, ("a", "b"), ("b", "c"))
    before, mark = contents(graph, names), undo.savepoint()
    graph.add("c", "d", OPTIONAL_START, Request(graph))
    graph.remove("a", "b")
    graph.add("d", "a", COMPLETION, Request(graph))
    undo.rollback(mark)
    assert contents(graph, names) == before
    undo.rollback()
    assert contents(graph, names) == contents(new_graph(), names)


def test_a_turn_that_took_edges_away_and_raised_levels_is_taken_back() -> None:
    """Found at random: without the edges its unit rose above those that wait for it, and
    when they came back, a cycle through them was missed."""
    graph, names = new_graph(), [f"u{i}" for i in range(7)]
    edges = [
        (f"u{a}", f"u{b}") for a, b in ((0, 1), (0, 4), (0, 6), (6, 1), (0, 3), (0, 2), (2, 5))
    ]
    undo = add(graph, *edges)
    levels, mark = [graph.level(name) for name in names], undo.savepoint()
    for prerequisite in ("u1", "u2", "u3", "u4"):
        graph.remove("u0", prerequisite)
    graph.add("u5", "u0", SUCCESS, Request(graph))  # raises u5, and with it u2
    undo.rollback(mark)
    assert [graph.level(name) for name in names] == levels
    for a, b in ((1, 0), (4, 0), (5, 0), (5, 2)):
        check_cycle(cycle_of(graph, f"u{a}", f"u{b}"), edges, (f"u{a}", f"u{b}"))


def test_a_turn_that_raised_a_unit_nobody_waited_for_is_taken_back() -> None:
    """Its twin: while its edges are away nobody waits for the unit, so that it rises
    without a search. When they come back, those that wait for it must not lie below."""
    graph, names = new_graph(), "abcde"
    edges = [("b", "a"), ("c", "b"), ("d", "e"), ("e", "d2")]
    undo = add(graph, *edges)
    graph.load("d", 3, ())
    levels, mark = [graph.level(name) for name in names], undo.savepoint()
    graph.remove("b", "a")
    graph.add("a", "d", SUCCESS, Request(graph))
    assert graph.level("a") == 3, "it rose"
    undo.rollback(mark)
    assert [graph.level(name) for name in names] == levels
    for further in ("b", "c"):
        check_cycle(cycle_of(graph, "a", further), edges, ("a", further))


def test_needs_are_kept() -> None:
    graph = new_graph()
    for index, need in enumerate(NEEDS):
        graph.add("a", f"p{index}", need, Request(graph))
    assert list(graph.prerequisites("a").values()) == list(NEEDS)
    graph.remove("a", "p3")
    graph.undo.rollback(len(NEEDS))
    assert graph.prerequisites("a")["p3"] is NEEDS[3]


OF_START = need_of(Requirement.SUCCESS, False, of_start=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: graph.add("u", "new", OF_START, Request(graph)),
        lambda graph: graph.remove("u", "of start"),
        lambda graph: graph.put_need("u", "of start", SUCCESS),
        lambda graph: graph.put_need("u", "p0", OF_START),
    ],
    ids=["one more", "one less", "one that stays now", "one that does not stay"],
)
def test_what_is_remembered_of_the_last_start_is_what_is_there(
    change: Callable[[Graph], None],
) -> None:
    graph = new_graph()
    add(graph, *(("u", f"p{number}") for number in range(MANY_EDGES)))
    graph.add("u", "of start", OF_START, Request(graph))
    assert graph.of_start("u") == {"of start": OF_START}
    mark = graph.undo.savepoint()
    change(graph)
    found = {name: need for name, need in graph.prerequisites("u").items() if need.of_start}
    assert graph.of_start("u") == found != {"of start": OF_START}
    graph.undo.rollback(mark)
    assert graph.of_start("u") == {"of start": OF_START}


PATTERN = need_by(SUCCESS, By.PATTERN)


def test_levels_rise_only_where_a_search_was_given_up() -> None:
    graph = new_graph()
    add(graph, ("u", "low"), ("low", "x"))
    assert [graph.level(name) for name in ("u", "low", "x")] == [0, 0, 0]
    add(graph, ("y", "z"), ("x", "y"))  # there is something behind y
    assert [graph.level(name) for name in ("u", "low", "x", "y")] == [1, 1, 1, 0]


def test_what_searches_look_at_is_counted() -> None:
    """Or a request whose edges come in an unlucky order would never be checked together."""
    graph = new_graph()
    add(graph, *((f"u{number}", "low") for number in range(100)), ("y", "z"))
    assert graph.looks == 0, "nobody waits for these"
    add(graph, ("low", "x"))
    assert graph.looks == 1, "what is behind x, which is nothing"
    add(graph, ("low", "y"))
    assert graph.looks == 102, "what is behind y, and what rises"
    request = Request(graph)
    request.looks_max = -1
    graph.add("x", "v", SUCCESS, request)
    graph.add("v", "w", SUCCESS, request)
    graph.check(request)
    assert graph.looks == 104, "what waits for v and x"
    graph.check(request)
    assert graph.looks == 104, "all of it was checked"


def put_back(graph: Graph, names: Iterable[str]) -> Graph:
    """As a snapshot is put back: with the levels, or each search begins at zero again."""
    again = new_graph()
    for name in names:
        if graph.prerequisites(name) or graph.level(name):
            again.load(name, graph.level(name), graph.prerequisites(name).items())
    assert contents(again, names) == contents(graph, names)
    assert [again.level(name) for name in names] == [graph.level(name) for name in names]
    return again


@pytest.mark.parametrize("seed", range(30))
def test_many_edges_at_random(seed: int) -> None:
    """Dense enough that the bounded search gives up again and again and levels rise."""
    choose = random.Random(seed)
    names = [f"u{i}" for i in range(choose.choice((10, 25, 40)))]
    graph, edges = new_graph(), set[Edge]()
    for count in range(500):
        if count == 250:
            graph = put_back(graph, names)
        dependent, prerequisite = choose.choice(names), choose.choice(names)
        if (dependent, prerequisite) in edges:
            if not choose.randrange(3):
                graph.remove(dependent, prerequisite)
                edges.remove((dependent, prerequisite))
        elif reaches(edges, prerequisite, dependent):
            new = (dependent, prerequisite)
            check_cycle(cycle_of(graph, *new), edges, new)
        else:
            add(graph, (dependent, prerequisite))
            edges.add((dependent, prerequisite))
    assert any(graph.level(name) > 1 for name in names) or len(names) < 25


# --- many at once -----------------------------------------------------------------

NEVER_ONE_BY_ONE = -(1 << 60)


def add_together(graph: Graph, edges: Iterable[Edge], need: Need) -> None:
    """All of *edges* or none, as one request."""
    mark = graph.undo.savepoint()
    request = Request(graph)
    try:
        for edge in edges:
            graph.add(*edge, need, request)
        graph.check(request)
    except CycleError:
        graph.undo.rollback(mark)
        raise


def check_levels(graph: Graph, edges: Iterable[Edge]) -> None:
    for dependent, prerequisite in edges:
        assert graph.level(dependent) >= graph.level(prerequisite)


def band(units: int, width: int) -> list[Edge]:
    """Each waits for those just before it: the longest way through is through all."""
    return [
        (f"u{one}", f"u{one - back}")
        for one in range(units)
        for back in range(1, width + 1)
        if one >= back
    ]


@pytest.mark.parametrize("graph", ["band", "chain", "layers", "random"])
def test_a_request_takes_a_few_passes_in_whatever_order_its_edges_come(graph: str) -> None:
    """Counted in edges that are looked at, since no clock can be relied on."""
    choose = random.Random(graph)
    edges = {
        "band": lambda: band(10_000, 3),
        "chain": lambda: band(30_000, 1),
        "layers": lambda: [
            (f"u{n}-{i}", f"u{n - 1}-{choose.randrange(100)}")
            for n in range(1, 100)
            for i in range(100)
        ],
        "random": lambda: [
            (f"u{max(pair)}", f"u{min(pair)}")
            for pair in ((choose.randrange(9000), choose.randrange(9000)) for _ in range(30_000))
            if pair[0] != pair[1]
        ],
    }[graph]()
    edges = list(dict.fromkeys(edges))
    choose.shuffle(edges)
    together = new_graph()
    before = together.looks
    add_together(together, edges, SUCCESS)
    assert together.looks - before < ONE_BY_ONE_MIN + 4 * len(edges)
    check_levels(together, edges)
    assert together.edges == len(edges)
    # What comes afterwards, one by one, is looked at as ever.
    for dependent, prerequisite in choose.sample(edges, 20):
        new = (prerequisite, dependent)
        check_cycle(cycle_of(together, *new), edges, new)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("one_by_one", [NEVER_ONE_BY_ONE, 0, 20])
def test_a_cycle_among_many(seed: int, one_by_one: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found, begins with a unit of the request, and leaves nothing behind."""
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", one_by_one)
    choose = random.Random(seed)
    names = [f"u{i}" for i in range(60)]
    graph = new_graph()
    edges = [(f"u{max(pair)}", f"u{min(pair)}") for pair in itertools.combinations(range(60), 2)]
    edges = choose.sample(edges, 300)
    there, new = edges[:150], edges[150:]
    add_together(graph, there, SUCCESS)
    before, levels = contents(graph, names), [graph.level(name) for name in names]
    dependent, prerequisite = choose.choice(new)
    wrong = [*new, (prerequisite, dependent)]
    choose.shuffle(wrong)
    with pytest.raises(CycleError) as caught:
        add_together(graph, wrong, SUCCESS)
    cycle = caught.value.cycle
    steps = list(itertools.pairwise(cycle))
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    assert set(steps) <= {*there, *wrong}
    assert cycle[0] in {one for one, _ in wrong}
    assert contents(graph, names) == before
    assert [graph.level(name) for name in names] == levels
    add_together(graph, new, SUCCESS)
    check_levels(graph, edges)


def test_a_unit_that_waits_for_itself_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", NEVER_ONE_BY_ONE)
    with pytest.raises(CycleError, match=r"^cycle: c → c$"):
        add_together(new_graph(), [("a", "b"), ("c", "c")], SUCCESS)


# --- against the oracle -----------------------------------------------------------


OF_UNITS = [need for need in NEEDS if not need.is_pattern]


class CyclesMachine(RuleBasedStateMachine):
    """Adds, removals and whole turns that are taken back, in any order. A few units
    make many cycles, many units long ones and the bounded search give up."""

    @initialize(units=st.sampled_from((4, 12, 60)))
    def begin(self, units: int) -> None:
        self.names = [f"u{i}" for i in range(units)]
        self.registered: set[str] = set()
        self.graph = Graph(self.registered, UndoLog())
        self.edges: dict[Edge, Need] = {}

    def _pick(self, data: st.DataObject) -> Edge:
        pick = st.sampled_from(self.names)
        return data.draw(pick), data.draw(pick)

    def _add(self, edge: Edge, need: Need) -> None:
        if edge in self.edges:
            return
        if not reaches(self.edges, edge[1], edge[0]):
            self.graph.add(*edge, need, Request(self.graph))
            self.edges[edge] = need
            return
        before, mark = contents(self.graph, self.names), self.graph.undo.savepoint()
        with pytest.raises(CycleError) as caught:
            self.graph.add(*edge, need, Request(self.graph))
        check_cycle(caught.value.cycle, self.edges, edge)
        assert contents(self.graph, self.names) == before
        assert self.graph.undo.savepoint() == mark
        self._check_what_is_in_the_way(*edge)

    def _check_what_is_in_the_way(self, dependent: str, prerequisite: str) -> None:
        by_name = {edge for edge, need in self.edges.items() if need.by is not By.MATCH}
        found = self.graph.in_the_way(dependent, prerequisite, {By.MATCH})
        if reaches(by_name, prerequisite, dependent):
            assert found == []
            return
        assert len(found) == len(set(found)) > 0
        assert not reaches(self.edges.keys() - set(found), prerequisite, dependent)
        for one, other in found:
            assert self.edges[one, other].by is By.MATCH
            assert reaches(self.edges, prerequisite, one)
            assert reaches(by_name, other, dependent)

    @rule(data=st.data(), need=st.sampled_from(OF_UNITS))
    def add_one(self, data: st.DataObject, need: Need) -> None:
        self._add(self._pick(data), need)

    @rule(data=st.data(), length=st.integers(2, 20))
    def add_a_path(self, data: st.DataObject, length: int) -> None:
        pick = st.lists(st.sampled_from(self.names), min_size=2, max_size=length)
        path = data.draw(pick)
        for edge in itertools.pairwise(path):
            self._add(edge, SUCCESS)

    @rule(
        data=st.data(),
        length=st.integers(1, 25),
        acyclic=st.booleans(),
        one_by_one=st.sampled_from((NEVER_ONE_BY_ONE, 0, 3)),
        need=st.sampled_from(OF_UNITS),
    )
    def add_many(
        self, data: st.DataObject, length: int, acyclic: bool, one_by_one: int, need: Need
    ) -> None:
        """As one request, of which any part may be looked at together."""
        edges = dict.fromkeys(self._pick(data) for _ in range(length))
        if acyclic:
            edges = {(max(edge), min(edge)): None for edge in edges if edge[0] != edge[1]}
        new = [edge for edge in edges if edge not in self.edges]
        wanted = self.edges | dict.fromkeys(new, need)
        cyclic = any(reaches(wanted, edge[1], edge[0]) for edge in new)
        before, mark = contents(self.graph, self.names), self.graph.undo.savepoint()
        levels = {name: self.graph.level(name) for name in self.names}
        with mock.patch("unitsyncd.core.graph.ONE_BY_ONE_MIN", one_by_one):
            if not cyclic:
                add_together(self.graph, new, need)
                self.edges = wanted
                return
            with pytest.raises(CycleError) as caught:
                add_together(self.graph, new, need)
        assert set(itertools.pairwise(caught.value.cycle)) <= wanted.keys()
        assert caught.value.cycle[0] == caught.value.cycle[-1]
        assert contents(self.graph, self.names) == before
        assert {name: self.graph.level(name) for name in self.names} == levels
        assert self.graph.undo.savepoint() == mark

    @rule(data=st.data())
    def add_backwards_along_a_path(self, data: st.DataObject) -> None:
        """Mostly cycles, on purpose."""
        if self.edges:
            dependent, prerequisite = data.draw(st.sampled_from(sorted(self.edges)))
            for further in [edge for edge in self.edges if edge[0] == prerequisite]:
                self._add((further[1], dependent), SUCCESS)

    @rule(data=st.data())
    def remove_one(self, data: st.DataObject) -> None:
        if self.edges:
            edge = data.draw(st.sampled_from(sorted(self.edges)))
            self.graph.remove(*edge)
            del self.edges[edge]

    @rule(data=st.data(), more=st.integers(1, 8))
    def take_a_turn_back(self, data: st.DataObject, more: int) -> None:
        before, mark = contents(self.graph, self.names), self.graph.undo.savepoint()
        edges = dict(self.edges)
        for _ in range(more):
            if data.draw(st.booleans()):
                self._add(self._pick(data), SUCCESS)
            else:
                self.remove_one(data)
        self.graph.undo.rollback(mark)
        self.edges = edges
        assert contents(self.graph, self.names) == before

    @rule(data=st.data())
    def register_or_take_that_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.names))
        self.registered ^= {name}
        if name in self.registered:
            self.graph.registered(name)
        else:
            self.graph.not_registered(name)

    @rule()
    def commit(self) -> None:
        self.graph.undo.clear()

    @invariant()
    def holds_what_was_added(self) -> None:
        if hasattr(self, "edges"):
            assert self.graph.edges == len(self.edges)
            found = {
                (name, prerequisite): need
                for name in self.names
                for prerequisite, need in self.graph.prerequisites(name).items()
            }
            assert found == self.edges
            check_levels(self.graph, self.edges)
            waited_for = {prerequisite for _, prerequisite in self.edges}
            assert set(self.graph.unregistered) == waited_for - self.registered


TestAgainstTheOracle = pytest.mark.timeout(300)(CyclesMachine.TestCase)
