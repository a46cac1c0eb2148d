from __future__ import annotations

import pytest

from support.driver import Driven, Script


@pytest.fixture
def ann() -> Script:
    return Driven().script("ann")
