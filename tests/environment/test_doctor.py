"""``doctor`` finds whatever stops a change. Each fault is really made; its exit status is 1
whenever a change is refused, and 0 where it is made."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import docpages as pages
import unitsyncd
from cli.conftest import MODULE, UNITSYNC, Cli
from environment.oddities import ALONE, UNPRIVILEGED, end_coordinators, needs_namespaces
from unitsync import doctor
from unitsync.doctor.surroundings import VARIABLES

assert unitsyncd.__file__ is not None


class Fault(NamedTuple):
    make: str
    """Shell commands; ``$D`` is the endpoint's folder, ``unitsync`` the command."""
    text: str
    """What the problem that doctor finds must match; "" if there is none."""
    hint: str = ""
    at_once: bool = False
    """Ask for the change meanwhile: both wait for something before they give up."""


FULL = "mkdir $D; mount -t tmpfs -o size=64k,mode=700 tmpfs $D; cat /dev/zero > $D/x"
RUNS = "unitsync want a b"
SMALL = f"mkdir $D; mount -t tmpfs -o size=1m,mode=700 tmpfs $D; {RUNS}"
STOPPED = f"{RUNS}; unitsync stop"
PID = 'PID=$(unitsync ping -o json | grep -o \'"pid": [0-9]*\' | grep -o "[0-9]*")'

NOTHING_RUNS = {
    "nothing": Fault("", ""),
    "stopped": Fault(STOPPED, ""),
    "killed": Fault(f"{RUNS}; {PID}; kill -9 $PID", ""),
    "full-from-the-start": Fault(FULL, "No space left", "free some space in /.*/c, and try"),
    "full-later": Fault(
        f"{SMALL}; unitsync stop; cat /dev/zero > $D/x", "No space left", "free some space"
    ),
    "full-above": Fault(
        "mount -t tmpfs -o size=4k tmpfs $H; cat /dev/zero > $H/x",
        "No space left",
        "free some space",
    ),
    "read-only": Fault(
        "mkdir $D; mount -t tmpfs -o mode=700 tmpfs $D; mount -o remount,ro $D",
        "[Rr]ead-only file system",
        "name another folder",
    ),
    "read-only-with-a-journal": Fault(
        f"{SMALL}; unitsync stop; mount -o remount,ro $D", "[Rr]ead-only file system"
    ),
    "read-only-above": Fault(
        "mount -t tmpfs tmpfs $H; mount -o remount,ro $H",
        "[Rr]ead-only file system",
        "name another folder",
    ),
    "below-nothing": Fault("UNITSYNC_ENDPOINT=ipc://$D/x/y/z/s", ""),
    "below-a-file": Fault(
        "echo > $D; UNITSYNC_ENDPOINT=ipc://$D/x/s", "Not a directory|File exists"
    ),
    "files-may-not-grow": Fault("ulimit -f 0", "File too large"),
    "files-may-not-grow-further": Fault(f"{STOPPED}; ulimit -f 1", "File too large", "ulimit -f"),
    "a-journal-removed": Fault(
        f"{STOPPED}; rm $D/journal.db", "its journal is gone", "unitsync reset --all"
    ),
    "a-journal-damaged": Fault(
        f"{STOPPED}; printf damage | dd of=$D/journal.db conv=notrunc bs=1 seek=100",
        "its journal (is|was) damaged",
        "unitsync reset --all",
    ),
    "a-journal-cut-off": Fault(
        f"{STOPPED}; truncate -s 4096 $D/journal.db", "damaged", "unitsync reset --all"
    ),
    "a-journal-of-a-later-version": Fault(
        f"{STOPPED}; printf '\\0\\0\\0\\11' | dd of=$D/journal.db conv=notrunc bs=1 seek=60",
        "it has format 9",
        "unitsync reset --all",
    ),
    "a-journal-that-is-a-folder": Fault(
        "mkdir -m 700 $D $D/journal.db", "journal", "remove what is in the way"
    ),
    "a-journal-not-to-be-written": Fault(
        f"{STOPPED}; mount --bind -o ro $D/journal.db $D/journal.db", "journal"
    ),
    "a-log-that-is-a-folder": Fault("mkdir -m 700 $D $D/coordinator.log", "coordinator.log"),
    "a-lock-that-is-a-folder": Fault("mkdir -m 700 $D $D/spawn.lock", "Is a directory"),
    "something-in-the-socket's-place": Fault(
        "mkdir -m 700 $D; echo > $D/coordinator.sock", "is not a socket", "remove it"
    ),
    "a-folder-open-to-others": Fault("mkdir -m 777 $D", "other users have access", "chmod 700"),
    "a-link": Fault("mkdir -m 700 $D.d; ln -s $D.d $D", "symbolic link"),
    "of-somebody-else": Fault("mkdir -m 700 $D; chown 12345 $D", "belongs to user 12345"),
    "another-coordinator-holds-it": Fault(
        f"{RUNS}; UNITSYNC_ENDPOINT=ipc://$D/another", "another coordinator holds"
    ),
    "autostart-off": Fault("UNITSYNC_AUTOSTART=0", "turned off", "unset UNITSYNC_AUTOSTART"),
    "an-autostart-of-nonsense": Fault("UNITSYNC_AUTOSTART=perhaps", "neither on nor off"),
    "a-limit-of-nonsense": Fault("UNITSYNC_MAX_UNITS=many", "UNITSYNC_MAX_UNITS"),
    "a-level-of-nonsense": Fault("UNITSYNC_LOG_LEVEL=loud", "UNITSYNC_LOG_LEVEL"),
    "allow-of-nobody": Fault("UNITSYNC_ALLOW=no-such-user", "no-such-user"),
    "an-endpoint-of-nonsense": Fault("UNITSYNC_ENDPOINT=tcp://here", "only ipc"),
    "an-endpoint-too-long": Fault(f"UNITSYNC_ENDPOINT=ipc:///tmp/{'x' * 110}/s", "at most 107"),
    "an-earlier-startup": Fault(
        "UNITSYNC_STARTUP=1; unitsync want a b; UNITSYNC_STARTUP=2;"
        "unitsync want a b; unitsync stop; UNITSYNC_STARTUP=1",
        "earlier startup",
    ),
    "no-coordinator-installed": Fault(
        f"mount -t tmpfs tmpfs {os.path.dirname(unitsyncd.__file__)}",
        "No module named",
    ),
    "as-many-units-as-may-be": Fault(
        f"UNITSYNC_MAX_UNITS=1; {STOPPED}", "no more than 1 units", "UNITSYNC_MAX_UNITS"
    ),
}

