"""The fixed bounds on the page of limits are those of the program; and the two that nobody
meets by chance hold as the page has them."""

from __future__ import annotations

import itertools
import re

import pytest

import docpages as pages
from support.driver import Driven, Script
from unitsync import wire
from unitsync.importing import coder_folder, coder_order, compose, draft, hcl_values
from unitsync.link import by_hand as wire_by_hand
from unitsync.link import conversation, spawn_lock
from unitsync.logs import files as log_files
from unitsync.logs import pump as output_pump
from unitsync.logs import tail as log_tail
from unitsync.names import unit_names as names
from unitsync.owner import calling_script
from unitsync.plan import edges, expansion, model, reading
from unitsync.process import notifications, probes, supervision
from unitsync.run import notes as run_notes
from unitsync.run import supervised as supervised_run
from unitsync.startup.render import graph_svg, svg
from unitsync.up import display
from unitsync.up.runner import processes
from unitsync.web import changes, serving, startups, units
from unitsyncd.actors import actor
from unitsyncd.core import causes, similar, state, store, view, wording
from unitsyncd.metrics import responder
from unitsyncd.metrics import settings as metrics_settings
from unitsyncd.requests import declaring, followers, queries, supervisor
from unitsyncd.storage import stops
from unitsyncd.transport import connection_limit, router

MIB = 2**20
UNBOUNDED = "journal: what belongs to now"

