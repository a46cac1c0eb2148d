"""What may be believed of other hosts: in examples. test_peers_model.py has all orders."""

from __future__ import annotations

import math

import pytest

from unitsync.names.remote_names import HOSTS_MAX
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Beat, Claim, Report, Synced
from unitsyncd.hosts.peers import SKEW_BEATS, Peers

UNKNOWN = Heard(0.0, Condition.UNKNOWN)
FIRST, SECOND = Claim("journal", "first"), Claim("journal", "second")


def of_first(condition: Condition, claim: int = 10) -> Report:
    return Report(claim, "first", condition, run=1, since=5.0)


def heard(condition: Condition) -> Heard:
    return Heard(0.0, condition, run=1, since=5.0, epoch="first")


def absent(epoch: str) -> Heard:
    return Heard(0.0, Condition.NOT_REGISTERED, epoch=epoch)


STARTED, COMPLETED = heard(Condition.STARTED), heard(Condition.COMPLETED)


@pytest.fixture
def peers() -> Peers:
    """Of the host h0, which needs data@h1. The log was read: there was nothing."""
    return reading(Peers("h0"), "data@h1")


def reading(peers: Peers, *names: str, kept: int = 0) -> Peers:
    assert len(peers.need(names)) == kept
    peers.begin_reading()
    assert peers.caught_up() == []
    return peers


def test_a_unit_is_as_its_host_reports(peers: Peers) -> None:
    assert peers.claimed("h1", 10, FIRST) == []
    assert peers.reported("h1", "data", of_first(Condition.STARTED)) == [("data@h1", STARTED)]
    assert peers.reported("h1", "data", of_first(Condition.COMPLETED)) == [("data@h1", COMPLETED)]


def test_what_is_told_again_is_not_news(peers: Peers) -> None:
    for _ in range(2):
        news = peers.claimed("h1", 10, FIRST)
        news += peers.reported("h1", "data", of_first(Condition.STARTED))
        news += peers.synced("h1", Synced(10))
    assert news == []