ONE_RUNS = {
    "it-runs": Fault(RUNS, ""),
    "full": Fault(
        f"{SMALL}; cat /dev/zero > $D/x", "No space left", "free some space in /.*/c, and try"
    ),
    "its-files-may-not-grow": Fault(
        f"{RUNS}; {PID}; prlimit --pid $PID --fsize=1", "File too large", "ulimit -f"
    ),
    "lost": Fault(
        f"{STOPPED}; rm $D/journal.db; unitsync ping", "its journal is gone", "unitsync reset --all"
    ),
    "damaged": Fault(
        f"{STOPPED}; echo damage > $D/journal.db; unitsync ping",
        "is kept as .*journal.db.damaged",
        "unitsync reset --all",
    ),
    "an-older-startup": Fault(
        "UNITSYNC_STARTUP=1; unitsync want a b; UNITSYNC_STARTUP=2;"
        "unitsync want a b; UNITSYNC_STARTUP=1",
        "earlier startup",
    ),
    "as-many-units-as-it-may-hold": Fault(
        f"UNITSYNC_MAX_UNITS=1; {RUNS}", "no more than 1 units", "UNITSYNC_MAX_UNITS"
    ),
    "as-many-edges-as-it-may-hold": Fault(
        f"UNITSYNC_MAX_EDGES=1; {RUNS}", "no more than 1 edges", "UNITSYNC_MAX_EDGES"
    ),
    "no-room-for-more-clients": Fault(
        "UNITSYNC_MAX_CONNECTIONS=2; unitsync ping; $UNITSYNC wait x 2> $D.w & HOLDER=$!; "
        'while [ ! -s $D.w ]; do sleep 0.05; done; $UNITSYNC wait x 2> $D.v & HOLDER="$HOLDER $!";'
        "while [ ! -s $D.v ]; do sleep 0.05; done",
        "no room for more clients",
        "UNITSYNC_MAX_CONNECTIONS",
        at_once=True,
    ),
    "locked": Fault(
        f"{RUNS}; python3 -c \"import sqlite3, time; c = sqlite3.connect('$D/journal.db');"
        "c.isolation_level = None; c.execute('BEGIN IMMEDIATE'); print(flush=True);"
        'time.sleep(60)" > $D.l & HOLDER=$!; while [ ! -s $D.l ]; do sleep 0.05; done',
        "locked",
        "another process",
    ),
}

