"""The bus: who is told what, exactly once, however late they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.needs import OPTIONAL_SUCCESS, START, SUCCESS
from unitsyncd.actors.actor import Actor, Dispatcher
from unitsyncd.actors.bus import Bus
from unitsyncd.core.events import PrerequisiteMoved
from unitsyncd.core.requirement import NEEDS, Condition, Need, Verdict
from unitsyncd.core.undo import UndoLog

MET, OUT, BLOCKED = Verdict.MET, Verdict.OUTSTANDING, Verdict.BLOCKED
C = Condition


class Subscriber(Actor):
    """Keeps what it was told, and the verdict that it follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Verdict, Verdict]] = []
        self.verdict = MET

    def receive(self, message: PrerequisiteMoved) -> None:
        assert message.before is self.verdict, "a fact was missed or told twice"
        assert message.before is not message.after
        self.told.append((message.before, message.after))
        self.verdict = message.after


class Setting:
    def __init__(self) -> None:
        self.dispatcher = Dispatcher()
        self.undo = UndoLog()
        self.bus = Bus(self.dispatcher, self.undo)
        self._clock = itertools.count(1.0)

    def subscriber(self, topic: str = "t", need: Need = SUCCESS) -> Subscriber:
        actor = Subscriber()
        self.bus.subscribe(actor, topic, need, next(self._clock))
        self.dispatcher.run()
        return actor

    def publish(self, condition: Condition, topic: str = "t") -> None:
        self.bus.publish(topic, condition, next(self._clock))
        self.dispatcher.run()

    def leave(self, actor: Subscriber, topic: str = "t") -> None:
        self.bus.unsubscribe(actor, topic, next(self._clock))
        self.dispatcher.run()


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_each_subscriber_is_told_once(setting: Setting) -> None:
    actors = [setting.subscriber() for _ in range(3)]
    other = setting.subscriber("another")
    setting.publish(C.PENDING)
    setting.publish(C.STARTED)
    setting.publish(C.COMPLETED)
    assert all(actor.told == [(MET, OUT), (OUT, MET)] for actor in actors)
    assert other.told == [(MET, OUT)]


def test_what_makes_no_difference_is_not_told(setting: Setting) -> None:
    needs_start = setting.subscriber(need=START)
    for condition in (C.PENDING, C.STARTED, C.COMPLETED, C.STARTED, C.FAILED):
        setting.publish(condition)
    assert needs_start.told == [(MET, OUT), (OUT, MET)]


@pytest.mark.parametrize("condition", Condition)
def test_who_comes_late_is_told_how_things_stand(condition: Condition) -> None:
    for need in NEEDS:
        setting = Setting()
        if condition is not C.NOT_REGISTERED:
            setting.publish(condition)
        late = setting.subscriber(need=need)
        assert late.verdict is need.verdicts[condition], need
        assert len(late.told) == (late.verdict is not MET), need


@pytest.mark.parametrize("condition", Condition)
def test_who_leaves_has_it_taken_back(condition: Condition) -> None:
    for need in NEEDS:
        setting = Setting()
        actor = setting.subscriber(need=need)
        if condition is not C.NOT_REGISTERED:
            setting.publish(condition)
        setting.leave(actor)
        assert actor.verdict is MET, need
        assert setting.bus.subscribers("t") == []
        count = len(actor.told)
        setting.publish(C.FAILED if condition is not C.FAILED else C.STARTED)
        assert len(actor.told) == count, need


def test_who_leaves_quietly_is_told_nothing(setting: Setting) -> None:
    actor, stays = setting.subscriber(), setting.subscriber()
    assert setting.bus.leave(actor, "t") is SUCCESS
    setting.publish(C.COMPLETED)
    assert actor.told == [(MET, OUT)]
    assert stays.told == [(MET, OUT), (OUT, MET)]


def test_a_topic_needs_no_publisher(setting: Setting) -> None:
    assert setting.bus.condition("never heard of") is C.NOT_REGISTERED
    assert setting.subscriber("never heard of").verdict is OUT
    assert setting.subscriber("never heard of", OPTIONAL_SUCCESS).verdict is MET


def test_one_actor_on_many_topics(setting: Setting) -> None:
    class Counter(Subscriber):
        def receive(self, message: PrerequisiteMoved) -> None:
            self.told.append((message.before, message.after))

    actor = Counter()
    for topic in "abc":
        setting.bus.subscribe(actor, topic, SUCCESS, 1.0)
    setting.dispatcher.run()
    for topic in "abc":
        setting.publish(C.COMPLETED, topic)
    assert actor.told == [(MET, OUT)] * 3 + [(OUT, MET)] * 3


def test_a_publication_from_within_a_step(setting: Setting) -> None:
    """As units do it: told of their prerequisite, they publish themselves."""

    class Relay(Subscriber):
        def receive(self, message: PrerequisiteMoved) -> None:
            super().receive(message)
            after = C.SKIPPED if message.after is BLOCKED else C.PENDING
            setting.bus.publish("relay", after, message.at)

    relay = Relay()
    setting.bus.subscribe(relay, "t", SUCCESS, 1.0)
    setting.dispatcher.run()
    last = setting.subscriber("relay")
    setting.publish(C.FAILED)
    assert (relay.verdict, last.verdict) == (BLOCKED, BLOCKED)
    setting.publish(C.PENDING)
    assert (relay.verdict, last.verdict) == (OUT, OUT)


# --- taken back -------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("ab"), st.sampled_from(list(Condition)[1:])),
        st.tuples(st.just("subscribe"), st.sampled_from("ab"), st.sampled_from(NEEDS)),
        st.tuples(st.just("unsubscribe"), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.sampled_from("ab"), st.integers(0, 3)),
    ),
    max_size=25,
)


def replayed(setting: Setting, steps: list[tuple[str, str, object]]) -> Iterator[Subscriber]:
    for kind, topic, what in steps:
        match kind, what:
            case "publish", Condition():
                if setting.bus.condition(topic) is not what:
                    setting.publish(what, topic)
            case "subscribe", Need():
                yield setting.subscriber(topic, what)
            case _, int():
                there = setting.bus.subscribers(topic)
                if there:
                    actor = there[what % len(there)]
                    assert isinstance(actor, Subscriber)
                    if kind == "leave":
                        setting.bus.leave(actor, topic)
                    else:
                        setting.leave(actor, topic)


@given(kept=STEPS, taken_back=STEPS)
def test_whatever_was_done_can_be_taken_back(
    kept: list[tuple[str, str, object]], taken_back: list[tuple[str, str, object]]
) -> None:
    setting = Setting()
    actors = list(replayed(setting, kept))

    def state() -> object:
        return [
            (topic, setting.bus.condition(topic), set(setting.bus.subscribers(topic)))
            for topic in "ab"
        ]

    before, mark = state(), setting.undo.savepoint()
    verdicts = [actor.verdict for actor in actors]
    list(replayed(setting, taken_back))
    setting.undo.rollback(mark)
    assert state() == before
    for actor, verdict in zip(actors, verdicts, strict=True):
        actor.verdict = verdict  # hosts put their own state back
    for topic in "ab":
        if setting.bus.condition(topic) is not C.COMPLETED:
            setting.publish(C.COMPLETED, topic)
        for there in setting.bus.subscribers(topic):
            assert isinstance(there, Subscriber)
            assert there.verdict is MET
    setting.undo.rollback()
    assert all(setting.bus.condition(topic) is C.NOT_REGISTERED for topic in "ab")
