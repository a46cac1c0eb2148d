"""The page about events: its kinds and fields are those of the program, and what the verb prints is
what the JSON Schema describes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import fastjsonschema
import pytest

import docpages as pages
from faults.places import UNITSYNC, clean_environment
from unitsync import Client
from unitsync.startup.analysis.events import Event, Kind
from unitsync.startup.render.events import json_line, parsed
from unitsync.testing import throwaway_coordinator
from unitsyncd.core.events import Denial

PAGE = pages.read("reference/events.md")
SCHEMA = pages.DOCS / "reference" / "events.schema.json"
CONFORMS = fastjsonschema.compile(json.loads(SCHEMA.read_text()), use_default=False)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Of a startup in which everything happens that a client can bring about."""
    with throwaway_coordinator() as address, Client(address) as sync:
        sync.want("ide", "clone", "deps*", requires="completion", optional=True)
        sync.declare({"db*": ["net"]})
        sync.want("db1")
        sync.gate("usable", "ide", "clone", count=2)
        sync.want("ide2", "clone")
        sync.start("clone", launching=True)
        sync.ready("clone")
        sync.note("clone", "\u202ehalf \u00fc")
        sync.retry("clone", "again")
        sync.fail("clone", "no \u202e good \x1b[1m")
        sync.start("clone")
        sync.reset("clone", force=True)
        sync.unwant("ide", "clone")
        sync.reset(all=True, force=True)
        sync.want("late")
        command = [*UNITSYNC, "events", "--output", "json"]
        environment = clean_environment() | {"UNITSYNC_ENDPOINT": address}
        return subprocess.check_output(command, env=environment, text=True).splitlines()


def test_what_the_verb_prints_is_what_the_schema_says(lines: list[str]) -> None:
    assert len(lines) > 20
    for line in lines:
        assert line.isprintable()
        CONFORMS(json.loads(line))
    seen = {json.loads(line)["event"] for line in lines}
    never = {"denied", "left out", "owner gone", "gap", "heard", "joined"}
    assert seen == {*get_args(Kind)} - never
    assert [json.loads(line)["seq"] for line in lines if '"part"' not in line] == list(
        range(1, json.loads(lines[-1])["seq"] + 1)
    )


def test_a_line_is_read_as_the_event_that_it_was_made_of(lines: list[str]) -> None:
    for line in lines:
        assert json_line(parsed(line)) == line


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"event": "unheard of"}, {"seq": "1"}, {"at": None}, {"time": 3}]
)
def test_the_schema_refuses_what_no_event_is(lines: list[str], change: dict[str, Any]) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException):
        CONFORMS(json.loads(lines[0]) | change)


def test_the_sample_on_the_page_is_an_event() -> None:
    (sample,) = [
        block.text
        for block in pages.blocks(pages.DOCS / "reference" / "events.md")
        if block.language == "json"
    ]
    CONFORMS(json.loads(sample))
    event = parsed(sample)
    assert list(json.loads(json_line(event))) == list(json.loads(sample))


def test_the_kinds_on_the_page_are_all_there_are(lines: list[str]) -> None:
    rows = pages.rows(pages.sections(PAGE, 2)["Kinds of events"])
    shown = {pages.code(row[0])[0]: set(pages.code(row[2])) for row in rows}
    assert shown.keys() == set(get_args(Kind))
    for fields in shown.values():
        assert fields <= set(Event.__struct_fields__)
    always = {"v", "seq", "event", "at", "wall", "time", "part"}
    for line in lines:
        event = json.loads(line)
        assert event.keys() - always <= shown[event["event"]], event
    outcomes = next(row[1] for row in rows if pages.code(row[0]) == ["denied"])
    for denial in Denial:
        outcome = "waiting" if denial is Denial.WAITING else denial.value
        assert f"`{outcome}`" in outcomes


def test_files_that_the_page_links_are_there() -> None:
    assert f"[{SCHEMA.name}]({SCHEMA.name})" in PAGE
    assert Path(SCHEMA).exists()
