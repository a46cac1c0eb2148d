"""For all tests: what may not be left behind, and how long Hypothesis looks.

``FUZZ=20 make test ARGS=tests/coordinator`` looks twenty times as long, elsewhere each
time; without it the same examples are tried each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from support import leaks

nothing_is_left_behind = leaks.nothing_is_left_behind

leaks.begin_session()

_FUZZ = int(os.environ.get("FUZZ", "0"))
settings.register_profile(
    "unitsync",
    max_examples=100 * max(1, _FUZZ),
    derandomize=not _FUZZ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unitsync")
