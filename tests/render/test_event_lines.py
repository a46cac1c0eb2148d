"""Events as lines: for people, and as JSON that can be read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unitsync.startup.analysis.events import Event
from unitsync.startup.render.events import json_line, parsed, text_line
from unitsync.wire import Requirement


def event(kind: Any, unit: str = "a", **more: Any) -> Event:
    return Event(seq=7, event=kind, at=5.0, wall=9.5, unit=unit, **more)


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (event("startup", "", by_reset=True), "everything was reset"),
        (event("startup", ""), "a startup begins"),
        (event("gap", ""), "events up to this one are no longer kept"),
        (event("gate", count=2), "a is a gate that needs 2 of its prerequisites"),
        (event("gate"), "a is a gate"),
        (event("declared", prerequisite="b"), "a waits for b"),
        (
            event("declared", prerequisite="b", requires=Requirement.START, optional=True),
            "a waits for b (its start), if it is registered",
        ),
        (event("declared", pattern="b*"), "a waits for all 'b*'"),
        (event("declared", "", before="b*", prerequisite="c"), "what matches 'b*' waits for c"),
        (event("undeclared", prerequisite="b"), "a no longer waits for b"),
        (event("denied", outcome="timed out", reason="no b"), "a is not started: timed out: no b"),
        (event("started", launching=True), "a is launching"),
        (event("retried", reason="exit 1"), "a failed and is tried again: exit 1"),
        (event("note", text="40 %"), "a: 40 %"),
        (event("note"), "a has no note any more"),
        (event("owner gone"), "a lost its script"),
        (event("reset", "\x1b"), "\\x1b was reset"),
    ],
)
def test_what_is_said(happened: Event, said: str) -> None:
    number, _, text = text_line(happened).strip().partition("  ")
    assert (number, text.partition("  ")[2]) == ("7", said)
    assert parsed(json_line(happened)) == happened


def test_the_version_and_the_place_come_first() -> None:
    fields = json.loads(json_line(event("skipped", part=2)))
    assert list(fields)[:3] == ["v", "seq", "part"]
    with pytest.raises(ValueError, match="it has version 2 of the events, and this reads 1"):
        parsed(json.dumps(fields | {"v": 2}))
