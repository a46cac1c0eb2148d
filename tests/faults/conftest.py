"""Places where coordinators come and go."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faults.places import Place, a_place


@pytest.fixture(scope="module")
def shared_place() -> Iterator[Place]:
    """With a coordinator that runs."""
    with a_place() as place:
        place.start()
        yield place


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Without a coordinator. A test that uses shared_place as well has one, which it shares
    with the others of its file: it finds it without a unit, and must leave it running."""
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    if "shared_place" in request.fixturenames:
        place = request.getfixturevalue("shared_place")
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        yield place
        place.forget()
        return
    with a_place() as place:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        yield place
