"""tests/golden/journal/format-1.db is a journal as coordinators of format 1 write it, with
every kind of fact that there was at first; format-1-requirements.db one with every kind of edge,
and a snapshot; format-1-launching.db one with launching runs and retries, and a snapshot;
format-1-gates.db one with gates, and a snapshot; format-1-notes.db one with notes, and a
snapshot; format-1-hosts.db one with units on other hosts, and a snapshot.

They must stay readable and lead to the units in the .json beside them. A break means: whoever
upgrades while a machine starts up loses the state of that startup; the scripts that
wait end with 69, and the others are refused until ``unitsync reset --all``. A new format
gets a file of its own beside this one, and reads both. Nothing writes these files anew
but their absence.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journal.driving import MACHINE, Driver, state
from support.jobs import LonelyJob
from support.snapshots import take_snapshot
from unitsync import wire
from unitsync.wire import OnOwnerExit, Owner, Requirement
from unitsyncd.actors.recovery import epochs_of, rebuild
from unitsyncd.actors.registry import Registry
from unitsyncd.core import events
from unitsyncd.core.fact_codec import NUMBERS
from unitsyncd.core.requirement import Condition
from unitsyncd.limits import Limits
from unitsyncd.storage.journal import FORMAT, Journal
from unitsyncd.storage.snapshots import Snapshots
from unitsyncd.storage.state_marker import StateMarker, read_marker

GOLDEN = Path(__file__).parent.parent / "golden" / "journal"
CLONE = Owner(321, 9876, 4026531836, "bash clone.sh")
IDE = Owner(322, 9877, 4026531836, "bash -c 'ide \u00fc'")
AWAY = Owner(7, 55, 4026532000, "sh", watched=False)


def work(driver: Driver) -> None:
    """Every kind of fact, with every field."""
    driver.want("before", "the", "reset")
    driver.ask(wire.Reset(id="reset-all", all=True))
    driver.want("ide", "git-clone", "deps")
    driver.want("ide", "network", requires=Requirement.START, optional=True)
    driver.want("report", "ide", requires=Requirement.COMPLETION)
    driver.want("\u00fcnit", "deps")
    driver.ask(wire.Unwant(id="u", unit="\u00fcnit", prerequisites=["deps"]))
    driver.start("deps", CLONE, id="deps-0", after=["ide"])
    driver.start("ide", IDE, id="ide-1")
    driver.start("git-clone", CLONE, id="clone-1")
    driver.start("git-clone", IDE, id="clone-2")
    driver.ask(wire.Fail(id="f", unit="git-clone", owner=CLONE, reason="exit status 128"))
    driver.start("ide", IDE, id="ide-2")
    driver.start("git-clone", CLONE, id="clone-3")
    driver.complete("git-clone", CLONE, id="clone-done")
    driver.start("deps", AWAY, id="deps-1", on_owner_exit=OnOwnerExit.WARN)
    driver.end_owner(AWAY)
    driver.complete("deps", id="deps-done")
    driver.start("ide", IDE, id="ide-3", on_owner_exit=OnOwnerExit.COMPLETE)
    driver.start("\u00fcnit", CLONE, id="unit-1")
    driver.ask(wire.Reset(id="one", units=["\u00fcnit"], force=True))
    driver.start("report", CLONE, id="report-1", last=True)
    driver.ask(wire.Withdraw(id="w", unit="report", start_id="report-1", owner=CLONE))
    driver.complete("never-started", exit_code=3)


def requirements(driver: Driver) -> None:
    """Every kind of edge, from ``want`` and from ``--after``."""
    for requires in Requirement:
        for optional in (False, True):
            name = f"{'optional-' * optional}{requires.value}"
            driver.want(f"wants-{name}", "clone", "deps", requires=requires, optional=optional)
            more = {"after": ["clone", "net"], "requires": requires, "optional": optional}
            driver.start(f"after-{name}", CLONE, **more)


def launching(driver: Driver) -> None:
    """Runs that launch and that are tried again, beside others."""
    driver.want("ide", "db", requires=Requirement.START)
    driver.want("deps")
    driver.start("db", CLONE, id="db-1", launching=True, on_owner_exit=OnOwnerExit.IGNORE)
    driver.ask(wire.MarkReady(id="db-ready", unit="db", owner=CLONE))
    driver.start("ide", IDE, id="ide-1")
    driver.ask(wire.Retry(id="ide-2", unit="ide", owner=IDE, reason="exit status 1"))
    driver.ask(wire.Retry(id="db-2", unit="db", owner=CLONE, reason="signal 9"))
    driver.complete("ide", IDE, id="ide-done")
    driver.start("cache", AWAY, id="cache-1", launching=True)
    driver.ask(wire.Fail(id="f", unit="cache", owner=AWAY, reason="not ready after 10m"))
    driver.start("web", AWAY, id="web-1", launching=True)
    driver.ask(wire.Retry(id="web-2", unit="web", owner=AWAY))
    driver.ask(wire.MarkReady(id="web-ready", unit="web", owner=AWAY))
    driver.end_owner(AWAY)


def gates(driver: Driver) -> None:
    """Gates of each kind: completed, skipped, waiting, reset, with prerequisites added and taken
    back before and after."""
    driver.ask(wire.Gate(id="g1", unit="usable", prerequisites=["deps", "ide"]))
    driver.ask(wire.Gate(id="g2", unit="two", prerequisites=["deps", "ide", "docs"], count=2))
    driver.ask(wire.Gate(id="g3", unit="over", prerequisites=["ide"], requires=Requirement.START))
    driver.want("login", "usable")
    driver.want("later", "docs", "site")
    driver.ask(wire.Gate(id="g4", unit="later"))
    driver.start("deps", CLONE, id="deps-1")
    driver.complete("deps", CLONE, id="deps-done")
    driver.start("docs", CLONE, id="docs-1")
    driver.ask(wire.Fail(id="f", unit="docs", owner=CLONE, reason="exit status 1"))
    driver.start("ide", IDE, id="ide-1")
    driver.ask(wire.Unwant(id="u", unit="two", prerequisites=["docs"]))
    driver.complete("ide", IDE, id="ide-done")
    driver.want("over", "docs")
    driver.ask(wire.Reset(id="r", units=["over"]))
    driver.ask(wire.Reset(id="r2", units=["two"]))


def patterns(driver: Driver) -> None:
    """Patterns of units, of starts, of gates and of all units that are to wait for one; what
    matches before and later, what is left out, and what is taken back."""
    driver.want("git.a", "net")
    driver.want("ide", "git.*", "git.a")
    driver.want("git.last", "git.*", requires=Requirement.COMPLETION, optional=True)
    driver.start("git.b", CLONE, id="b-1", after=["no.*", "git.b*"], optional=True)
    driver.ask(wire.Gate(id="g1", unit="enough", prerequisites=["git.*", "web-?"], count=2))
    before = [wire.Declaration("*", ["setup"]), wire.Declaration("git.*", ["net", "setup"])]
    driver.ask(wire.Declare(id="d", units=before))
    driver.want("git.c", "ide")
    driver.want("setup", "net")
    driver.complete("net")
    driver.complete("git.a")
    driver.start("ide", IDE, id="ide-1")
    driver.want("git.later")
    driver.ask(wire.Unwant(id="u1", unit="git.last", prerequisites=["git.*"]))
    driver.ask(wire.Unwant(id="u2", unit="git.*", prerequisites=["net"]))


def notes(driver: Driver) -> None:
    """Notes on units before, during and after their runs, taken back, and one that is kept."""
    driver.want("ide", "git-clone")
    driver.ask(wire.Note(id="n1", unit="ide", text="soon"))
    driver.start("git-clone", CLONE, id="clone-1")
    for number, text in enumerate(("cloning: 42 %", "cloning: 43 %", "cloning: 43 %", "\u00fc\n")):
        driver.ask(wire.Note(id=f"c{number}", unit="git-clone", owner=CLONE, text=text))
    driver.ask(wire.Fail(id="f", unit="git-clone", owner=CLONE, reason="exit status 128"))
    driver.ask(wire.Note(id="n2", unit="git-clone", text="too late"))
    driver.start("deps", CLONE, id="deps-1", launching=True)
    driver.ask(wire.Note(id="n3", unit="deps", owner=CLONE, text="x" * 500, run=1))
    driver.start("net", IDE, id="net-1")
    driver.ask(wire.Note(id="n4", unit="net", owner=IDE, text="dhcp"))
    driver.ask(wire.Note(id="n5", unit="net", owner=IDE, text=""))
    driver.start("again", IDE, id="again-1")
    driver.ask(wire.Note(id="n6", unit="again", owner=IDE, text="first"))
    driver.ask(wire.Retry(id="again-2", unit="again", owner=IDE, reason="exit status 1"))


def hosts(driver: Driver) -> None:
    """Units on other hosts, in every condition, heard of before and after somebody waits."""
    driver.join("run-1")
    driver.hear("early@h1", Condition.COMPLETED, run=1, since=5.0, epoch="e1")
    driver.want("train", "early@h1", "data@h1", "ready@*:2", requires=Requirement.START)
    driver.want("then", "train")
    driver.want("never", "silent@h9")
    driver.hear("ready@h1", Condition.STARTED, run=2, since=6.5, pid=811, command="./fetch.sh")
    driver.hear("ready@h2", Condition.UNKNOWN)
    driver.hear("data@h1", Condition.FAILED, run=1, reason="exit status 3")
    driver.start("late", CLONE, id="late-1", after=["data@h1"])
    driver.hear("ready@h2", Condition.COMPLETED, run=1)


WORK = {
    f"format-{FORMAT}": work,
    f"format-{FORMAT}-requirements": requirements,
    f"format-{FORMAT}-launching": launching,
    f"format-{FORMAT}-gates": gates,
    f"format-{FORMAT}-patterns": patterns,
    f"format-{FORMAT}-notes": notes,
    f"format-{FORMAT}-hosts": hosts,
}


def shown(registry: Registry) -> Any:
    """As JSON has it."""
    found = state(registry)
    entries = {
        "epoch": found["epoch"],
        "units": {unit.name: msgspec.structs.asdict(unit) for unit in found["units"]},
        "edges": {name: dict(edges) for name, edges in found["edges"].items()},
        "history": found["history"],
        "heard": found["heard"],
        "run of the job": found["run of the job"],
        "owners": sorted(found["owners"]),
    }
    return json.loads(json.dumps(msgspec.to_builtins(entries, enc_hook=NUMBERS.__getitem__)))


def read(path: Path) -> Registry:
    with closing(Journal(str(path))) as journal:
        return rebuild(journal, epochs_of(journal, MACHINE)[-1], None, Limits())


def make(file: Path, do: Callable[[Driver], None]) -> None:
    """The journal *file* after *do*, what is in it beside it, and a snapshot."""
    with closing(Journal(str(file))) as journal:
        driver = Driver(journal, job=LonelyJob())
        do(driver)
        snapshots = Snapshots(f"{file}.snapshot")
        snapshots.save(take_snapshot(driver.registry, journal.next_seq))
        snapshots.close()
        text = json.dumps(shown(driver.registry), indent=1, ensure_ascii=False, sort_keys=True)
    file.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def check_same(recorded: Any, now: Any, where: str) -> None:
    """What was recorded is so; a unit may have further fields since."""
    if isinstance(recorded, dict):
        assert isinstance(now, dict), where
        for name, value in recorded.items():
            assert name in now, f"{where}.{name}"
            check_same(value, now[name], f"{where}.{name}")
    elif isinstance(recorded, list):
        assert len(recorded) == len(now), where
        for number, (one, other) in enumerate(zip(recorded, now, strict=True)):
            check_same(one, other, f"{where}[{number}]")
    else:
        assert recorded == now, where


@pytest.mark.parametrize("name", WORK)
def test_a_journal_of_this_format_is_there(name: str) -> None:
    file = GOLDEN / f"{name}.db"
    if not file.exists():
        make(file, WORK[name])
    assert file.stat().st_size < 100_000


def test_each_journal_ever_written_leads_to_its_units(tmp_path: Path) -> None:
    files = sorted(GOLDEN.glob("format-*.db"))
    assert files
    for file in files:
        copy = Path(shutil.copy(file, tmp_path))
        recorded = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        now = shown(read(copy))
        check_same(recorded, now, file.name)
        assert recorded["units"].keys() == now["units"].keys()


@pytest.mark.parametrize(
    "name", ["requirements", "launching", "gates", "patterns", "notes", "hosts"]
)
def test_a_snapshot_of_this_format_leads_to_the_same_units(name: str, tmp_path: Path) -> None:
    """Otherwise the first start after an upgrade reads the whole journal."""
    file = GOLDEN / f"format-{FORMAT}-{name}.db"
    recorded = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    snapshot = Snapshots(f"{file}.snapshot").load()
    assert snapshot is not None
    with closing(Journal(shutil.copy(file, tmp_path / file.name))) as journal:
        assert snapshot.seq == journal.next_seq > 0
        registry = rebuild(journal, epochs_of(journal, MACHINE)[-1], snapshot, Limits())
    check_same(recorded, shown(registry), file.name)


def test_they_hold_every_kind_of_fact(tmp_path: Path) -> None:
    """Otherwise the files above would show less than they say."""
    kinds = set()
    for name in WORK:
        copy = shutil.copy(GOLDEN / f"{name}.db", tmp_path)
        with closing(Journal(str(copy))) as journal:
            kinds |= {type(fact) for _, (_, fact) in journal.read(0)}
    assert kinds == {kind for kind in vars(events).values() if is_fact(kind)}


def is_fact(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, events.Fact) and kind is not events.Fact


def test_the_mark_beside_it_is_understood(tmp_path: Path) -> None:
    """Otherwise a loss would go unnoticed after an upgrade."""
    path = tmp_path / "journal.db"
    (tmp_path / "journal.db.mark").write_bytes((GOLDEN / "format-1.db.mark").read_bytes())
    with closing(Journal(str(shutil.copy(GOLDEN / "format-1.db", path)))) as journal:
        newest = journal.epochs()[-1]
        assert read_marker(str(path)) == StateMarker(MACHINE, newest.epoch, journal.next_seq)


@pytest.mark.parametrize("name", WORK)
def test_a_format_that_does_not_change_is_written_as_it_was(name: str, tmp_path: Path) -> None:
    """If this fails and the one that reads passes: older coordinators (somebody goes
    back to one) may not read what this one writes. Then it is a new format."""
    recorded = Path(shutil.copy(GOLDEN / f"{name}.db", tmp_path))
    make(written := tmp_path / "written.db", WORK[name])
    rows = []
    for file in (recorded, written):
        with closing(Journal(str(file))) as journal:
            table = "SELECT seq, count, records FROM turns ORDER BY seq"
            schema = "SELECT sql FROM sqlite_master ORDER BY name"
            rows.append([journal._db.execute(text).fetchall() for text in (table, schema)])
    assert rows[0] == rows[1]
