"""No rule depends on the clocks of the hosts."""

from __future__ import annotations

import pytest

from hosts.nats_servers import Server
from hosts.real import RealHost, must
from support.daemon import short_folder
from support.settable_clock import LIBRARY, SettableClock


@pytest.mark.skipif(LIBRARY is None, reason="there is no libfaketime")
@pytest.mark.parametrize(("jump_s", "shown"), [(8 * 3600.0, "ahead"), (-3600.0, "behind")])
def test_a_clock_is_set_while_hosts_wait_for_each_other(
    log_server: Server, job: str, jump_s: float, shown: str
) -> None:
    with short_folder() as folder:
        clock = SettableClock(folder / "now")
        fails = ("--on-host-lost", "fail:10s")
        set_, other = hosts = [
            RealHost(folder, job, "h0", log_server.url, *fails, env=clock.env),
            RealHost(folder, job, "h1", log_server.url, *fails),
        ]
        calls = []
        try:
            for host in hosts:
                host.start()
            calls = [
                set_.call("start", "a", "--after", "data@h1", "--timeout", "100s"),
                other.call("start", "a", "--after", "data@h0", "--timeout", "100s"),
                *(host.call("wait", "ready@*:2", "--timeout", "100s") for host in hosts),
            ]
            clock.set(jump_s)
            while shown not in other.must("hosts"):
                pass
            assert [call.poll() for call in calls] == [None] * 4
            for host in hosts:
                host.must("run", "data", "--", "true")
                host.must("run", "ready", "--", "true")
            for call in calls:
                must(call)
        finally:
            for call in calls:
                call.kill()
                call.communicate()
            for host in hosts:
                host.kill()
