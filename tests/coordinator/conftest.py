from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Daemons, Sockets, daemons_in_a_folder
from support.driver import Driven, Script


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    """Starts coordinators of the test's own."""
    with daemons_in_a_folder() as daemons:
        yield daemons


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.fixture
def driven() -> Driven:
    return Driven()


@pytest.fixture
def ann(driven: Driven) -> Script:
    return driven.script("ann.sh")


@pytest.fixture
def bob(driven: Driven) -> Script:
    return driven.script("bob.sh")


@pytest.fixture
def cat(driven: Driven) -> Script:
    return driven.script("cat.sh")
