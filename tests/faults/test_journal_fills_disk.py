"""A small disk that the journal itself has filled: `reset --all` is the way out, and what
earlier startups have left does not stand in the way of the next one.

Each in a mount namespace of its own, so that the small file system goes with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.places import Place, clean_environment
from unitsync import Client, errors, owner


@pytest.mark.parametrize("what", ["reset", "startups"])
@pytest.mark.parametrize("size", ["192k", "1m"])
def test_there_is_a_way_out(what: str, size: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, __file__, what, size],
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (0, "all of it held\n"), done.stderr


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


def inside(what: str, size: str) -> None:
    place = Place()
    try:
        place.home.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place.home)]
        subprocess.run(mount, check=True)
        place.start()
        (reset if what == "reset" else startups)(place)
        place.stop()
    finally:
        place.close()
    print("all of it held")


if __name__ == "__main__":
    inside(*sys.argv[1:])
