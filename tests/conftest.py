"""For all tests: real coordinators and plain sockets, what may not be left behind, what
the summary tells of, and how long Hypothesis looks.

``FUZZ=20 make test ARGS=tests/coordinator`` looks twenty times as long, elsewhere each
time; without it the same examples are tried each time.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

from support import daemon as _daemon
from support import leaks
from support import survived as _survived

daemons = _daemon.daemons
sockets = _daemon.sockets
nothing_is_left_behind = leaks.nothing_is_left_behind
survived = _survived.survived
soaked = _survived.soaked
pytest_terminal_summary = _survived.pytest_terminal_summary

leaks.begin_session()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_coordinator: see the fixture cli")


def pytest_collection_finish() -> None:
    """What there is by now lasts as long as the tests: no search for garbage, of which the
    check for leaks makes many, needs to go through it again."""
    gc.collect()
    gc.freeze()


# A shell without job control has its background jobs ignore Ctrl-C, and that is
# inherited: the tests, and what they start, are to heed it wherever they run.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number,
            signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL,
        )
# Under nohup they would all ignore a hangup; what is handled here is not, behind exec(3).
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# Many systems give a user 1,024 open files, which hundreds of clients in one process exceed.
_most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_most if 0 < _most < 20_000 else 20_000, _most))

# Thousands of processes import the same modules: each would compile them again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_FUZZ = int(os.environ.get("FUZZ", "0"))
settings.register_profile(
    "unitsync",
    max_examples=50 * max(1, _FUZZ),
    derandomize=not _FUZZ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unitsync")