FIXED: dict[str, tuple[float, ...]] = {
    "unit name": (names.NAME_BYTES_MAX,),
    "units named in one request": (wire.PREREQUISITES_PER_REQUEST_MAX,),
    "one message": (wire.MESSAGE_BYTES_MAX // MIB,),
    "parts of one message": (router.PARTS_PER_TURN,),
    "time from connecting to the end of the ZeroMQ handshake": (router.HANDSHAKE_MS / 1000,),
    "command line of an owner, text of a reason": (wire.TEXT_BYTES_MAX,),
    "text of a note": (wire.NOTE_CHARS_MAX,),
    "`id` of a request, name of a startup": (wire.TEXT_BYTES_MAX,),
    "text of `sh -c`": (calling_script._TEXT_MAX,),
    "history of a unit": (view.HISTORY_MAX,),
    "refused starters remembered per unit": (state.DENIALS_MAX,),
    "starts that were taken back which a unit remembers": (state.WITHDRAWN_MAX,),
    "requests to reset everything": (supervisor.RESETS_MAX,),
    "requests to stop": (stops.STOPS_MAX,),
    "edges taken back": (declaring.FORGONE_MAX,),
    "prerequisites named in a notice": (causes.SHOWN_MAX,),
    "prerequisites in the answer to `status`": (view.STATUS_MAX,),
    "lines for them in its text": (wording.EDGES_SHOWN,),
    "units of a cycle that the error spells out": (wording.CYCLE_SHOWN_MAX,),
    "nodes of a `why` tree": (view.TREE_NODES_MAX,),
    "depth of a `why` tree": (view.TREE_DEPTH_MAX,),
    "units, from a skipped one to the cause": (causes.PATH_MAX,),
    "depth of one root-cause search": (causes.DOWN_MAX,),
    "units on a page of `list`": (queries.LIST_PAGE_MAX,),
    "time that a waiting request is held back": (wire.WAITING_PATIENCE_S,),
    "open files of the coordinator": (connection_limit.OWN_FILES,),
    "time that a request has that does not wait": (conversation.REQUEST_PATIENCE_S,),
    "time that such a request waits": (conversation.REPLY_SLACK_S * conversation.OVERDUE_MAX,),
    "time that `run` and a block of the clients try": (conversation.REQUEST_PATIENCE_S,),
    "time that one attempt to start a coordinator may take": (spawn_lock.START_PATIENCE_S,),
    "time beyond `--timeout`": (conversation.OVERTIME_S,),
    "path of the socket": (wire_by_hand.PATH_BYTES_MAX,),
    "units among which a similar name is looked for": (similar.UNITS_MAX,),
    "names compared for that": (similar.COMPARED_MAX,),
    "replies that a client does not read": (router.REPLIES_QUEUED_MAX, 256, 1),
    "notifications queued for one unit": (actor.MAILBOX_MAX,),
    "log file": (5,),
    "plan file, or a file of variables": (reading.FILE_BYTES_MAX // MIB,),
    "units of a plan": (model.UNITS_MAX,),
    "edges that patterns in a plan stand for": (expansion.EDGES_MAX,),
    "includes of a plan": (model.FILES_MAX, model.DEPTH_MAX),
    "retries of a unit; units of a plan at the same time": (supervision.RETRIES_MAX,),
    "durations in a plan": (),
    "file that `import` reads": (draft.TEXT_BYTES_MAX,),
    "scripts of a template": (hcl_values.ITEMS_MAX, coder_folder.DEPTH_MAX, coder_order.EDGES_MAX),
    "values of a compose file": (compose.NODES_MAX,),
    "lines of a failed unit in the summary": (processes.LAST_LINES, processes.LINE_BYTES_MAX),
    "line of output that `up` prints": (display._LINE_BYTES_MAX,),
    "cycles that `check` reports at once": (edges.CYCLES_MAX,),
    "names compared to suggest others": (edges.COMPARED_MAX,),
    "requests for events of one client": (followers.OF_CLIENT_MAX,),
    "units that [metrics]": (metrics_settings.PER_UNIT_MAX,),
    "clients that ask for metrics": (responder.CLIENTS_MAX,),
    "one request for metrics": (responder.REQUEST_BYTES_MAX // 1024, responder.EXCHANGE_S),
    "pages that follow one": (changes.FOLLOWERS_MAX,),
    "connections of one `unitsync web`": (serving.CONNECTIONS_MAX, serving.BEGIN_S),
    "units that its page shows": (startups.UNITS_MAX,),
    "units in a picture": (svg.UNITS_MOST, graph_svg.UNITS_MOST),
    "output of a unit that its page shows": (log_tail.BYTES_MAX // 1024, units.LOG_LINES_MAX),
    "records on a page of events": (followers.PAGE_BYTES // 1024, store.PART_RECORDS),
}
"""How the row begins, and the numbers in it."""


OF_RUN: dict[str, float] = {
    "one log file": log_files.LOG_BYTES / 1_000_000,
    "runs of a unit": log_files.RUNS_KEPT,
    "startups of which": log_files.STARTUPS_KEPT,
    "output that is not yet": output_pump._UNWRITTEN_S,
    "what the command says": notifications.DATAGRAM_BYTES_MAX,
    "notes that are sent": run_notes.EVERY_S,
    "output on its way": output_pump.PIPE_BYTES / MIB,
    "a line that has no end": output_pump.HELD_BYTES_MAX / 1024,
    "one try of a probe": probes.TRY_MAX_S,
    "the pause between": supervision.BACKOFF_MAX_S / 60,
    "tries": supervision.RETRIES_MAX,
    "time that the record": supervised_run._DRAIN_S,
}


def test_each_bound_of_run_is_the_programs() -> None:
    text = pages.read("reference/limits.md").partition("## What `run` does")[2].split("\n## ")[0]
    found = pages.rows(text)
    assert len(found) == len(OF_RUN)
    for what, number in OF_RUN.items():
        (row,) = [row for row in found if row[0].startswith(what)]
        assert f"{number:,g}" in row[1].replace("1,000,000", "1e+06"), row


def rows() -> list[list[str]]:
    return pages.rows(pages.read("reference/limits.md").partition("Fixed:")[2].split("\n## ")[0])


def test_each_fixed_limit_is_the_programs() -> None:
    found = rows()
    for what, numbers in FIXED.items():
        (row,) = [row for row in found if row[0].startswith(what)]
        found.remove(row)
        shown = re.findall(r"\d[\d,]*", " ".join(row[1:]))
        assert {f"{int(number):,}" for number in numbers} <= {each.strip(",") for each in shown}, (
            row
        )
    assert [row[0] for row in found] == [UNBOUNDED]


@pytest.fixture
def chain(script: Script) -> list[str]:
    """Units each of which waits for the next, more of them than ``why`` goes down."""
    names = [f"u{number}" for number in range(100)]
    for unit, prerequisite in itertools.pairwise(names):
        script.must(wire.Ok, script.want(unit, prerequisite))
    return names


@pytest.fixture
def script() -> Script:
    return Driven().script()


def test_the_depth_of_why_is_that_of_the_page(script: Script, chain: list[str]) -> None:
    """60 below the unit that is asked about, and what is left out is counted."""
    node = script.must(wire.WhyReply, wire.Why(id="", unit=chain[0])).tree
    nodes = []
    while node is not None:
        nodes.append(node)
        node = next(iter(node.because), None)
    assert [node.unit.name for node in nodes] == chain[: view.TREE_DEPTH_MAX + 1]
    assert [node.more for node in nodes] == [0] * view.TREE_DEPTH_MAX + [1]


@pytest.mark.parametrize("units", [causes.PATH_MAX, causes.PATH_MAX + 1, 100])
def test_the_path_of_a_skip_is_that_of_the_page(
    script: Script, chain: list[str], units: int
) -> None:
    """So many units are spelt out; of more, the error has the first ones and the cause."""
    path = chain[-units:]
    script.runs(path[-1])
    script.ends(path[-1], 1)
    skipped = script.refused("skipped", script.start(path[0]))
    assert skipped.details["path"] == [*path[:-1][: causes.PATH_MAX], path[-1]]
    spelt_out = " → ".join(path) in skipped.message
    assert spelt_out is (units <= causes.PATH_MAX), skipped.message
    assert path[-1] in skipped.message