FAULTS = {**NOTHING_RUNS, **ONE_RUNS}


class Told(NamedTuple):
    status: int
    findings: list[dict[str, str]]
    change: int
    """Exit status of a change that is asked for afterwards."""
    change_err: str
    left: bool
    """Whether doctor has left or changed anything in the folder, or above it."""

    @property
    def problems(self) -> list[str]:
        return [f"{f['text']} / {f['hint']}" for f in self.findings if f["level"] == "problem"]


@pytest.fixture
def made(cli: Cli) -> Iterator[Cli]:
    (cli.folder / "home").mkdir()
    yield cli
    end_coordinators(str(cli.folder))


LISTING = "$(find $H -printf '%P %y %M %u %s %l\\n' | sort)"


def tell(cli: Cli, make: str, *before: str, at_once: bool = False) -> Told:
    """What doctor says after *make*, and what becomes of a change then; both are called by
    *before*. All on a pipe: a limit of file sizes is one for us as well."""
    change = 'asked want some-new-unit another 2>&1; echo "==$?"'
    meanwhile, then = "", change
    if at_once:
        meanwhile = f"{{ {change}; }} > {cli.folder}/change & CHANGE=$!"
        then = f"wait $CHANGE; cat {cli.folder}/change"
    script = f"""
        unitsync() {{ {shlex.join(UNITSYNC)} "$@"; }}
        UNITSYNC={shlex.join(UNITSYNC)}
        set -a
        H={cli.folder}/home; D=$H/c; UNITSYNC_ENDPOINT=ipc://$D/coordinator.sock
        {{ :; {make}
        }} > /dev/null 2> {cli.folder}/make
        asked() {{ {shlex.join([*before, *UNITSYNC])} "$@"; }}
        {meanwhile}
        BEFORE={LISTING}
        asked doctor -o json 2> /dev/null; echo "==$?"
        AFTER={LISTING}
        {then}
        [ "$BEFORE" = "$AFTER" ]; echo "==$?"
        kill $HOLDER
    """
    done = subprocess.run(
        [*ALONE, script], env=cli.env(), timeout=50, stdout=subprocess.PIPE, text=True
    )
    found, status, err, changed, _, left, _ = re.split(r"==(\d+)\n", done.stdout)
    return Told(int(status), json.loads(found), int(changed), err, left == "1")


@needs_namespaces
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_stops_a_change_is_found(made: Cli, name: str) -> None:
    """And nothing is left behind."""
    fault = FAULTS[name]
    told = tell(made, fault.make, at_once=fault.at_once)
    assert (told.change != 0) == bool(fault.text), told.change_err
    assert told.status == int(bool(fault.text)), told
    assert not told.left or name in ONE_RUNS, "what serves writes its log"
    if fault.text:
        assert re.search(f"{fault.text}.* / .*{fault.hint}", "\n".join(told.problems)), told
        assert re.search(fault.text, told.change_err), told.change_err
        assert "nothing was changed" not in str(told.problems), "doctor changes nothing anyway"


@needs_namespaces
def test_a_file_system_that_was_full_from_the_start_is_not_called_damaged(made: Cli) -> None:
    """A verb has tried meanwhile, and has left an empty journal."""
    told = tell(made, f"{FULL}; unitsync want a b; ls -l $D")
    assert told.status == 1
    assert "no such table" not in str(told.findings)
    assert "damaged" not in str(told.findings)


@needs_namespaces
@pytest.mark.parametrize("make", ["", RUNS], ids=["first", "runs"])
def test_without_proc_it_says_what_cannot_be_seen(made: Cli, make: str) -> None:
    """As in a chroot: a change is made there, so it is a note."""
    told = tell(made, f"{make}\numount -l /proc")
    assert (told.status, told.change, told.problems) == (0, 0, []), told
    (note,) = [found for found in told.findings if found["about"] == "processes"]
    assert note["level"] == "note"
    assert note["text"].startswith("/proc is not there: nobody can see when a script ends")
    assert note["hint"] == "mount -t proc proc /proc"


