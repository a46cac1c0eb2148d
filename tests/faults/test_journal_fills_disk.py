"""A small disk that the journal itself has filled: `reset --all` is the way out, and what
earlier startups have left does not stand in the way of the next one.

Each in a mount namespace of its own, so that the small file system goes with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faults.places import Place
from faults.small_disk import HELD, a_place_on_a_small_disk, held_apart
from unitsync import Client, errors
from unitsync.clients import owner


@pytest.mark.parametrize("what", ["reset", "startups"])
@pytest.mark.parametrize("size", ["192k", "1m"])
def test_there_is_a_way_out(what: str, size: str) -> None:
    held_apart(__file__, what, size)


def fill(client: Client, disk: Path) -> int:
    """Declare units until that is refused; how many there were."""
    kept, hint = 0, ""
    try:
        while kept < 20_000:
            client.want(f"u{kept}", *[f"prerequisite-{n}" for n in range(20)])
            kept += 1
    except errors.NotKept as refused:
        hint = refused.hint
    assert str(disk) in hint
    assert 5 < kept < 20_000, kept
    return kept


def reset(place: Place) -> None:
    """Twice, the second time by a coordinator that was killed; and an owner has ended
    meanwhile, which could not be recorded."""
    for _ in range(2):
        with place.client() as client:
            client.start("mine")
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as script:
                with place.client(owner=owner.of_pid(script.pid)) as other:
                    other.start("theirs")
                fill(client, place.home)
            with pytest.raises(errors.AlreadyStarted, match="mine"):
                client.reset(all=True)
            client.reset(all=True, force=True)
            assert client.list() == []
            client.want("a", "b")
            place.kill()
            client.ping()
            assert [unit.name for unit in client.list()] == ["a", "b"]
            assert not Path(f"{place.journal}.damaged").exists()


def startups(place: Place) -> None:
    """What one startup has left is forgotten when the next needs the room."""
    before = 0
    for number in range(5):
        with place.client(startup=f"startup-{number}") as client:
            client.want("first")
            assert client.ping().units == 1
            kept = fill(client, place.home)
            assert kept > before / 2
            before = kept
    place.kill()
    with place.client(startup="startup-0") as client, pytest.raises(errors.StaleStartup):
        client.want("a")
    with place.client() as client:
        assert client.ping().units == kept + 1


if __name__ == "__main__":
    with a_place_on_a_small_disk(sys.argv[2]) as place:
        (reset if sys.argv[1] == "reset" else startups)(place)
    sys.stdout.write(HELD)
