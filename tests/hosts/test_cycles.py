"""Cycles over several real coordinators, as scripts meet them."""

from __future__ import annotations

import pytest

from hosts.real import RealHost, must

CYCLE = 5


@pytest.mark.timeout(120)
def test_every_wait_on_a_cycle_ends_and_no_other(
    three_hosts: list[RealHost],
) -> None:
    """Over two hosts; and over three, by way of local units. All are declared at once. When one
    edge is taken back, those on that cycle go on."""
    h0, h1, h2 = three_hosts
    declared = [
        h0.call("want", "between", "b@h1"),
        h2.call("want", "last", "a@h0"),
    ]
    on_cycle = {
        "p@h0 → q@h1 → p@h0": h0.call("start", "p", "--after", "q@h1"),
        "q@h1 → p@h0 → q@h1": h1.call("start", "q", "--after", "p@h0", "--after", "free"),
        "a@h0 → between@h0 → b@h1 → c@h2 → last@h2 → a@h0": h0.call(
            "start", "a", "--after", "between"
        ),
        "b@h1 → c@h2 → last@h2 → a@h0 → between@h0 → b@h1": h1.call(
            "start", "b", "--after", "c@h2"
        ),
        "c@h2 → last@h2 → a@h0 → between@h0 → b@h1 → c@h2": h2.call(
            "start", "c", "--after", "last"
        ),
    }
    behind = [
        h0.call("start", "next", "--after", "p"),
        h1.call("start", "far", "--after", "a@h0"),
        h2.call("start", "other", "--after", "nobody@h0"),
        h1.call("wait", "b"),
    ]
    try:
        for each in declared:
            must(each)
        for path, start in on_cycle.items():
            told = must(start, CYCLE)
            assert f"error: cycle: {path}\n" in told
            if path.startswith("p@h0"):
                assert "unitsync unwant p q@h1" in told
        again = h1.call("start", "q", "--after", "p@h0")  # it is still there
        assert "error: cycle: q@h1 → p@h0 → q@h1\n" in must(again, CYCLE)
        assert all(each.poll() is None for each in behind)
        h0.must("unwant", "p", "q@h1")
        behind.append(h1.call("start", "q", "--after", "p@h0", "--timeout", "60s"))
        for host, unit in ((h0, "p"), (h1, "free")):
            host.must("run", unit, "--", "true")
        must(behind[-1])
    finally:
        for each in (*on_cycle.values(), *behind, *declared):
            each.kill()
            each.communicate()
