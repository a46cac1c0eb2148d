"""What the coordinator no longer holds takes no memory."""

from __future__ import annotations

import pytest

from support.daemon import Daemon, Daemons, Sockets
from support.figures import figures_of
from unitsync import wire

UNITS = 5000
WAITING = 2000


def blocks(daemon: Daemon) -> int:
    return figures_of(daemon.process.pid, daemon.path.parent)["blocks"]


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("how", ["reset", "startup"])
def test_what_an_epoch_held_goes_with_it(
    daemons: Daemons, sockets: Sockets, recovered: bool, how: str
) -> None:
    daemon = daemons.ready()
    units = [wire.Declaration(f"u{number}", [f"p{number}"]) for number in range(UNITS)]
    assert sockets.req(daemon.endpoint).ask(wire.Declare(id="d", units=units)).exit == 0
    if recovered:
        daemon.kill()
        daemon = daemons.ready()
    before = blocks(daemon)
    req = sockets.req(daemon.endpoint)
    if how == "reset":
        assert req.ask(wire.Reset(id="r", all=True)).exit == 0
    else:
        assert req.ask(wire.Want(id="w", unit="a", prerequisites=[], startup="new")).exit == 0
    assert before - blocks(daemon) > UNITS * 8


def test_what_is_not_gone_on_with_goes(daemons: Daemons, sockets: Sockets) -> None:
    """A coordinator that comes back in a new startup."""
    daemon = daemons.ready()
    empty = blocks(daemon)
    units = [wire.Declaration(f"u{number}", [f"p{number}"]) for number in range(UNITS)]
    assert sockets.req(daemon.endpoint).ask(wire.Declare(id="d", units=units)).exit == 0
    daemon.kill()
    daemon = daemons.ready(env={"UNITSYNC_STARTUP": "new"})
    assert blocks(daemon) - empty < UNITS


def test_who_waited_in_it_goes_too(daemons: Daemons, sockets: Sockets) -> None:
    daemon = daemons.ready()
    many = sockets.dealer(daemon.endpoint)
    empty = blocks(daemon)
    for number in range(WAITING):
        unit = f"u{number}"
        many.send(wire.Want(id="", unit=unit, prerequisites=["p"]))
        many.send(wire.Wait(id="", units=[unit], patience_s=30))
        many.send(wire.Start(id="", unit=unit, patience_s=30, since_run=0))
        assert many.told().exit == 0
    many.send(wire.Reset(id="r", all=True))
    assert [many.told().exit for _ in range(2 * WAITING + 1)] == [69] * 2 * WAITING + [0]
    assert blocks(daemon) - empty < WAITING
