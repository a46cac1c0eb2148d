"""Places where coordinators come and go, and how many crashes were survived."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faults.places import Place, a_place

CRASHES = pytest.StashKey[dict[str, int]]()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    with a_place() as place:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        yield place


@pytest.fixture
def survived(request: pytest.FixtureRequest) -> dict[str, int]:
    """Counts crashes by where they struck; the summary of the run shows it."""
    return request.config.stash.setdefault(CRASHES, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counted = config.stash.get(CRASHES, {})
    if counted:
        each = ", ".join(f"{number} at {point!r}" for point, number in sorted(counted.items()))
        terminalreporter.write_line(
            f"survived {sum(counted.values())} crashes of the coordinator: {each}"
        )
