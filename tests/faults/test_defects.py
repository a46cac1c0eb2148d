"""Defects of ours outside of a request, put into a real coordinator: they are in its log
with where they were, and everybody else is served."""

from __future__ import annotations

import os
from pathlib import Path

from faults.places import Place
from faults.scripts import until
from support.daemon import Sockets
from unitsync import wire
from unitsyncd.transport.router import BATCH_MAX

HEAD = """
import threading
from unitsyncd import daemon
from unitsyncd.requests import supervisor
from unitsyncd.actors.registry import Registry

class Broken(Exception):
    pass

def broken(*_):
    raise Broken
"""
"""Imported by the coordinator before everything else; a test adds what is broken."""

ONCE_IN_A_TURN = """
whole = supervisor.Supervisor._finish

def finish(self, **options):
    if "guilty" in self._handlers.registry.units:
        supervisor.Supervisor._finish = whole
        broken()
    whole(self, **options)

supervisor.Supervisor._finish = finish
"""
OUT_OF_A_TURN = """
end_turn = supervisor.Supervisor.end_turn

def once(self):
    replies = end_turn(self)
    if "guilty" in self._handlers.registry.units:
        supervisor.Supervisor.end_turn = end_turn
        broken()
    return replies

supervisor.Supervisor.end_turn = once
"""
IN_A_THREAD = """
look = daemon.Daemon._look

def begun(self):
    threading.Thread(target=broken, name="a thread").start()
    look(self)

daemon.Daemon._look = begun
"""
AT_THE_BEGINNING = "daemon.Daemon._look = broken\n"


def begin(place: Place, defect: str) -> None:
    modules = Path(place.folder, "modules")
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(HEAD + defect)
    place.start({"PYTHONPATH": os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])})


def want(unit: str) -> wire.Want:
    return wire.Want(id=unit, unit=unit, prerequisites=["p"])


def check_logged(place: Place) -> None:
    assert "Traceback" in place.log()
    assert "sitecustomize.Broken" in place.log()


def test_a_turn_that_breaks_answers_everybody_in_it(place: Place, sockets: Sockets) -> None:
    begin(place, ONCE_IN_A_TURN)
    req = sockets.req(place.address)
    assert req.ask(want("before")).exit == 0
    reply = req.ask(want("guilty"))
    assert isinstance(reply, wire.Error)
    assert (reply.code, reply.exit, reply.id) == ("internal", 1, "guilty")
    check_logged(place)
    assert req.ask(want("after")).exit == 0
    assert isinstance(found := req.ask(wire.List(id="l")), wire.ListReply)
    assert [unit.name for unit in found.units] == ["before", "after", "p"]


def test_what_comes_out_of_a_turn_leaves_the_others(place: Place, sockets: Sockets) -> None:
    begin(place, OUT_OF_A_TURN)
    guilty, other = sockets.dealer(place.address), sockets.req(place.address)
    assert other.ask(want("before")).exit == 0
    guilty.send(want("guilty"))
    until(lambda: "Broken" in place.log())  # the replies of that turn are lost
    assert other.ask(want("after")).exit == 0
    guilty.send(wire.Ping(id="ping"))
    assert isinstance(guilty.told(), wire.Pong)
    check_logged(place)


def test_what_has_arrived_behind_a_turn_that_broke_is_looked_at(
    place: Place, sockets: Sockets
) -> None:
    """No edge of the socket's descriptor tells of it any more, and nobody need say more for
    its being noticed. Only the replies of that one turn are lost."""
    begin(place, OUT_OF_A_TURN)
    many, pings = sockets.dealer(place.address), 10 * BATCH_MAX
    many.send(want("guilty"))
    for number in range(pings):
        many.send(wire.Ping(id=str(number)))
    answered = 1
    while many.told().id != str(pings - 1):
        answered += 1
    assert answered > pings - BATCH_MAX
    check_logged(place)


def test_a_thread_that_breaks_is_in_the_log(place: Place, sockets: Sockets) -> None:
    begin(place, IN_A_THREAD)
    assert sockets.req(place.address).ask(want("a")).exit == 0
    until(lambda: "sitecustomize.Broken" in place.log(), "the thread's end is not in the log")
    check_logged(place)
    assert "a thread" in place.log()


def test_a_defect_that_ends_it_is_in_the_log(place: Place) -> None:
    try:
        begin(place, AT_THE_BEGINNING)
    except AssertionError:
        check_logged(place)
    else:
        raise AssertionError("it serves")
