"""A request that is repeated, byte for byte, to the coordinator that comes after the one
that has carried it out: no second effect, as docs/reference/wire-protocol.md has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.places import Place, await_end
from support.requests import Requests
from unitsync import Client, wire
from unitsync.wire import Owner, Status

ask = Requests(Owner(pid=1, start=1, ns=1, command="gone", watched=False))
other = Requests(Owner(pid=1, start=2, ns=1, command="other", watched=False))


def ok(client: Client, request: wire.AnyRequest) -> wire.AnyReply:
    reply = client.call(request, timeout_s=30)
    assert not isinstance(reply, wire.Error), reply
    return reply


def ended_by(place: Place, request: wire.Stop) -> None:
    pid = place.pid()
    with place.client() as client:
        assert ok(client, request).changed  # type: ignore[union-attr]
    await_end(pid, place.children)


def spared_by(place: Place, request: wire.Stop) -> None:
    pid = place.pid()
    with place.client() as client:
        assert not ok(client, request).changed  # type: ignore[union-attr]
        assert client.ping().pid == pid


def test_a_stop_ends_no_other_coordinator(place: Place) -> None:
    stops = [ask.stop() for _ in range(3)]
    for number, stop in enumerate(stops):
        place.start()
        for before in stops[:number]:
            spared_by(place, before)
        ended_by(place, stop)
    place.kill(place.start())
    place.start()
    for stop in stops:
        spared_by(place, stop)
    place.stop()


def test_a_stop_without_an_id_is_meant_for_whoever_is_there(place: Place) -> None:
    for _ in range(2):
        place.start()
        ended_by(place, wire.Stop(id=""))


START, COMPLETE, FAIL = ask.start("ide"), ask.complete("ide"), ask.fail("ide")
BACK = ask.start("back")
LAUNCH, READY = ask.start("ide", launching=True), ask.ready("ide")
RETRY = ask.retry("ide", "exit status 1")
NOTE = ask.note("ide", "43 %")
REQUESTS: list[tuple[list[wire.AnyRequest], wire.AnyRequest]] = [
    ([], ask.want("ide", "clone")),
    ([], ask.declare({"ide": ["clone"]})),
    ([ask.want("ide", "clone")], ask.unwant("ide", "clone")),
    ([], START),
    ([START], COMPLETE),
    ([START], FAIL),
    ([START, COMPLETE, other.start("ide")], COMPLETE),
    ([START, COMPLETE, other.start("ide")], START),
    ([], LAUNCH),
    ([], ask.ready_to_start("ide")),
    ([LAUNCH], READY),
    ([LAUNCH, READY, RETRY], READY),
    ([START], NOTE),
    ([START, RETRY], NOTE),
    ([START], RETRY),
    ([LAUNCH, READY], RETRY),
    ([START, RETRY, COMPLETE], RETRY),
    ([START, RETRY, ask.retry("ide")], RETRY),
    ([START], ask.withdraw(START, "cancelled")),
    ([START, ask.complete("ide")], ask.reset("ide")),
    ([START], ask.reset(all=True, force=True)),
]


def history(client: Client) -> list[tuple[str, Status, int, list[str]]]:
    units = [client.status(unit.name) for unit in client.list()]
    return [(u.name, u.status, u.run, [entry.what for entry in u.history]) for u in units]


@pytest.mark.parametrize(("before", "request_"), REQUESTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("end", [Place.kill, Place.stop], ids=["killed", "stopped"])
def test_it_has_no_second_effect(
    place: Place,
    before: list[wire.AnyRequest],
    request_: wire.AnyRequest,
    end: Callable[[Place], None],
) -> None:
    with place.client() as client:
        for each in before:
            ok(client, each)
        first = ok(client, request_)
        shown, epoch = history(client), client.ping().epoch
    end(place)
    with place.client() as client:
        client.ping()  # a withdrawal starts none
        again = ok(client, request_)
        assert type(again) is type(first)
        if isinstance(first, wire.Granted) and isinstance(again, wire.Granted):
            assert again.run == first.run
        assert (history(client), client.ping().epoch) == (shown, epoch)


def test_a_start_that_was_taken_back_stays_so(place: Place) -> None:
    with place.client() as client:
        client.ping()
        ok(client, ask.withdraw(BACK, "cancelled"))
    place.kill()
    with place.client() as client:
        reply = client.call(BACK, timeout_s=30)
        assert isinstance(reply, wire.Error)
        assert reply.code == "interrupted"


def test_a_reset_after_which_a_unit_started_leaves_it_alone(place: Place) -> None:
    units, everything = ask.reset("ide", force=True), ask.reset(all=True, force=True)
    with place.client() as client:
        ok(client, START)
        ok(client, everything)
        ok(client, ask.start("ide"))
        ok(client, units)
        ok(client, ask.start("ide"))
    place.kill()
    with place.client() as client:
        for reset in (units, everything):
            ok(client, reset)
            assert client.status("ide").status is Status.STARTED