@needs_namespaces
def test_below_a_parent_that_cannot_be_written_to(made: Cli) -> None:
    """By somebody who is not root, or has none of root's rights."""
    told = tell(made, "chmod 555 $H", *UNPRIVILEGED)
    (made.folder / "home").chmod(0o755)
    assert (told.status, told.change) == (1, 69), told
    (problem,) = told.problems
    assert re.search(r"written in \S+/home: Permission denied / .* name another folder", problem)
    assert "Permission denied" in told.change_err
    assert "name another folder in UNITSYNC_ENDPOINT" in told.change_err


def test_a_nice_value_that_cannot_be_taken_back_is_a_note(cli: Cli) -> None:
    """The first caller's stays with the coordinator where that is not root's."""
    cli.exec(*UNPRIVILEGED, "nice", "-n", "15", *UNITSYNC, "want", "a", "b")
    with cli.client() as client:
        pid = client.ping().pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == 15
    result = cli("doctor", "-o", "json")
    (note,) = [found for found in json.loads(result.out) if found["about"] == "priority"]
    assert (result.status, note["level"]) == (0, "note")
    assert note["text"].startswith("the coordinator has a nice value of 15: on a busy machine")
    assert note["hint"] == f"renice 0 {pid}, as root"
    if os.geteuid() == 0:
        cli.exec("sh", "-c", note["hint"].removesuffix(", as root"))
        assert '"priority"' not in cli("doctor", "-o", "json").out


def test_each_check_is_in_the_list() -> None:
    assert len(doctor.CHECKS) == len(set(doctor.CHECKS)) > 10


def test_a_variable_that_means_nothing_is_a_note(cli: Cli) -> None:
    result = cli("doctor", "-o", "json", env={"UNITSYNC_TIMOUT": "5"})
    assert result.status == 0
    notes = [found for found in json.loads(result.out) if found["level"] == "note"]
    assert any(
        found["text"] == "UNITSYNC_TIMOUT means nothing to unitsync"
        and found["hint"] == "did you mean UNITSYNC_TIMEOUT?"
        for found in notes
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_who_is_allowed_gets_advice_for_who_is_allowed(cli: Cli) -> None:
    """What only the coordinator's user may do is not for him to do."""
    env = {"UNITSYNC_ALLOW": "12345"}
    assert cli("want", "a", "b", env=env).status == 0
    cli.folder.chmod(0o755)
    (cli.folder / "c" / "journal.db.damaged").touch()
    code = (
        "import os, unitsync.cli.app, unitsync.output.json_output, unitsync.coder.shim\n"
        "import unitsync.client, unitsync.clients.owner, unitsync.link.spawn, sqlite3\n"
        "from unitsync.text.printing import safe\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "unitsync.cli.main()"
    )
    result = cli.exec(*MODULE[:2], "-c", code, "doctor", "-o", "json")
    assert (result.status, result.err) == (0, "")
    found = {finding["about"]: finding for finding in json.loads(result.out)}
    assert found["changes"]["level"] == "ok"
    assert found["journal"]["text"].endswith("for user root to look into")
    hints = [finding["hint"] for finding in json.loads(result.out) if finding["hint"]]
    assert not any(hint.startswith(("unitsync stop", "rm ", "keep it")) for hint in hints)
    assert any(hint.startswith("ask user root: keep it for a report") for hint in hints)


def test_every_variable_of_the_docs_is_known() -> None:
    page = pages.read("reference/environment.md")
    named = {name for name in re.findall(r"\bUNITSYNC_[A-Z_]+", page) if not name.endswith("_")}
    assert named <= VARIABLES


@pytest.mark.parametrize("name", ["ON_SKIP", "ON_OWNER_EXIT", "TIMEOUT", "AUTOSTART"])
def test_a_variable_with_another_value_is_a_problem(cli: Cli, name: str) -> None:
    result = cli("doctor", "-o", "json", env={f"UNITSYNC_{name}": "bad"})
    assert result.status == 1
    assert any(
        found["level"] == "problem" and f"UNITSYNC_{name}" in found["text"]
        for found in json.loads(result.out)
    )
