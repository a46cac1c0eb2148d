"""Those who follow while coordinators come and go, begin anew, lose what they held, and cannot
write."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from events.following import LAST, Follower, kept_at, newest
from events.reading import Folded
from faults.places import Place
from faults.test_full_disk import full
from support.coordinators import PATIENCE_S
from unitsync import AsyncClient, Client, errors
from unitsync.wire import Status


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    with place.client() as client:
        client.want("a", "b")
        yield client


@pytest.fixture
def followers(place: Place, client: Client) -> list[Follower]:
    kinds: list[type[Client] | type[AsyncClient]] = [Client, AsyncClient]
    return [Follower(place, kind=kind) for kind in kinds]


def kill(place: Place, client: Client) -> None:
    place.kill()


def terminate(place: Place, client: Client) -> None:
    place.kill(number=signal.SIGTERM)


def stop(place: Place, client: Client) -> None:
    client.stop()


@pytest.mark.parametrize("end", [kill, terminate, stop])
def test_it_goes_on_with_the_next_coordinator(
    end: Callable[[Place, Client], None],
    place: Place,
    client: Client,
    followers: list[Follower],
) -> None:
    for number in range(3):
        client.want(f"u{number}")
        for follower in followers:
            follower.has_heard_of(f"u{number}")
            follower.away.clear()
        end(place, client)
        for follower in followers:
            follower.until(lambda follower=follower: follower.away)
        with place.client() as other:  # a verb of a script brings it back
            other.start("b") if number else other.want("c", "b")
    client.want(LAST)
    for follower in followers:
        told = follower.end()
        assert told == kept_at(place)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        assert {type(problem) for problem in follower.away} <= {errors.Stopped, errors.Unreachable}


def test_a_follower_brings_none_back(place: Place, client: Client) -> None:
    follower = Follower(place)
    follower.has_heard_of("a")
    client.stop()
    follower.until(lambda: len(follower.away) > 2)
    assert place.serving() == []
    client.want(LAST)
    follower.end()


def test_everything_can_be_reset_meanwhile(
    place: Place, client: Client, followers: list[Follower]
) -> None:
    client.start("b")
    client.reset(all=True, force=True)
    client.want("c")
    client.want(LAST)
    for follower in followers:
        told = follower.end()
        assert told == kept_at(place)
        assert [event.by_reset for event in told if event.event == "startup"] == [False, True]
        assert Folded(told).statuses == {unit.name: unit.status for unit in client.list()}


def test_a_new_startup_is_followed_into(
    place: Place, client: Client, followers: list[Follower]
) -> None:
    """Whichever startup who follows belongs to."""
    late = Follower(place, startup="of nobody")
    with place.client(startup="another") as other:
        other.start("a")
        other.want(LAST)
    for follower in (*followers, late):
        told = follower.end()
        assert told == kept_at(place)
        assert [event.startup for event in told if event.event == "startup"][1:] == ["another"]


def test_what_could_not_be_written_has_not_happened(
    place: Place, client: Client, followers: list[Follower]
) -> None:
    client.want("c")
    with full(place):
        for name in ("d", "e"):
            with pytest.raises(errors.NotKept):
                client.want(name)
        for follower in followers:
            follower.has_heard_of("c")
        assert client.status("d").status is Status.NOT_REGISTERED
        assert list(client.events())[-1].unit == "c"
    client.want(LAST)
    for follower in followers:
        told = follower.end()
        assert told == kept_at(place)
        assert {event.unit for event in told} == {"", "a", "c", LAST}


def test_lost_state_ends_it(place: Place, client: Client, followers: list[Follower]) -> None:
    """Nobody is told events of another journal as if they followed."""
    for follower in followers:
        follower.has_heard_of("a")
    number, pid = newest(client), place.pid()
    for file in Path(place.home).glob("journal.db*"):
        if file.name != "journal.db.mark":
            file.unlink()
    place.kill(pid)
    with place.client() as other:
        with pytest.raises(errors.StateLost):
            other.want("c")
        for follower in followers:
            follower.join(PATIENCE_S)
            assert isinstance(follower.problem, errors.StateLost)
        with pytest.raises(errors.StateLost):
            next(other.events())
        follower = Follower(place, since=number)
        other.reset(all=True)
        follower.join(PATIENCE_S)
        assert isinstance(follower.problem, errors.StateLost | errors.StateChanged)
        assert [event.event for event in other.events()] == ["startup"]


def test_who_was_away_while_the_state_was_lost_is_told(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers fit, the journal does not."""
    events = client.events(follow=True)
    assert next(events).event == "startup"
    while next(events).event != "declared":
        pass
    place.kill()
    for file in Path(place.home).glob("journal.db*"):
        file.unlink()
    with place.client() as other:
        for number in range(5):
            other.want(f"u{number}")
    with pytest.raises(errors.StateChanged, match="no longer holds the events"):
        next(events)
