"""The coordinator against an oracle: random graphs, orders, failures, new runs, resets,
owners that end, clients that wait, claim late, are killed or ask twice.

After each step every unit has the status and the readiness that the oracle says, and
every client that is held back is one that has to wait: none was told too early, none
was forgotten.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from coordinator.model_running import Running
from coordinator.model_values import (
    NAMES,
    Client,
    edges,
    name,
    names,
    pattern,
    patterns,
    prerequisite,
    which,
    who,
)
from support.driver import Driven, Script, snapshot
from support.jobs import LonelyJob
from support.oracle import Edge, Oracle
from unitsync import wire
from unitsync.wire import OnOwnerExit, Requirement


class Machine(Running):
    def __init__(self) -> None:
        super().__init__()
        self.driven = self.a_coordinator()
        self.oracle = Oracle()
        self.scripts = [self.driven.script(f"script-{number}") for number in range(4)]
        self.starts: list[Client] = []
        self.killed: list[Client] = []
        """Of whose start a request is still held back."""
        self.waits: list[Client] = []
        self.granted: list[tuple[Script, wire.Start, str]] = []
        """Starts that were granted, to be sent once more."""
        self.withdrawn: list[tuple[Script, wire.Start]] = []
        """Starts that were taken back, which may come all the same."""

    def a_coordinator(self) -> Driven:
        return Driven(job=LonelyJob())

    def teardown(self) -> None:
        assert self.driven.defects == []

    # --- declaring ----------------------------------------------------------------

    @initialize(pairs=st.lists(st.tuples(name, name, edges), max_size=12))
    def begin(self, pairs: list[tuple[str, str, Edge]]) -> None:
        """Mostly with something to wait for."""
        for one, other, edge in pairs:
            self.want(max(one, other), [min(one, other)], edge, 0)

    @rule(unit=name, prerequisites=st.lists(prerequisite, max_size=3), edge=edges, who=who)
    def want(self, unit: str, prerequisites: list[str], edge: Edge, who: int) -> None:
        script = self.scripts[who]
        script.must(wire.Ok, script.want(unit))
        self.oracle.register(unit)
        self.settle()
        before = snapshot(self.driven)
        requires = Requirement(edge.requires)
        request = script.want(unit, *prerequisites, requires=requires, optional=edge.optional)
        refused = self.oracle.want(unit, prerequisites, edge)
        if not refused:
            script.must(wire.Ok, request)
            return
        error = script.refused(refused, request)
        assert snapshot(self.driven) == before
        if refused == "cycle":
            cycle = error.details["cycle"]
            assert cycle[0] == cycle[-1] == unit
            meant, _ = self.oracle.meant(prerequisites)
            assert cycle[1] in meant
            assert all(self.oracle.waits_for(a, b) for a, b in itertools.pairwise(cycle[1:]))

    @rule(pattern=pattern, other=name, edge=edges, which=which, who=who)
    def put_before(self, pattern: str, other: str, edge: Edge, which: int, who: int) -> None:
        """All that match are to wait for *other*, or not any more."""
        script = self.scripts[who]
        if which % 2:
            changed = self.oracle.unwant_before(pattern, other)
            assert script.must(wire.Ok, script.unwant(pattern, other)).changed == changed
            return
        request = script.put_before(pattern, other, Requirement(edge.requires), edge.optional)
        before = snapshot(self.driven)
        refused = self.oracle.want_before(pattern, other, edge)
        if not refused:
            script.must(wire.Ok, request)
            return
        script.refused(refused, request)
        assert snapshot(self.driven) == before

    @rule(
        unit=name,
        prerequisites=st.lists(prerequisite, max_size=3, unique=True),
        edge=edges,
        count=st.sampled_from((0, 0, 1, 2, 3)),
        which=which,
        who=who,
    )
    def gate(
        self, unit: str, prerequisites: list[str], edge: Edge, count: int, which: int, who: int
    ) -> None:
        if which % 2:  # otherwise all would soon be gates
            return
        script, known = self.scripts[who], unit in self.oracle.units
        before = snapshot(self.driven)
        requires = Requirement(edge.requires)
        request = script.gate(
            unit, *prerequisites, requires=requires, optional=edge.optional, count=count
        )
        refused = self.oracle.gate(unit, prerequisites, edge, count)
        if not refused:
            done = script.must(wire.Ok, request)
            self.oracle.complete_gates()
            assert done.status == self.oracle.status(unit)
            return
        script.refused(refused, request)
        if known or refused == "usage":
            assert snapshot(self.driven) == before

    # --- starting -----------------------------------------------------------------

    def _judge(self, client: Client, reply: wire.AnyReply | None, expected: str) -> None:
        """*reply*, to a request that was not held back, is the *expected* one."""
        request = client.request
        match expected:
            case "granted":
                assert isinstance(reply, wire.Granted), (reply, request)
                self.granted.append((client.socket, request, client.owner))
                if request.id in self.oracle.units[request.unit].granted_to[-1:]:
                    assert reply.run == self.oracle.units[request.unit].run
            case "ready":
                assert isinstance(reply, wire.Ready), (reply, request)
            case "waiting":
                assert isinstance(reply, wire.Waiting), (reply, request)
                told = [edge.name for edge in reply.waiting_for]
                assert sorted(told) == sorted(self.oracle.missing(request.unit, request.id))
                client.request = replace(
                    request,
                    patience_s=30.0,
                    epoch=reply.epoch,
                    since_run=request.since_run if request.since_run >= 0 else reply.run,
                )
                assert client.socket.ask(client.request) is None
                client.held_back = True
                self.starts.append(client)
            case _:
                assert isinstance(reply, wire.Error), (reply, request)
                assert reply.code == expected
                self._check_error(request, reply)

    def _check_error(self, request: wire.Start, reply: wire.Error) -> None:
        if reply.code == "skipped":
            path = reply.details["path"]
            assert path[0] == request.unit
            self.oracle.check_path(path, request.id)

    @rule(
        unit=name,
        who=who,
        after=st.lists(prerequisite, max_size=2),
        edge=edges,
        wait=st.sampled_from((True, True, False)),
        policy=st.sampled_from(OnOwnerExit),
        launching=st.booleans(),
        claim=st.sampled_from((True, True, True, False)),
    )
    def start(
        self,
        unit: str,
        who: int,
        after: list[str],
        edge: Edge,
        wait: bool,
        policy: OnOwnerExit,
        launching: bool = False,
        claim: bool = True,
    ) -> None:
        owner = self.scripts[who]
        socket = self.driven.script(owner=owner.owner)
        ready = None
        if not after and unit in self.oracle.units:
            self.oracle.notice(unit)
            if not any(edge.of_start for _, edge in self.oracle.needs(unit)):
                ready = self.oracle.is_ready(unit)
        request = replace(
            socket.start(
                unit, *after, wait=wait, on_owner_exit=policy, launching=launching, claim=claim
            ),
            requires=Requirement(edge.requires),
            optional=edge.optional,
        )
        client = Client(socket, request, repr(owner.owner))
        refused = self.oracle.want_for_start(unit, after, edge, request.id)
        if refused == "is_gate":
            socket.refused(refused, request)
            return
        if refused:
            socket.refused(refused, request)
            self.oracle.not_declared(unit, client.owner)
            return
        mine = self.oracle.units[unit].owner == client.owner and self.oracle.is_running(unit)
        expected = self.oracle.start(
            unit,
            request.id,
            client.owner,
            wait=wait,
            on_owner_exit=policy,
            launching=launching,
            claim=claim,
        )
        assert ready is None or mine or ready == (expected == ("granted" if claim else "ready"))
        self._judge(client, socket.ask(request), expected)

    @rule(which=which, who=who)
    def start_what_has_to_wait(self, which: int, who: int) -> None:
        """Several want to start the same, as often as not."""
        waiting = [
            unit
            for unit in self.oracle.units
            if self.oracle.missing(unit)
            and not self.oracle.is_running(unit)
            and not self.oracle.units[unit].gate
        ]
        if waiting:
            unit = waiting[which % len(waiting)]
            self.start(unit, who, [], Edge("success", False), True, OnOwnerExit.FAIL)

    @precondition(lambda self: any(not client.held_back for client in self.starts))
    @rule(which=which, last=st.sampled_from((False, False, True)))
    def claim(self, which: int, last: bool) -> None:
        """A client that was told that it may go on does so, now or at its deadline."""
        ready = [client for client in self.starts if not client.held_back]
        self._ask_again(ready[which % len(ready)], last=last)

    def _ask_again(self, client: Client, *, last: bool) -> None:
        self.starts.remove(client)
        client.held_back = False
        client.request = replace(client.request, patience_s=0.0, last=last)
        request = client.request
        expected = self.oracle.start(
            request.unit,
            request.id,
            client.owner,
            request.since_run,
            last=last,
            wait=request.wait,
            on_owner_exit=request.on_owner_exit,
            launching=request.launching,
            claim=request.claim,
        )
        self._judge(client, client.socket.ask(request), expected)

    # --- ending -------------------------------------------------------------------

    @rule(
        unit=name,
        who=who,
        exit_code=st.sampled_from((0, 0, 0, 1)),
        even_so=st.sampled_from((False, False, False, True)),
    )
    def complete(self, unit: str, who: int, exit_code: int, even_so: bool) -> None:
        script = self.scripts[who]
        request = script.complete(unit, exit_code, even_so=even_so)
        if unit not in self.oracle.units:
            script.refused("unknown_unit", request)
            return
        if self.oracle.units[unit].gate:
            script.refused("is_gate", request)
            return
        outcome: Any = "failed" if exit_code else "completed"
        changed = self.oracle.complete(unit, outcome, repr(script.owner), even_so)
        done = script.must(wire.Ok, request)
        assert (done.changed, done.status) == (changed, self.oracle.status(unit))

    @precondition(lambda self: any(map(self.oracle.is_running, self.oracle.units)))
    @rule(which=which, exit_code=st.sampled_from((0, 0, 1)))
    def finish(self, which: int, exit_code: int) -> None:
        """Somebody ends what it runs, if it still can."""
        running = [unit for unit in self.oracle.units if self.oracle.is_running(unit)]
        unit = running[which % len(running)]
        owner = self.oracle.units[unit].owner
        owners = [repr(script.owner) for script in self.scripts]
        self.complete(unit, owners.index(owner) if owner in owners else 0, exit_code, False)

    @precondition(lambda self: self.starts)
    @rule(which=which, exit_code=st.sampled_from((0, 0, 1)))
    def run_what_is_missing(self, which: int, exit_code: int) -> None:
        """Somebody runs a prerequisite that a client waits for, down at the bottom."""
        unit = self.starts[which % len(self.starts)].request.unit
        while missing := [one for one in self.oracle.missing(unit) if one in NAMES]:
            unit = missing[which % len(missing)]
        if self.oracle.units.get(unit) is not None and self.oracle.units[unit].gate:
            return  # one that has none
        if not self.oracle.is_running(unit):
            self.start(unit, which % 4, [], Edge("success", False), True, OnOwnerExit.FAIL)
            self.settle()
        if self.oracle.units[unit].owner == repr(self.scripts[which % 4].owner):
            self.complete(unit, which % 4, exit_code, False)

    # --- waiting ------------------------------------------------------------------

    @rule(
        units=st.one_of(names, patterns),
        requires=st.sampled_from(Requirement),
        any_of=st.booleans(),
        who=who,
    )
    def wait(self, units: list[str], requires: Requirement, any_of: bool, who: int) -> None:
        socket = self.driven.script(owner=self.scripts[who].owner)
        request = socket.wait(*units, requires=requires, any=any_of)
        reply = socket.ask(request)
        match self.oracle.answer_to_wait(units, requires.value, any_of):
            case "ok":
                assert isinstance(reply, wire.Ok)
                meant, _ = self.oracle.meant(units)
                assert reply.units == [u for u in meant if self.oracle.meets(u, requires.value)]
            case "skipped":
                assert isinstance(reply, wire.Error)
                assert (reply.code, reply.exit) == ("skipped", 3)
                self.oracle.check_path(reply.details["path"], "")
            case _:
                assert isinstance(reply, wire.Waiting)
                meant, complete = self.oracle.meant(units)
                missing = [u for u in meant if not self.oracle.meets(u, requires.value)]
                told = [edge.name for edge in reply.waiting_for]
                assert told[: len(missing)] == missing
                assert (told == missing) == complete
                request = replace(request, patience_s=30.0, epoch=reply.epoch)
                assert socket.ask(request) is None
                self.waits.append(Client(socket, request, "", held_back=True))

    # --- meddling -----------------------------------------------------------------

    @rule(action=st.integers(0, 13), which=which, who=who, flag=st.booleans())
    def meddle(self, action: int, which: int, who: int, flag: bool) -> None:
        """What comes in between now and then. One rule, or there would be little else."""
        script = self.scripts[who]
        registered = list(self.oracle.units)
        declared = [(u, p) for u, needs in self.oracle.edges.items() for p in needs]
        held_back = [client for client in self.starts if client.held_back]
        match action:
            case 0 if declared:
                unit, prerequisite = declared[which % len(declared)]
                script.must(wire.Ok, script.unwant(unit, prerequisite, "unheard-of"))
                self.oracle.unwant(unit, [prerequisite])
            case 1 | 2 if registered:
                self._reset([registered[which % len(registered)]], script, force=flag)
            case 3:
                self._reset(list(NAMES[which % 5 : which % 5 + 3]), script, force=flag)
            case 4 if which % 3 == 0:
                self._reset_all(script)
            case 5 | 6 if held_back:
                self._give_up(held_back[which % len(held_back)])
            case 7 if self.starts:
                # It never asks again; its request stays where it is.
                client = self.starts.pop(which % len(self.starts))
                if client.held_back:
                    self.killed.append(client)
            case 8 if self.starts:
                client = self.starts.pop(which % len(self.starts))
                self._withdraw(client.socket, client.request, client.owner)
                assert client.socket.told() is None
            case 9 if self.granted:
                self._withdraw(*self.granted[which % len(self.granted)])
            case 10 if self.granted:
                self._ask_twice(*self.granted[which % len(self.granted)])
            case 11:
                self._owner_ends(who, seen=flag)
            case 12:
                self._patience_ends()
            case 13 if self.withdrawn:
                socket, request = self.withdrawn[which % len(self.withdrawn)]
                self.oracle.notice(request.unit)
                socket.refused("interrupted", request)

    def _give_up(self, client: Client) -> None:
        """The deadline of a client is here. Its request that is held back is still
        there; this one comes on top."""
        client.socket = self.driven.script(owner=client.socket.owner)
        self._ask_again(client, last=True)

    def _withdraw(self, socket: Script, request: wire.Start, owner: str) -> None:
        if request.unit in self.oracle.units:
            other = self.driven.script(owner=socket.owner)
            other.must(wire.Ok, other.withdraw(request))
            self.oracle.withdraw(request.unit, request.id, owner)
            self.withdrawn.append((other, request))

    def _ask_twice(self, socket: Script, request: wire.Start, owner: str) -> None:
        """The reply to a start that was granted got lost."""
        unit = self.oracle.units.get(request.unit)
        if unit is not None:
            self.oracle.notice(request.unit)
            if request.id in self.oracle.withdrawn:
                socket.refused("interrupted", request)
            elif request.id in unit.granted_to[-2:]:
                repeated = socket.must(wire.Granted, request)
                assert repeated.run == unit.run - unit.granted_to[::-1].index(request.id)

    def _reset(self, units: list[str], script: Script, *, force: bool) -> None:
        request = script.reset(*units, force=force)
        if any(unit not in self.oracle.units for unit in units):
            script.refused("unknown_unit", request)
            return
        for unit in units:
            self.oracle.notice(unit)
            if self.oracle.is_running(unit) and not force:
                script.refused("already_started", request)
                return
        script.must(wire.Ok, request)
        for unit in units:
            self.oracle.reset(unit)

    def _reset_all(self, script: Script) -> None:
        script.must(wire.Ok, script.reset(all=True, force=True))
        for client in (*self.starts, *self.waits):
            if client.held_back:
                error = client.socket.told()
                assert isinstance(error, wire.Error)
                assert error.code == "state_changed"
            else:
                client.socket.refused("state_changed", client.request)
        dead, self.oracle = self.oracle.dead, Oracle()
        self.oracle.dead = dead
        self.starts, self.waits, self.granted, self.withdrawn = [], [], [], []
        self.killed = []

    def _owner_ends(self, who: int, *, seen: bool) -> None:
        """A script is killed, and its clients with it."""
        script, self.scripts[who] = self.scripts[who], self.driven.script(f"again-{who}")
        owner = repr(script.owner)
        self.starts = [client for client in self.starts if client.owner != owner]
        self.granted = [entry for entry in self.granted if entry[2] != owner]
        self.oracle.dead.add(owner)
        self.driven.die(script.owner, seen=seen)
        if seen:
            for unit in [u for u, known in self.oracle.units.items() if known.owner == owner]:
                self.oracle.notice(unit)

    def _patience_ends(self) -> None:
        """All who are held back are told what they wait for, and ask again."""
        self.driven.pass_time(30.0)
        for client in (*self.starts, *self.waits):
            if client.held_back:
                assert isinstance(client.socket.told(), wire.Waiting)
                assert client.socket.ask(client.request) is None
                if isinstance(client.request, wire.Start):
                    unit = self.oracle.units[client.request.unit]
                    unit.not_granted[client.owner] = "not granted"
        for script in self.driven.scripts.values():
            script.inbox.clear()  # of those who were killed

    # --- what always holds --------------------------------------------------------

    def settle(self) -> None:
        self.oracle.complete_gates()
        for client in [client for client in self.starts if client.held_back]:
            self._settle_start(client)
        for client in list(self.killed):
            told = client.socket.told()
            if told is not None:
                self.killed.remove(client)
            if isinstance(told, wire.Error):
                self._was_refused(client, told)
        for client in list(self.waits):
            self._settle_wait(client)

    def _told(self, client: Client) -> wire.AnyReply | None:
        while isinstance(told := client.socket.told(), wire.Waiting):
            # The owner of what it waits for is gone; it is to know, and asks again.
            assert client.socket.ask(client.request) is None
        return told

    def _settle_start(self, client: Client) -> None:
        request, told = client.request, client.socket.told()
        if isinstance(told, wire.Waiting):
            # The owner of what it waits for is gone, or another start has come: it asks again.
            self._ask_again(client, last=False)
            return
        expected = self.oracle.answer_to_start(
            request.unit, request.id, client.owner, request.since_run, request.last, request.wait
        )
        match expected:
            case "waiting":
                assert told is None
            case "granted" if not request.claim:
                assert isinstance(told, wire.Ready), (told, request)
                self.starts.remove(client)
            case "granted" if self.oracle.is_running(request.unit):
                assert isinstance(told, wire.Granted), (told, request)
                self.starts.remove(client)
            case "granted":
                assert isinstance(told, wire.Ready), (told, request)
                client.held_back = False
            case code:
                assert isinstance(told, wire.Error), (told, request)
                assert told.code == code
                self._check_error(request, told)
                self._was_refused(client, told)
                self.starts.remove(client)

    def _was_refused(self, client: Client, told: wire.Error) -> None:
        if told.code == "is_gate":
            return
        refused = told.code in ("already_started", "ended_meanwhile")
        unit = self.oracle.units[client.request.unit]
        unit.not_granted[client.owner] = "no say" if refused else "not granted"

    def _settle_wait(self, client: Client) -> None:
        request, told = client.request, self._told(client)
        requires = request.requires.value
        match self.oracle.answer_to_wait(request.units, requires, request.any):
            case "waiting":
                assert told is None
                return
            case "ok":
                assert isinstance(told, wire.Ok), (told, request)
                meant, _ = self.oracle.meant(request.units)
                met = [unit for unit in meant if self.oracle.meets(unit, requires)]
                assert sorted(told.units) == sorted(met)
            case code:
                assert isinstance(told, wire.Error), (told, request)
                assert told.code == code
        self.waits.remove(client)

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        self.settle()
        for unit in NAMES:
            info = self.scripts[0].status(unit)
            assert (info.status, info.is_ready) == (
                self.oracle.status(unit),
                self.oracle.is_ready(unit),
            ), unit
            known = self.oracle.units.get(unit)
            assert info.run == (known.run if known is not None else 0)
            assert info.note == self.oracle.shown_note(unit)
            for edge in info.prerequisites:
                declared = self.oracle.edges[unit][edge.name]
                if declared.by == "pattern":
                    matched = bool(self.oracle.matching(edge.name, but=unit))
                    assert edge.status == ("completed" if matched else "not registered")
                else:
                    assert edge.status == self.oracle.status(edge.name)
                    if "@" not in edge.name:
                        assert edge.note == self.oracle.shown_note(edge.name)
                assert (edge.pattern != "") == (declared.by == "match")
                assert (edge.before != "") == (declared.by == "before")
                assert edge.met == self.oracle.is_met(edge.name, declared)
                assert (edge.requires, edge.optional) == (declared.requires, declared.optional)
            assert info.prerequisites_total == len(self.oracle.edges.get(unit, {}))


TestModel = pytest.mark.timeout(600)(Machine.TestCase)
TestModel.settings = settings(stateful_step_count=40)
