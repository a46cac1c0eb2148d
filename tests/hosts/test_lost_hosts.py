"""A host that is never heard of again, as scripts meet it."""

from __future__ import annotations

import pytest

from hosts.nats_servers import Server
from hosts.real import RealHost, must
from support.daemon import short_folder

LOST = 3


@pytest.mark.timeout(120)
def test_waits_for_a_lost_host_end_if_that_was_asked_for(log_server: Server, job: str) -> None:
    with short_folder() as folder:
        fails = RealHost(folder, job, "h0", log_server.url, "--on-host-lost", "fail:6s")
        waits = RealHost(folder, job, "h1", log_server.url)
        gone = RealHost(folder, job, "h2", log_server.url)
        calls = []
        try:
            for host in (fails, waits, gone):
                host.start()
            gone.must("start", "data")
            fails.must("wait", "data@h2", "--for", "start", "--timeout", "20s")
            calls += [
                fails.call("start", "a", "--after", "data@h2", "--timeout", "100s"),
                fails.call("start", "b", "--after", "data@h1", "--timeout", "100s"),
                waits.call("start", "a", "--after", "data@h2", "--timeout", "100s"),
            ]
            ending, other, patient = calls
            gone.kill()
            assert "error: data@h2: h2 was not heard of for 6 s" in must(ending, LOST)
            must(fails.call("wait", "data@h2"), LOST)
            assert other.poll() is patient.poll() is None
            gone.start()
            gone.must("complete", "data")
            must(patient)
        finally:
            for call in calls:
                call.kill()
                call.communicate()
            for host in (fails, waits, gone):
                host.kill()
