"""One turn of the loop is one transaction: a step that raises fails its own request and
nothing else, whatever it had done by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from journal.driving import check_sound, state
from journal.memory_store import MemoryStore
from support.driver import Driven, Script, snapshot
from support.jobs import LonelyJob
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import Status
from unitsyncd.actors import unit_actor
from unitsyncd.actors.recovery import SnapshotTaker, rebuild
from unitsyncd.core.events import Heard, PrerequisiteMoved, StartAsked
from unitsyncd.core.requirement import Condition
from unitsyncd.core.state import Unit
from unitsyncd.core.undo import UndoLog
from unitsyncd.core.unit import step
from unitsyncd.limits import Limits
from unitsyncd.requests import replies
from unitsyncd.requests.handlers import Handlers


class Broken(Exception):
    pass


@contextmanager
def broken(name: str, *kinds: type) -> Iterator[None]:
    """The machine of the unit *name* raises on events of *kinds*, if none on all."""

    def broken_step(unit: Unit, event: Any) -> Any:
        if unit.name == name and (not kinds or isinstance(event, kinds)):
            raise Broken
        return step(unit, event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_actor, "step", broken_step)
        yield


def defects(driven: Driven) -> list[type]:
    found = [type(defect) for _, defect in driven.defects]
    driven.defects.clear()
    return found


def one_by_one(*requests: Callable[[Script], wire.AnyRequest]) -> list[object]:
    """What is there after *requests*, each in a turn of its own."""
    driven = Driven()
    ann = driven.script("ann.sh")
    for request in requests:
        ann.ask(request(ann))
    return snapshot(driven)


REQUESTS: list[Callable[[Script], wire.AnyRequest]] = [
    lambda s: s.want("a", "p"),
    lambda s: s.start("p"),
    lambda s: s.complete("p"),
    lambda s: s.start("a"),
    lambda s: s.unwant("a", "p"),
]


def test_a_batch_does_what_its_requests_do_one_by_one(driven: Driven, ann: Script) -> None:
    driven.turn(*((ann, request(ann)) for request in REQUESTS))
    assert [type(reply) for reply in ann.inbox] == [
        wire.Ok,
        wire.Granted,
        wire.Ok,
        wire.Granted,
        wire.Ok,
    ]
    assert snapshot(driven) == one_by_one(*REQUESTS)


@pytest.mark.parametrize("position", range(len(REQUESTS) + 1))
@pytest.mark.parametrize(
    "guilty",
    [
        lambda s: s.want("bad", "p", "x", "y"),
        lambda s: s.start("bad", "p"),
        lambda s: s.start("bad", patience_s=30.0),
    ],
    ids=["want", "start", "held back"],
)
def test_only_the_guilty_request_of_a_batch_fails(
    driven: Driven,
    ann: Script,
    position: int,
    guilty: Callable[[Script], wire.AnyRequest],
) -> None:
    batch = [(ann, request(ann)) for request in REQUESTS]
    batch.insert(position, (ann, guilty(ann)))
    with broken("bad"):
        driven.turn(*batch)
    assert defects(driven) == [Broken]
    (error,) = [reply for reply in ann.inbox if isinstance(reply, wire.Error)]
    assert ann.inbox.index(error) == position
    assert (error.code, error.id) == ("internal", batch[position][1].id)
    assert "nothing was changed" in error.message
    assert snapshot(driven) == one_by_one(*REQUESTS)


def test_a_cascade_that_breaks_somewhere_has_not_begun(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """bad is the last to hear that p has failed; those before had been told."""
    for unit, prerequisite in (("a", "p"), ("b", "a"), ("bad", "b"), ("c", "p")):
        ann.must(wire.Ok, ann.want(unit, prerequisite))
    ann.runs("p")
    held = [
        (script, script.waits_to_start(unit))
        for unit in ("a", "b", "c")
        for script in [driven.script()]
    ]
    bob.waits_for("b")
    before = snapshot(driven)
    with broken("bad", PrerequisiteMoved):
        ann.refused("internal", ann.complete("p", 1))
    assert defects(driven) == [Broken]
    assert snapshot(driven) == before
    assert [script.told() for script, _ in held] == [None] * 3
    assert bob.told() is None
    # And they are told when it works again.
    ann.ends("p", 1)
    for script, request in held:
        reply = script.told()
        assert isinstance(reply, wire.Error)
        assert (reply.code, reply.id) == ("skipped", request.id)
    assert isinstance(bob.told(), wire.Error)
    assert ann.status("bad").status is Status.SKIPPED


def test_telling_those_who_wait_is_part_of_the_request(
    driven: Driven, ann: Script, bob: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two wait; the second cannot be told. Then the first was not told either."""
    held = bob.waits_to_start("ide", "clone")
    cat = driven.script("cat.sh")
    cat.waits_for("clone")
    ann.runs("clone")
    before = snapshot(driven)

    def cannot(*args: object) -> wire.AnyReply:
        raise Broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies, "wait_done", cannot)
        ann.refused("internal", ann.complete("clone"))
    assert snapshot(driven) == before
    assert (bob.told(), cat.told()) == (None, None)
    ann.ends("clone")
    assert isinstance(bob.told(), wire.Ready)
    assert isinstance(cat.told(), wire.Ok)
    assert isinstance(bob.claims(held), wire.Granted)
    assert defects(driven) == [Broken]


