"""A log that is made anew under the same name, as scripts meet it."""

from __future__ import annotations

import subprocess

import pytest

from hosts.nats_servers import Server
from hosts.real import UNITSYNC, RealHost, must
from support.coordinators import PATIENCE_S, clean_environment

UNAVAILABLE = 69


@pytest.mark.timeout(120)
def test_it_is_another_run_for_all_hosts(
    three_hosts: list[RealHost], log_server: Server, job: str
) -> None:
    """Also for one that is down meanwhile. They have read further than the new log goes."""
    h0, h1, h2 = three_hosts
    h1.must("run", "data", "--", "true")
    for host in (h0, h2):
        host.must("wait", "data@h1", "--timeout", "20s")
    h2.kill()
    waiting = h0.call("start", "train", "--after", "data@h1", "--after", "never@h1")
    assert waiting.stdout is not None
    assert "waits for" in waiting.stdout.readline()
    for action in ("end", "create"):
        subprocess.run(
            [*UNITSYNC, "job", action, job, "--hosts", log_server.url],
            env=clean_environment(),
            check=True,
            timeout=PATIENCE_S,
        )
    over = f"job {job} has ended: its log was made anew"
    assert over in must(waiting, UNAVAILABLE)
    late = [host.call("start", "late", "--after", "never@h1") for host in (h0, h2)]
    for start in late:
        assert over in must(start, UNAVAILABLE)
    h0.must("run", "local", "--", "true")
    for host in (h0, h1):
        host.must("reset", "--all", "--force")
    train = h0.call("start", "train", "--after", "data@h1", "--timeout", "30s")
    h1.must("run", "data", "--", "true")
    must(train)
    h0.must("complete", "train")
