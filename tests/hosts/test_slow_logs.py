"""What keeps a log fast."""

from __future__ import annotations

import random

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server
from unitsync.remote_names import ANY
from unitsyncd.hosts import messages
from unitsyncd.hosts.consumer import Consumer
from unitsyncd.hosts.log import Log

pytestmark = pytest.mark.asyncio


async def test_to_read_a_few_units_costs_little_among_many_that_change(
    own_server: Server, hosts: Hosts
) -> None:
    """By the CPU time of the server."""
    a = hosts.add(own_server.url, "a")
    await a.joined()
    log, claim = Log(a.member._link, hosts.job), a.member._claim
    fence = messages.claim_subject(hosts.job, "a")
    subjects = [
        messages.report_subject(hosts.job, f"a{host}", name)
        for host in range(100)
        for name in ["ready", *(f"other-{number}" for number in range(150))]
    ]
    for count in (len(subjects), 6000, 6000, 6000):
        random.shuffle(subjects)
        for first in range(0, count, 1000):
            batch = [(subject, b"x" * 100) for subject in subjects[first : first + 1000]]
            await log.write_all(batch, fence, claim)
    before = own_server.cpu_s()
    reading, read, is_all = Consumer(log, "b"), 0, False
    filters = [
        messages.claim_subject(hosts.job, ANY),
        messages.report_subject(hosts.job, ANY, "ready"),
    ]
    await reading.open(filters)
    while not is_all:
        portion = await reading.read()
        read, is_all = read + len(portion.messages), portion.is_all
    assert read == 101
    assert own_server.cpu_s() - before < 0.06
    await reading.close()