def test_a_request_that_was_parked_by_then_is_not_parked(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """It comes while another waits for the same, and that one cannot be told."""
    bob.waits_to_start("ide", "clone")
    before = snapshot(driven)
    handlers = driven.supervisor._handlers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(handlers), "_reconsider", lambda self, waiter: 1 / 0)
        ann.refused("internal", ann.start("ide", "deps", patience_s=30.0))
    assert snapshot(driven) == before
    driven.pass_time(60)
    assert ann.told() is None
    assert isinstance(bob.told(), wire.Waiting)
    assert defects(driven) == [ZeroDivisionError]


def test_the_claim_of_another_breaks_and_changes_nothing(
    driven: Driven, ann: Script, bob: Script
) -> None:
    held = bob.waits_to_start("ide", "clone")
    ann.does("clone")
    bob.told()
    before = snapshot(driven)
    with broken("ide", StartAsked):
        assert isinstance(bob.claims(held), wire.Error)
    assert snapshot(driven) == before
    assert isinstance(bob.claims(held), wire.Granted)


def test_nothing_of_a_broken_request_is_left_in_a_mailbox(driven: Driven, ann: Script) -> None:
    with broken("bad", PrerequisiteMoved):
        ann.refused("internal", ann.want("bad", *(f"p{i}" for i in range(100))))
    ann.must(wire.Ok, ann.want("bad", "p0"))
    ann.does("p0")
    ann.runs("bad")


