"""A coordinator for all tests of a file, and scripts that call the real command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callers.calling import Caller
from faults.places import a_place
from faults.scripts import UNITSYNC, fifo, scripts_at


@pytest.fixture(scope="module")
def shared_caller() -> Iterator[Caller]:
    with pytest.MonkeyPatch.context() as patch, a_place() as place:
        patch.setenv("UNITSYNC_ENDPOINT", place.address)
        place.start()
        with scripts_at(place, UNITSYNC) as scripts:
            yield Caller(place, scripts, fifo(place, "gate"))


@pytest.fixture
def caller(shared_caller: Caller) -> Iterator[Caller]:
    yield shared_caller
    shared_caller.forget()
