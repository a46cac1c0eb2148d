"""Each change of the graph is taken back whole, and noted before it is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.test_graph import NEVER_ONE_BY_ONE, OF_START, PATTERN, add, add_together, new_graph
from support.needs import COMPLETION, SUCCESS
from unitsyncd.core.graph import Graph, Request
from unitsyncd.core.requirement import By, need_by

CHANGES: dict[str, Callable[[Graph], object]] = {
    "an edge": lambda graph: graph.add("top", "low", SUCCESS, Request(graph)),
    "the first edge": lambda graph: graph.add("new", "top", SUCCESS, Request(graph)),
    "an edge that raises": lambda graph: graph.add("low", "x", SUCCESS, Request(graph)),
    "an edge of a start": lambda graph: graph.add("top", "new", OF_START, Request(graph)),
    "a match": lambda graph: graph.add("top", "p-2", MATCH, Request(graph)),
    "a pattern": lambda graph: graph.add("u", "p-*", PATTERN, Request(graph)),
    "no edge": lambda graph: graph.remove("top", "u"),
    "no last edge": lambda graph: graph.remove("u", "low"),
    "no pattern": lambda graph: graph.remove("top", "p-*"),
    "no last pattern": lambda graph: graph.remove("y", "p-*"),
    "another need": lambda graph: graph.put_need("top", "u", COMPLETION),
    "another need of a pattern": lambda graph: graph.put_need("top", "p-*", PATTERN_OF_START),
    "a name instead of a match": lambda graph: graph.put_need("y", "p-3", SUCCESS),
    "left out": lambda graph: graph.put_left_out("top", "q-1", "q-*"),
    "the first left out": lambda graph: graph.put_left_out("u", "q-1", "q-*"),
    "left out of another": lambda graph: graph.put_left_out("top", "p-1", "q-*"),
    "together": lambda graph: add_together(graph, [("x", "low"), ("y", "top")], SUCCESS),
    "before": lambda graph: graph.put_before("r-*", "x", SUCCESS),
    "no longer before": lambda graph: graph.put_before("q-*", "x", None),
}
MATCH = need_by(SUCCESS, By.MATCH)
PATTERN_OF_START = need_by(OF_START, By.PATTERN)


@pytest.fixture
def graph() -> Graph:
    """With some of everything, about which CHANGES change something."""
    graph = new_graph()
    add(graph, ("top", "u"), ("u", "low"), ("x", "y"))
    for pattern in ("p-*", "q-*"):
        graph.add("top", pattern, PATTERN, Request(graph))
    graph.add("y", "p-*", PATTERN, Request(graph))
    graph.add("y", "p-3", MATCH, Request(graph))
    graph.put_left_out("top", "p-1", "p-*")
    graph.put_left_out("top", "q-9", "q-*")
    graph.put_before("q-*", "x", SUCCESS)
    graph.put_before("q-*", "y", SUCCESS)
    return graph


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_left_of_a_change_that_is_taken_back(
    graph: Graph, change: Callable[[Graph], object]
) -> None:
    """No empty entry either: there is no bound on requests that are refused."""

    def held() -> tuple[object, ...]:
        copies = [
            {name: dict(one) if isinstance(one, dict) else one for name, one in part.items()}
            for part in graph.held()
        ]
        return graph.edges, graph.from_patterns, copies

    before, mark = held(), graph.undo.savepoint()
    change(graph)
    assert held() != before
    for name in ("top", "u", "low", "x", "y", "new"):
        edges = graph.prerequisites(name)
        assert graph.patterns(name) == {one: need for one, need in edges.items() if need.is_pattern}
        assert set(graph.left_out.get(name, {}).values()) <= set(graph.patterns(name)) | {"q-*"}
    graph.undo.rollback(mark)
    assert held() == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_unit_is_touched_before_it_changes(
    graph: Graph, change: Callable[[Graph], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that is being taken notes then what it was."""

    def saved(name: str) -> tuple[object, ...]:
        left_out = dict(graph.left_out.get(name, {}))
        return graph.level(name), dict(graph.prerequisites(name)), left_out

    names = ("top", "u", "low", "x", "y", "new")
    before = {name: saved(name) for name in names}
    noted: dict[str, object] = {}

    def note(name: str) -> None:
        noted.setdefault(name, saved(name))

    graph.undo.watch("a test", note)
    monkeypatch.setattr("unitsyncd.core.graph.ONE_BY_ONE_MIN", NEVER_ONE_BY_ONE)
    change(graph)
    changed = {name: before[name] for name in names if saved(name) != before[name]}
    assert changed or graph.before.keys() != {("q-*", "x"), ("q-*", "y")}
    assert {name: noted.get(name) for name in changed} == changed


def test_what_is_left_out_of_a_pattern_that_stays_is_left_out_still(graph: Graph) -> None:
    graph.remove("top", "p-*")
    assert graph.left_out == {"top": {"q-9": "q-*"}}
    graph.remove("top", "q-*")
    assert graph.left_out == {}
