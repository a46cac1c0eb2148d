"""Mailboxes and the dispatcher, alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from unitsyncd.actors import actor as module
from unitsyncd.actors.actor import Actor, Dispatcher, MailboxFull


class Noting(Actor):
    """Writes down what it gets, and passes on what it is told to pass on."""

    def __init__(self, name: str, dispatcher: Dispatcher, log: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.name = name
        self.dispatcher = dispatcher
        self.log = log
        self.onward: dict[Any, list[tuple[Actor, Any]]] = {}

    def receive(self, message: Any) -> None:
        self.log.append((self.name, message))
        for actor, further in self.onward.get(message, ()):
            self.dispatcher.tell(actor, further)
        if message == "raise":
            raise ZeroDivisionError


@pytest.fixture
def log() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


def test_nothing_happens_until_it_runs(dispatcher: Dispatcher, log: list[Any]) -> None:
    dispatcher.tell(Noting("a", dispatcher, log), 1)
    assert log == []
    dispatcher.run()
    assert log == [("a", 1)]
    dispatcher.run()
    assert log == [("a", 1)]


def test_each_actors_mail_comes_in_order(dispatcher: Dispatcher, log: list[Any]) -> None:
    a, b = Noting("a", dispatcher, log), Noting("b", dispatcher, log)
    for message in range(3):
        dispatcher.tell(a, message)
        dispatcher.tell(b, message)
    dispatcher.run()
    assert [message for name, message in log if name == "a"] == [0, 1, 2]
    assert [message for name, message in log if name == "b"] == [0, 1, 2]


def test_mail_that_is_sent_meanwhile_comes_too(dispatcher: Dispatcher, log: list[Any]) -> None:
    a, b = Noting("a", dispatcher, log), Noting("b", dispatcher, log)
    a.onward = {"ping": [(b, "pong"), (a, "again")]}
    b.onward = {"pong": [(a, "done")]}
    dispatcher.tell(a, "ping")
    dispatcher.tell(a, "second")
    dispatcher.run()
    assert log == [
        ("a", "ping"),
        ("a", "second"),
        ("b", "pong"),
        ("a", "again"),
        ("a", "done"),
    ]


def test_a_long_chain_needs_no_stack(dispatcher: Dispatcher, log: list[Any]) -> None:
    actors = [Noting(f"{i}", dispatcher, log) for i in range(20_000)]
    for actor, following in itertools.pairwise(actors):
        actor.onward = {"go": [(following, "go")]}
    dispatcher.tell(actors[0], "go")
    dispatcher.run()
    assert len(log) == len(actors)


def test_what_an_actor_raises_comes_out(dispatcher: Dispatcher, log: list[Any]) -> None:
    a, b = Noting("a", dispatcher, log), Noting("b", dispatcher, log)
    for actor, message in ((a, "raise"), (a, "lost"), (b, "dropped")):
        dispatcher.tell(actor, message)
    with pytest.raises(ZeroDivisionError):
        dispatcher.run()
    dispatcher.drop_mail()
    dispatcher.run()
    assert log == [("a", "raise")]
    dispatcher.tell(a, "fine")
    dispatcher.tell(b, "fine")
    dispatcher.run()
    assert log[1:] == [("a", "fine"), ("b", "fine")]


def test_a_mailbox_has_a_bound(
    dispatcher: Dispatcher, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAILBOX_MAX", 3)
    a = Noting("a", dispatcher, log)
    for message in range(3):
        dispatcher.tell(a, message)
    with pytest.raises(MailboxFull):
        dispatcher.tell(a, 3)
    dispatcher.run()
    assert [message for _, message in log] == [0, 1, 2]


def test_an_actor_without_behaviour_is_a_defect(dispatcher: Dispatcher) -> None:
    dispatcher.tell(Actor(), "anything")
    with pytest.raises(NotImplementedError):
        dispatcher.run()