def test_what_nobody_needs_is_not_news(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    peers.claimed("h2", 11, FIRST)
    assert peers.reported("h1", "other", of_first(Condition.STARTED)) == []
    assert peers.reported("h2", "data", of_first(Condition.STARTED, claim=11)) == []


def test_a_unit_is_not_registered_only_if_its_host_has_synced_and_all_was_read() -> None:
    peers = Peers("h0")
    peers.need(["data@h1"])
    peers.begin_reading()
    assert peers.claimed("h1", 10, FIRST) == []
    assert peers.synced("h1", Synced(10)) == []
    assert peers.caught_up() == [("data@h1", absent("first"))]

    assert peers.claimed("h1", 20, FIRST) == [("data@h1", UNKNOWN)]
    assert peers.synced("h1", Synced(20)) == [("data@h1", absent("first"))]


def test_a_need_that_came_after_the_reading_began_has_to_be_read_first(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    peers.synced("h1", Synced(10))
    assert peers.need(["more@h1"]) == []
    assert peers.caught_up() == []
    peers.begin_reading()
    assert peers.claimed("h1", 10, FIRST) == []
    assert peers.synced("h1", Synced(10)) == []
    assert peers.caught_up() == [("more@h1", absent("first"))]


def test_until_the_log_is_read_again_nothing_follows_from_what_it_does_not_tell() -> None:
    peers = reading(Peers("h0"), "data@h1")
    peers.begin_reading()
    peers.claimed("h1", 10, FIRST)
    assert peers.synced("h1", Synced(10)) == []
    assert peers.reported("h1", "data", of_first(Condition.STARTED)) == [("data@h1", STARTED)]
    assert peers.caught_up() == []


def test_what_is_not_registered_stays_so_while_the_log_is_read_again(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    assert peers.synced("h1", Synced(10)) == [("data@h1", absent("first"))]
    peers.begin_reading()
    assert peers.need(["data@*", "data@h1"]) == []
    assert peers.claimed("h1", 10, FIRST) == peers.synced("h1", Synced(10)) == []
    assert peers.caught_up() == []


def test_a_new_epoch_voids_what_was_heard(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    peers.reported("h1", "data", of_first(Condition.COMPLETED))
    peers.synced("h1", Synced(10))
    assert peers.claimed("h1", 20, SECOND) == [("data@h1", UNKNOWN)]
    assert peers.reported("h1", "data", of_first(Condition.COMPLETED)) == []
    assert peers.synced("h1", Synced(20)) == [("data@h1", absent("second"))]


def test_in_the_same_epoch_what_was_heard_stands(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    peers.reported("h1", "data", of_first(Condition.COMPLETED))
    assert peers.claimed("h1", 20, FIRST) == []
    assert peers.claimed("h1", 10, SECOND) == []  # told late


def test_an_owner_of_the_name_that_comes_back_is_believed_again(peers: Peers) -> None:
    peers.claimed("h1", 10, FIRST)
    peers.reported("h1", "data", of_first(Condition.COMPLETED))
    peers.claimed("h1", 20, SECOND)
    assert peers.claimed("h1", 30, FIRST) == [("data@h1", COMPLETED)]


def test_a_report_counts_once_its_claim_is_told(peers: Peers) -> None:
    assert peers.reported("h1", "data", of_first(Condition.COMPLETED)) == []
    assert peers.claimed("h1", 10, FIRST) == [("data@h1", COMPLETED)]
    late = of_first(Condition.STARTED, claim=20)
    assert peers.reported("h1", "data", late) == [("data@h1", UNKNOWN)]
    assert peers.claimed("h1", 20, FIRST) == [("data@h1", STARTED)]


def test_a_server_that_lags_does_not_take_back_what_was_heard(peers: Peers) -> None:
    peers.claimed("h1", 20, SECOND)
    peers.reported("h1", "data", Report(20, "second", Condition.STARTED))
    peers.synced("h1", Synced(20))
    assert peers.claimed("h1", 10, FIRST) == []
    assert peers.reported("h1", "data", of_first(Condition.COMPLETED)) == []
    assert peers.synced("h1", Synced(10)) == []
    assert peers.caught_up() == []


def test_on_all_hosts_those_with_a_claim_count() -> None:
    peers = reading(Peers("h0"), "ready@*")
    assert peers.claimed("h0", 10, FIRST) == [("ready@h0", UNKNOWN)]
    assert peers.claimed("h1", 11, FIRST) == [("ready@h1", UNKNOWN)]
    report = of_first(Condition.COMPLETED, claim=11)
    assert peers.reported("h1", "ready", report) == [("ready@h1", COMPLETED)]
    assert peers.need(["other@*"]) == [("other@h0", UNKNOWN), ("other@h1", UNKNOWN)]
    assert peers.need(["other@*", "ready@h1"]) == []
    peers.begin_reading()
    assert peers.need(["other@*"]) == peers.caught_up() == []
    assert peers.synced("h1", Synced(11)) == [("other@h1", absent("first"))]


def test_what_was_heard_before_a_restart_stands_without_a_log() -> None:
    old = reading(Peers("h0"), "data@h1", "ready@*", "late@h1")
    kept = dict(old.claimed("h1", 10, FIRST))
    kept |= dict(old.reported("h1", "data", of_first(Condition.COMPLETED)))
    kept |= dict(old.synced("h1", Synced(10)))
    assert kept == {
        "data@h1": COMPLETED,
        "ready@h1": absent("first"),
        "late@h1": absent("first"),
    }

    def again() -> Peers:
        return Peers("h0", [(name, at_some_time(each)) for name, each in kept.items()])

    peers = reading(again(), "data@h1", "ready@*", "late@h1")
    assert peers.claimed("h1", 10, FIRST) == [("ready@h1", UNKNOWN), ("late@h1", UNKNOWN)]
    assert dict(peers.synced("h1", Synced(10))) == {
        "ready@h1": absent("first"),
        "late@h1": absent("first"),
    }
    assert peers.reported("h1", "data", of_first(Condition.COMPLETED)) == []

    peers = reading(again(), "data@h1", "ready@*", "late@h1")
    assert dict(peers.claimed("h1", 20, SECOND)) == dict.fromkeys(kept, UNKNOWN)

    peers = again()  # nobody needs it any more, and it is shown
    peers.claimed("h1", 10, FIRST)
    assert peers.reported("h1", "data", of_first(Condition.STARTED)) == [("data@h1", STARTED)]


def at_some_time(heard: Heard) -> Heard:
    return Heard(99.0, heard.condition, run=heard.run, since=heard.since, epoch=heard.epoch)


def test_more_hosts_than_a_job_may_have_are_ignored() -> None:
    peers = reading(Peers("h0"), "ready@*")
    told = sum(len(peers.claimed(f"n{at}", at, FIRST)) for at in range(1, HOSTS_MAX + 10))
    assert told == len(peers.hosts(0.0)) == HOSTS_MAX


def test_a_host_with_an_impossible_name_is_ignored() -> None:
    peers = reading(Peers("h0"), "ready@*")
    assert peers.claimed("*:8", 10, FIRST) == peers.claimed("h 1", 11, FIRST) == []


# --- silence and clocks -----------------------------------------------------------


def beating(peers: Peers) -> Peers:
    """h1 was heard of at 100."""
    peers.link(True, 90.0)
    peers.claimed("h1", 10, FIRST)
    peers.beat("h1", Beat(10, 1000.0), 100.0, 1000.0)
    return peers


def test_four_things_are_told_apart(peers: Peers) -> None:
    peers.link(True, 0.0)
    assert peers.remark("h1", 50.0) == "not heard of yet"
    beating(peers)
    assert peers.remark("h1", 109.0) == ""
    assert peers.remark("h1", 138.5) == "h1 not heard of for 38 s"
    assert peers.remark("h0", 138.5) == ""
    peers.claimed("h1", 11, Claim(FIRST.journal, FIRST.epoch, released=True))
    assert peers.remark("h1", 200.0) == "h1 has left the job"


def test_only_time_with_a_link_of_our_own_is_silence(peers: Peers) -> None:
    beating(peers)
    peers.link(False, 105.0)
    peers.link(False, 150.0)
    peers.link(True, 1105.0)
    assert peers.remark("h1", 1109.0) == ""
    assert peers.remark("h1", 1110.0) == "h1 not heard of for 10 s"
    peers.beat("h1", Beat(10, 0.0), 1111.0, 0.0)
    assert peers.remark("h1", 1120.0) == ""
    peers.link(False, 1115.0)
    assert [host.silent_s for host in peers.hosts(1150.0)] == [4.0]


def test_a_host_of_which_there_is_only_a_claim_is_silent_since_it_was_read(peers: Peers) -> None:
    peers.link(True, 100.0)
    peers.claimed("h1", 10, FIRST)
    assert peers.remark("h1", 115.0) == "h1 not heard of for 15 s"


def test_who_has_lost_the_name_does_not_speak_for_the_host(peers: Peers) -> None:
    beating(peers)
    peers.claimed("h1", 20, SECOND)
    peers.beat("h1", Beat(10, 0.0), 120.0, 0.0)
    assert peers.remark("h1", 120.0) == "h1 not heard of for 20 s"


def test_the_clock_of_a_host_is_estimated_from_its_fastest_heartbeat(peers: Peers) -> None:
    peers.link(True, 0.0)
    peers.claimed("h1", 10, FIRST)
    (before,) = peers.hosts(0.0)
    assert before.skew_s is None
    for late in (0.5, 0.25, 2.0):
        peers.beat("h1", Beat(10, 1100.0), 10.0, 1000.0 + late)
    (host,) = peers.hosts(12.0)
    assert (host.skew_s, host.silent_s) == (99.75, 2.0)
    peers.beat("h1", Beat(10, math.inf), 11.0, 1000.0)  # that is no time
    assert peers.hosts(12.0) == [host]
    for _ in range(SKEW_BEATS):
        peers.beat("h1", Beat(10, 1000.0), 10.0, 1000.0)
    (after,) = peers.hosts(12.0)
    assert after.skew_s == 0.0
    peers.claimed("h1", 20, SECOND)
    (rebooted,) = peers.hosts(12.0)
    assert rebooted.skew_s is None


def test_the_hosts_of_a_job(peers: Peers) -> None:
    peers.link(True, 0.0)
    peers.claimed("h0", 9, Claim("journal", "own"))
    peers.synced("h0", Synced(9))
    peers.claimed("h2", 12, Claim("journal", "third", released=True))
    own, needed, left = peers.hosts(3.0)
    assert (own.name, own.own, own.claim, own.epoch, own.synced) == ("h0", True, 9, "own", True)
    assert (needed.name, needed.own, needed.claim, needed.silent_s) == ("h1", False, 0, None)
    assert not needed.synced
    assert (left.name, left.released, left.synced, left.silent_s) == ("h2", True, False, 3.0)
