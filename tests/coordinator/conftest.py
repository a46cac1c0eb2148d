from __future__ import annotations

import pytest

from support.driver import Driven, Script


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
