"""The table of ``hosts``: what it says of each state, at a terminal of any width."""

from __future__ import annotations

import pytest

from unitsync.output import json_output, tables
from unitsync.text.printing import columns
from unitsync.text.terminal import Screen
from unitsync.wire import Host, HostsReply

HOSTS = [
    Host("node-0", own=True, claim=4, synced=True, skew_s=7.0),
    Host("node-1", claim=5, released=True, silent_s=100.0),
    Host("node-2", claim=6, synced=True, silent_s=38.4, skew_s=-0.9),
    Host("node-3", claim=7, silent_s=2.0, skew_s=3.2),
    Host("node-4" * 10, claim=8, synced=True, silent_s=2.0, skew_s=-90.0),
    Host("node-5"),
]


def reply(standing: str, hosts: list[Host] = HOSTS, takes_part: bool = True) -> HostsReply:
    return HostsReply(
        id="1", job="train-1", host="node-0", takes_part=takes_part, standing=standing, hosts=hosts
    )


def test_every_state_is_told_apart() -> None:
    lines = tables.hosts_table(reply("host node-0 of job train-1"), Screen())
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in lines[1:]]
    assert cells == [
        ["HOST", "STATE", "SYNCED", "CLOCK"],
        ["node-0 (this one)", "joined", "yes"],
        ["node-1", "released", "-"],
        ["node-2", "not heard of for 38 s", "yes"],
        ["node-3", "joined", "no", "3 s ahead"],
        ["node-4" * 10, "joined", "yes", "1 min behind"],
        ["node-5", "not heard of yet", "no"],
    ]
    states = [json_output.host_state(host)[0] for host in HOSTS]
    assert states == ["joined", "released", "silent", "joined", "joined", "unheard"]


def test_who_takes_no_part_does_not_know_how_the_others_are() -> None:
    apart = reply("no link to the log at nats://log-1:4222", takes_part=False)
    lines = tables.hosts_table(apart, Screen())
    assert lines[0] == "job train-1: no link to the log at nats://log-1:4222"
    assert lines[2].split()[:5] == ["node-0", "(this", "one)", "not", "joined"]
    assert lines[5].split()[:3] == ["node-3", "was", "joined"]
    states = [json_output.host_state(host, current=False)[0] for host in HOSTS]
    assert states == ["apart", "released", "silent", "unsure", "unsure", "unheard"]


@pytest.mark.parametrize("width", [80, 40, 20])
def test_it_fits_the_terminal(width: int) -> None:
    lines = tables.hosts_table(reply("host node-0 of job train-1, over " + "x" * 90), Screen(width))
    assert max(map(columns, lines)) <= width
    for named in ("", "train-1"):
        alone = tables.hosts_table(HostsReply(id="1"), Screen(width), named)
        assert max(map(columns, alone)) <= width


def test_clocks_are_shown_only_if_one_is_off() -> None:
    lines = tables.hosts_table(reply("host node-0 of job train-1", HOSTS[:3]), Screen())
    assert lines[:2] == [
        "host node-0 of job train-1",
        "HOST               STATE                  SYNCED",
    ]
    assert tables.hosts_table(reply("joining job train-1", []), Screen()) == ["joining job train-1"]


@pytest.mark.parametrize(
    ("epoch", "named", "text", "hint"),
    [
        ("e1", "", tables.NO_JOB, tables.JOIN_ONE),
        ("e1", "j", "the environment names job j, and the coordinator is alone", tables.JOIN_ANEW),
        ("", "", "no coordinator runs", "UNITSYNC_HOSTS"),
        ("", "j", "no coordinator runs", "wait or ping starts one"),
    ],
)
def test_without_a_job(epoch: str, named: str, text: str, hint: str) -> None:
    told = tables.hosts_table(HostsReply(id="1", epoch=epoch), Screen(), named)
    assert told[0] == text
    assert told[1].startswith("hint: ")
    assert hint in told[1]
