"""What a script says at its end whose own start was not granted, while another has the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.places import Place
from faults.scripts import Scripts, fifo, release, scripts_at, until
from unitsync.wire import OnOwnerExit, Status, UnitInfo


@pytest.fixture
def scripts(place: Place) -> Iterator[Scripts]:
    place.start()
    with scripts_at(place) as scripts:
        yield scripts


def info(place: Place, unit: str) -> UnitInfo:
    with place.client() as client:
        return client.status(unit)


@pytest.mark.parametrize("policy", [OnOwnerExit.IGNORE, OnOwnerExit.WARN])
@pytest.mark.parametrize("word", ["complete ide", "complete ide --exit-code 1", "fail ide"])
def test_whose_start_timed_out_does_not_end_the_run_of_a_script_that_is_gone(
    place: Place, scripts: Scripts, policy: OnOwnerExit, word: str
) -> None:
    """What that one has left in the background goes on, as it was told to be let."""
    gate = fifo(place, "gate")
    late = scripts.bash(
        f"unitsync start ide --after clone --timeout 50ms\n: < {gate}\nunitsync {word}\n"
    )
    late.says("timed out")
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    first = scripts.bash(f"unitsync start ide --on-owner-exit {policy}\n")
    assert first.end().status == 0
    until(lambda: "owner gone" in [entry.what for entry in info(place, "ide").history])
    release(gate)
    said = late.end()
    assert (said.status, "this script does not run ide" in said.err) == (0, True), said
    assert info(place, "ide").status is Status.STARTED
    assert scripts.run("unitsync", "complete", "ide").status == 0, "anybody else may say it"
    assert info(place, "ide").status is Status.COMPLETED
