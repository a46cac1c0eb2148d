"""Events against an oracle: the journal itself. While scripts work at random and the coordinator
is killed at every point of a turn, while old startups are dropped, and while readers are slow, each
of those who follow gets all events, each once and in order, or is told which are gone.
"""

from __future__ import annotations

import random
import threading
from contextlib import closing

import pytest

from events.following import LAST, Follower, kept_at
from events.reading import Folded, facts_of, in_short
from faults.places import Place
from faults.test_crashes import EVERY, killing
from faults.workload import Workload
from unitsync import AsyncClient
from unitsync.startup.analysis.events import Event
from unitsyncd import faults
from unitsyncd.storage.journal import Journal


class Slow:
    """Pauses after each few events until something else has happened."""

    def __init__(self, work: Workload, every: int) -> None:
        self._work = work
        self._every = every
        self._told = 0

    def __call__(self, event: Event) -> None:
        self._told += 1
        if self._told % self._every == 0:
            self._work.progress.wait(0.05)


def follow_all(place: Place, work: Workload) -> list[Follower]:
    return [
        Follower(place),
        Follower(place, kind=AsyncClient),
        Follower(place, before_next=Slow(work, 7)),
        Follower(place, before_next=Slow(work, 50)),
    ]


def judge(place: Place, followers: list[Follower]) -> None:
    with place.client() as client:
        client.want(LAST)
        listed = client.list()
        told = [follower.end() for follower in followers]
        place.kill()
        again = list(client.events())
    kept = kept_at(place)
    with closing(Journal(place.journal, read_only=True)) as journal:
        assert in_short(kept) == facts_of(journal)
    assert again == kept
    for each in told:
        assert each[-1].unit == LAST
        assert each == kept[: len(each)]
    assert Folded(kept).statuses == {unit.name: unit.status for unit in listed}
    middle = kept[len(kept) // 2]
    assert kept_at(place, middle.place) == kept[len(kept) // 2 + 1 :]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", faults.POINTS)
def test_a_crash_at_a_point(point: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workload(place, 7)
    monkeypatch.setenv("UNITSYNC_FAULT", f"{point}:{EVERY[point]}")
    followers = follow_all(place, work)
    work.run()
    monkeypatch.delenv("UNITSYNC_FAULT")
    for pid in place.serving():  # it may still be about to die somewhere
        place.kill(pid)
    judge(place, followers)
    assert len(place.served()) > 2, "it was never there"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(2))
def test_a_crash_at_any_moment(seed: int, place: Place) -> None:
    work = Workload(place, seed)
    followers = follow_all(place, work)
    with killing(place, work, seed) as killed:
        work.run()
    judge(place, followers)
    assert killed


def test_old_startups_are_dropped_while_they_are_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is quick enough misses nothing; who is not is told what he missed, and gets what is
    kept as everybody else."""
    monkeypatch.setenv("UNITSYNC_MAX_KEPT_STARTUPS", "3")
    rng = random.Random(1)
    with place.client() as client:
        client.want("first")
        quick = [Follower(place), Follower(place, kind=AsyncClient)]
        moved = threading.Semaphore(0)
        slow = [
            Follower(place, before_next=lambda event: moved.acquire(timeout=0.2)) for _ in range(2)
        ]
        for number in range(25):
            for unit in range(rng.randint(0, 40)):
                name = f"u{number}-{unit}"
                client.want(name, *([f"u{number}-{unit - 1}"] if unit else []))
                if unit % 9 == 3:
                    client.fail(f"u{number}-0", reason="as it happens")
            for follower in quick:
                if number:
                    follower.until(
                        lambda follower=follower, number=number: (
                            sum(event.event == "startup" for event in follower.told) > number
                        )
                    )
            if number == 12:
                place.kill()
            client.reset(all=True, force=True)
            moved.release()
        client.want(LAST)
        moved.release(1_000_000)
    truth = quick[0].end()
    assert quick[1].end() == truth
    numbers = [event.seq for event in truth if not event.part]
    assert numbers == list(range(1, len(numbers) + 1)), "none missed, none twice, in order"
    gaps = 0
    for follower in slow:
        told = follower.end()
        gaps += check_gaps(told, truth)
    assert gaps
    kept = kept_at(place)
    assert check_gaps(kept, truth) == 1
    assert [event.event for event in kept].count("startup") == 3


def check_gaps(told: list[Event], truth: list[Event]) -> int:
    """*told* is the *truth*, but for what its gaps say. How many there are."""
    expected, gaps = [], [event for event in told if event.event == "gap"]
    for gap in gaps:
        before = told[told.index(gap) - 1].place if told.index(gap) else (0, 0)
        expected += [(before, gap.place)]
    missing = [
        event
        for event in truth
        if any(after < event.place and event.seq <= until[0] for after, until in expected)
    ]
    assert all(missing), "a gap is about something"
    assert [event for event in told if event.event != "gap"] == [
        event for event in truth if event not in missing
    ]
    for gap, (one, two) in zip(gaps, [(g, told[told.index(g) + 1]) for g in gaps], strict=True):
        assert (one.seq + 1, two.event) == (two.seq, "startup"), gap
    return len(gaps)
