"""A message without an end fills the coordinator's memory, until it begins anew: nothing is
lost, and who waits goes on waiting."""

from __future__ import annotations

import contextlib
import signal

from faults.places import Place
from faults.scripts import Scripts
from faults.test_waiting import check_went_on, do, scripts, status, verb, waiting
from support.zmtp import EMPTY_PART, connected
from unitsync.wire import Status

__all__ = ["scripts", "verb"]

LOW_MIB = 200
"""More than an empty coordinator takes, by far."""


def flood(place: Place) -> None:
    """Returns when the coordinator has hung up."""
    parts = EMPTY_PART * (1 << 19)
    with connected(place.endpoint.path) as link, contextlib.suppress(OSError):
        while True:
            link.sendall(parts)


def test_a_message_without_an_end(place: Place, scripts: Scripts, verb: str) -> None:
    pid = place.start({"UNITSYNC_MAX_MEMORY": str(LOW_MIB)})
    do(place, "before")
    script = waiting(scripts, verb)
    flood(place)
    assert place.children[pid].wait(20) == 1
    do(place, "clone")
    check_went_on(place, verb, script.end())
    assert status(place, "before") is Status.COMPLETED
    assert f"MiB of memory, more than {LOW_MIB}, and begins anew" in place.log()
    assert "was stopped" not in "".join(script.err)


def test_it_says_so_to_who_has_called_serve(place: Place, scripts: Scripts) -> None:
    """A service manager starts it again after a failure."""
    served = scripts.spawn("unitsync", "serve", more={"UNITSYNC_MAX_MEMORY": str(LOW_MIB)})
    served.says("serving")
    flood(place)
    ended = served.end()
    assert ended.status == 1
    assert "hint: raise UNITSYNC_MAX_MEMORY" in ended.err


def test_what_its_units_need_is_no_reason(place: Place) -> None:
    """A bound below that is raised, lest it end again and again."""
    pid = place.start({"UNITSYNC_MAX_MEMORY": "1"})
    with place.client() as client:
        client.declare({f"unit-{number}": [] for number in range(1000)})
        client.ping()
    place.kill(pid, signal.SIGTERM)
    assert place.children[pid].returncode == 0
    assert "begins anew" not in place.log()