def test_a_defect_in_the_first_request_of_a_new_startup(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """The new startup has begun all the same, with nothing in it."""
    cat = driven.script("cat.sh")
    bob.waits_to_start("ide", "clone")
    ann.startup = "second"
    with broken("bad", PrerequisiteMoved):
        driven.turn((cat, cat.want("old")), (ann, ann.want("bad", "x")), (ann, ann.want("c")))
    assert [type(reply) for reply in cat.inbox] == [wire.Ok]
    error, done = ann.inbox
    ann.inbox.clear()
    cat.inbox.clear()
    assert isinstance(error, wire.Error)
    assert error.code == "internal"
    assert isinstance(done, wire.Ok)
    assert done.epoch == error.epoch == "epoch-2"
    gone = bob.told()
    assert isinstance(gone, wire.Error)
    assert gone.code == "state_changed"
    assert [unit.name for unit in ann.must(wire.ListReply, wire.List(id="")).units] == ["c"]
    ann.must(wire.Ok, ann.want("bad", "x"))
    assert ann.status("bad").prerequisites_total == 1


def test_an_impatient_request_that_cannot_be_answered(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """It gets an error; the others are answered as ever."""
    bob.waits_to_start("bad", "x")
    ann.waits_to_start("ide", "x")
    real = replies.start

    def start(request: wire.Start, *args: Any) -> wire.AnyReply:
        if request.unit == "bad":
            raise Broken
        return real(request, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies, "start", start)
        driven.pass_time(31)
    assert defects(driven) == [Broken]
    assert isinstance(ann.told(), wire.Waiting)
    error = bob.told()
    assert isinstance(error, wire.Error)
    assert error.code == "internal"
    assert driven.supervisor.next_deadline() is None


def test_an_owner_that_ends_and_breaks_something(driven: Driven, ann: Script, bob: Script) -> None:
    """What cannot be done about one of its units does not keep it from the others."""
    ann.runs("bad")
    ann.runs("good")
    bob.waits_for("good")
    with broken("bad"):
        driven.die(ann.owner)
    assert defects(driven) == [Broken]
    assert isinstance(bob.told(), wire.Error)
    assert bob.status("good").status is Status.FAILED
    assert bob.status("bad").status is Status.STARTED
    # Who comes next finds out again.
    bob.runs("bad")


def test_what_others_were_to_hear_of_a_turn_that_broke_is_not_delivered_later(
    driven: Driven, ann: Script
) -> None:
    """bad is the first to hear; the others' mail is still on its way then."""
    for unit in ("bad", "a", "b"):
        ann.must(wire.Ok, ann.want(unit, "p"))
    ann.runs("p")
    with broken("bad", PrerequisiteMoved):
        ann.refused("internal", ann.complete("p"))
    ann.must(wire.Ok, ann.want("other", "q"))
    ann.must(wire.Ok, ann.unwant("other", "q"))
    assert defects(driven) == [Broken]
    assert ann.status("a").status is Status.PENDING
    ann.refused("not_ready", ann.start("a", wait=False))
    ann.ends("p")
    ann.runs("a")
    ann.runs("b")


def test_a_unit_whose_registration_broke_has_not_appeared(driven: Driven, ann: Script) -> None:
    """The first that waits for its pattern had heard of it by then."""
    for unit in ("ide", "bad"):
        ann.must(wire.Ok, ann.want(unit, "git.*"))
    with broken("bad", PrerequisiteMoved):
        ann.refused("internal", ann.want("git.a"))
    assert defects(driven) == [Broken]
    ann.must(wire.Ok, ann.want("git.b"))
    for unit in ("ide", "bad"):
        edges = [edge.name for edge in ann.status(unit).prerequisites]
        assert edges == ["git.*", "git.b"]


def test_a_registration_leaves_no_mail(driven: Driven, ann: Script) -> None:
    ann.must(wire.Ok, ann.want("ide", "git.*"))
    registry = driven.supervisor.handlers.registry
    driven.supervisor.handlers.declarations.register("git.a", driven.at)
    assert registry.units["ide"].mailbox is None
    assert registry.units["ide"].unit.outstanding == 1


def declare(script: Script, unit: str, *prerequisites: str) -> wire.Declare:
    return wire.Declare(id="d", units=[wire.Declaration(unit, list(prerequisites))])


@pytest.mark.parametrize(
    ("code", "request_of"),
    [
        ("cycle", lambda s: s.gate("a", "pending", "dependent")),
        ("contradiction", lambda s: s.gate("a", "pending", "met")),
        ("contradiction", lambda s: s.want("a", "pending", "met")),
        ("invalid_name", lambda s: s.want("a", "pending", "no name")),
        ("invalid_name", lambda s: s.start("a", "pending", "no name")),
        ("invalid_name", lambda s: declare(s, "a", "pending", "no name")),
        ("invalid_name", lambda s: declare(s, "[a]", "pending", "no name")),
        ("limit_reached", lambda s: s.want("b-new")),
    ],
)
def test_what_others_were_to_hear_of_a_refused_declaration_is_not_delivered_later(
    code: str, request_of: Callable[[Script], wire.AnyRequest]
) -> None:
    """a would count the prerequisite and never be ready."""
    driven = Driven(limits=Limits(edges=5))
    ann = driven.script("ann.sh")
    ann.must(wire.Ok, ann.want("pending"))
    ann.does("met")
    ann.must(wire.Ok, ann.want("a", "met", requires=wire.Requirement.START))
    ann.must(wire.Ok, ann.want("dependent", "a"))
    for unit in ("a", "last") if code == "limit_reached" else ():
        ann.must(wire.Ok, ann.want(unit, "b-*", optional=True))
    ann.refused(code, request_of(ann))
    assert ann.status("a").gate is False
    ann.does("other")
    ann.runs("a")
    check_sound(driven.supervisor.handlers.registry)


def test_each_who_watches_is_told_of_changes_until_he_stops() -> None:
    undo = UndoLog()
    told: dict[str, list[str]] = {"one": [], "other": []}
    undo.touch("a")
    for number, (who, watches) in enumerate(
        (("one", True), ("other", True), ("one", True), ("one", False), ("other", False))
    ):
        undo.watch(who, told[who].append if watches else None)
        undo.touch(f"b{number}")
    assert told == {"one": ["b0", "b1", "b2"], "other": ["b1", "b2", "b3"]}


class Busy:
    """A coordinator with some of everything, on a store of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.driven = driven = Driven(store=self.store, job=LonelyJob(expected=2))
        self.ann, self.bob = ann, bob = driven.script("ann.sh"), driven.script("bob.sh")
        ann.runs("clone")
        ann.launches("db")
        ann.does("done")
        ann.does("bad", exit_code=1)
        ann.must(wire.Ok, ann.want("ide", "clone"))
        ann.must(wire.Ok, ann.want("last", "git.*", "extra.*"))
        ann.must(wire.Ok, ann.want("git.a", "done"))
        ann.must(wire.Ok, ann.want("git.c", "last"))
        ann.must(wire.Ok, ann.put_before("git.*", "setup", wire.Requirement.SUCCESS, False))
        ann.must(wire.Ok, ann.want("git.a", "more"))
        ann.must(wire.Ok, ann.want("git.d"))
        ann.must(wire.Ok, ann.gate("gate", "done", "clone"))
        ann.must(wire.Ok, ann.gate("some", "git.*", "clone", count=3))
        ann.must(wire.Ok, ann.want("train", "data@h1", "ready@*"))
        driven.hear(("data@h1", Condition.STARTED), ("ready@h1", Condition.COMPLETED))
        self.held = bob.waits_to_start("ide", "deps", "extra.*")
        other = driven.script()
        other.waits_to_start("ide", "pending")
        bob.told()
        assert bob.ask(self.held) is None
        for names in (["clone", "late.*"], ["data@h1"], ["never"]):
            driven.script().waits_for(*names)
        driven.script().waits_for("late.*", "db", any=True)

    def begin(self, what: Callable[[Busy], Any]) -> None:
        """Do it, as a part of a turn that goes on."""
        supervisor = self.driven.supervisor
        supervisor.begin_turn(self.driven.now, self.driven.at)
        done = what(self)
        if isinstance(done, wire.Request):
            supervisor._one(self.ann.peer, done)
            return
        done(supervisor.handlers)
        supervisor.handlers.registry.complete_gates()
        supervisor.handlers.answer_waiters()


WHATEVER: dict[str, Callable[[Busy], Any]] = {
    "a unit": lambda b: b.ann.want("new"),
    "an edge": lambda b: b.ann.want("done", "clone"),
    "an edge that raises": lambda b: b.ann.want("clone", "git.c"),
    "an edge that is needed otherwise": lambda b: b.ann.start("last", "git.a"),
    "an edge that makes another give way": lambda b: b.ann.want("git.a", "last"),
    "an edge that is left out": lambda b: b.ann.want("train", "tr*", "*"),
    "an edge to a unit elsewhere": lambda b: b.ann.want("ide", "new@h1", "new@*:3"),
    "edges by a pattern": lambda b: b.ann.want("train", "git.*", "no.*"),
    "edges before a pattern": lambda b: wire.Declare(
        id="d", units=[wire.Declaration("[gd]*", ["first"])]
    ),
    "a unit that patterns match": lambda b: b.ann.want("git.b"),
    "a unit that a start waits for": lambda b: b.ann.want("extra.a"),
    "a unit that waits wait for": lambda b: b.ann.want("late.a"),
    "no edge": lambda b: b.ann.unwant("ide", "clone"),
    "no edge of a start": lambda b: b.ann.unwant("ide", "deps"),
    "no edge elsewhere": lambda b: b.ann.unwant("train", "data@h1", "ready@*"),
    "no pattern": lambda b: b.ann.unwant("last", "git.*"),
    "no edges before a pattern": lambda b: b.ann.unwant("git.*", "setup"),
    "no edge of a gate": lambda b: b.ann.unwant("gate", "clone"),
    "a gate": lambda b: b.ann.gate("ide", "done"),
    "a gate of a pattern": lambda b: b.ann.gate("new", "git.*", count=2),
    "more for a gate": lambda b: b.ann.gate("gate", "bad"),
    "a start": lambda b: b.ann.start("done"),
    "a start that has to wait": lambda b: b.ann.start("new", "ide", "no.*", patience_s=30.0),
    "a start that is refused": lambda b: b.bob.start("clone"),
    "a start that cannot be": lambda b: b.ann.start("done", "gate", "gate", "done"),
    "a start that waits no longer": lambda b: b.ann.withdraw(b.held),
    "a launch": lambda b: b.ann.start("done", launching=True),
    "readiness": lambda b: b.ann.ready("db"),
    "a note": lambda b: b.ann.note("clone", "42 %"),
    "another try": lambda b: b.ann.retry("db", "exit status 1"),
    "an end": lambda b: b.ann.complete("clone"),
    "a failure": lambda b: b.ann.complete("clone", 1),
    "a reset": lambda b: b.ann.reset("done", "bad"),
    "a reset of what runs": lambda b: b.ann.reset("clone", force=True),
    "a wait": lambda b: b.ann.wait("new", "no.*", "late.*", "any@h1", patience_s=30.0),
    "news": lambda b: partial(Handlers.hear, name="data@h1", heard=Heard(0.0, Condition.COMPLETED)),
    "news of another host": lambda b: partial(
        Handlers.hear, name="ready@h2", heard=Heard(0.0, Condition.COMPLETED)
    ),
    "the end of an owner": lambda b: partial(
        Handlers.owner_gone,
        name="clone",
        key=b.ann.owner.key,  # type: ignore[union-attr]
    ),
    "a run of the job": lambda b: partial(Handlers.join_job, job="job", run="run 2"),
    "the end of a host": lambda b: (
        lambda handlers: handlers.remote_waits.end_of_hosts({"h1": "it is silent"})
    ),
}


@pytest.mark.parametrize("what", WHATEVER.values(), ids=WHATEVER)
def test_whatever_is_undone_has_not_been(what: Callable[[Busy], Any]) -> None:
    """With what only shows later, such as levels, counts and subscriptions."""
    busy = Busy()
    was = snapshot(busy.driven)
    busy.begin(what)
    assert snapshot(busy.driven) != was
    busy.driven.supervisor._undo()
    assert snapshot(busy.driven) == was
    assert busy.driven.defects == []


@pytest.mark.parametrize("what", WHATEVER.values(), ids=WHATEVER)
def test_a_snapshot_that_is_being_taken_is_of_before_it(what: Callable[[Busy], Any]) -> None:
    """And it leads with the records after it to what there is, as all records do."""
    busy = Busy()
    supervisor, store = busy.driven.supervisor, busy.store
    registry = supervisor.handlers.registry
    before, seq = take_snapshot(registry, store.next_seq), store.next_seq
    slow = SnapshotTaker(registry, seq, step=1)
    for _ in range(2):
        busy.begin(what)
        supervisor.end_turn()
    while not slow.go_on():
        pass
    assert slow.snapshot == before
    noted = dict(slow.before)
    busy.begin(lambda b: b.ann.want("later", "last"))
    supervisor.end_turn()
    assert slow.before == noted, "it is complete"
    assert busy.driven.defects == []
    check_sound(registry)
    for found in (None, slow.snapshot, take_snapshot(registry, store.next_seq)):
        again = rebuild(store, store.epochs()[-1], found, Limits())
        again.join(LonelyJob(expected=2), busy.driven.at)
        assert state(again) == state(registry)


def test_an_end_that_breaks_those_behind_it_has_not_been(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """Neither for the unit whose owner has ended, nor in what is kept of it."""
    ann.runs("clone")
    ann.must(wire.Ok, ann.want("bad", "clone"))
    bob.waits_for("clone")
    before = snapshot(driven)
    with broken("bad", PrerequisiteMoved):
        driven.die(ann.owner)
    assert defects(driven) == [Broken]
    assert snapshot(driven) == before
    assert bob.told() is None
    driven.script("cat.sh").runs("clone")  # who comes next finds out again


def test_the_story_of_a_defect_is_told(driven: Driven, ann: Script) -> None:
    ann.runs("bad")
    ann.ends("bad", 3)
    with broken("bad"):
        ann.refused("internal", ann.start("bad"))
    ((what, _),) = driven.defects
    assert "Start(unit='bad'" in what
    assert "exit status 3" in what


def test_a_turn_goes_on_after_a_defect_outside_of_its_requests(
    driven: Driven, ann: Script, bob: Script
) -> None:
    """Those before it get an error, and nothing that they did is left; those after it are
    answered as ever."""
    with broken("bad"), pytest.MonkeyPatch.context() as patch:
        undo = driven.supervisor._undo
        failing = lambda *savepoint: 1 / 0 if savepoint else undo()  # noqa: E731
        patch.setattr(driven.supervisor, "_undo", failing)
        driven.turn((ann, ann.want("a")), (bob, bob.want("bad")), (bob, bob.want("c")))
    assert defects(driven) == [ZeroDivisionError]
    assert [type(reply) for reply in ann.inbox] == [wire.Error]
    assert [type(reply) for reply in bob.inbox] == [wire.Error, wire.Ok]
    ann.inbox.clear()
    bob.inbox.clear()
    assert [unit.name for unit in ann.must(wire.ListReply, wire.List(id="")).units] == ["c"]
