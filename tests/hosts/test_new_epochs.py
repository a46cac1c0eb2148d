"""A host that begins anew, and hosts of which nothing is known yet, as scripts meet them."""

from __future__ import annotations

import pytest

from hosts.real import RealHost, must

NOT_READY = 75


@pytest.mark.timeout(120)
def test_what_an_old_epoch_has_done_meets_nothing(three_hosts: list[RealHost]) -> None:
    h0, h1, _ = three_hosts
    h1.must("run", "data", "--", "true")
    h0.must("start", "granted", "--after", "data@h1", "--timeout", "20s")
    h1.must("reset", "--all", "--force")
    h1.must("run", "marker", "--", "true")
    h0.must("wait", "marker@h1", "--timeout", "20s")
    late = ("start", "late", "--after", "data@h1")
    must(h0.call(*late, "--no-wait"), NOT_READY)
    waiting = h0.call(*late, "--timeout", "30s")
    h1.must("run", "data", "--", "true")
    must(waiting)
    assert "granted" in h0.must("list")
    h0.must("complete", "granted")


@pytest.mark.timeout(120)
def test_unknown_meets_nothing_not_even_an_optional_edge(three_hosts: list[RealHost]) -> None:
    h0, h1, h2 = three_hosts
    h1.must("start", "slow")
    h0.must("wait", "slow@h1", "--for", "start", "--timeout", "20s")
    for kind in ("completion", "success", "start"):
        words = ("--after", "slow@h9", "--optional", "--requires", kind, "--no-wait")
        must(h0.call("start", f"a-{kind}", *words), NOT_READY)
    # Nobody on h2 has asked for it before.
    waiting = h2.call("start", "b", "--after", "slow@h1", "--optional", "--timeout", "30s")
    h2.must("start", "c", "--after", "nothing@h1", "--optional", "--timeout", "20s")
    assert waiting.poll() is None
    h1.must("fail", "slow")
    must(waiting)
