"""Scripts that end without a word, however they end and however they called the verb:
real scripts, the real command, a real coordinator.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from faults.places import PATIENCE_S, Place
from faults.scripts import Script, Scripts, fifo, release, scripts_at, until
from journal.driving import Driver
from unitsync import errors, wire
from unitsync.clients import owner as owners
from unitsync.link.startup_id import machine_startup
from unitsync.verb.verbs import VERBS
from unitsync.wire import OnOwnerExit, Owner, Status
from unitsyncd.limits import Limits
from unitsyncd.saved_state import open_state


@pytest.fixture
def scripts(request: pytest.FixtureRequest, place: Place) -> Iterator[Scripts]:
    if "shared_place" not in request.fixturenames:
        place.start()
    with scripts_at(place) as scripts:
        yield scripts


shared = pytest.mark.usefixtures("shared_place")


@pytest.fixture
def gate(place: Place) -> str:
    return fifo(place, "gate")


def info(place: Place, unit: str = "ide") -> wire.UnitInfo:
    with place.client() as client:
        return client.status(unit)


def started(place: Place, unit: str = "ide") -> wire.UnitInfo:
    """*unit* as soon as it has started."""
    until(lambda: info(place, unit).status is Status.STARTED, f"{unit} did not start")
    return info(place, unit)


def ended(place: Place, unit: str = "ide") -> wire.UnitInfo:
    """*unit* as soon as it has ended."""
    with place.client() as client:
        client.wait(unit, requires="completion", timeout_s=20)
        return client.status(unit)


def check_failed(place: Place, script: Script) -> None:
    """The coordinator has noticed that the script is gone, and says so."""
    unit = ended(place)
    assert unit.status is Status.FAILED
    assert f"its script, pid {script.pid} " in unit.reason
    assert "ended without `complete`" in unit.reason
    assert [entry.what for entry in unit.history][-2:] == ["owner gone", "failed"]


# --- how it ends ------------------------------------------------------------------


TRAPS = VERBS["complete"].example.partition("\n")[2].replace(" --after deps", "")


@shared
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "ksh"])
def test_the_documented_traps_report_a_signal(
    place: Place, scripts: Scripts, gate: str, shell: str, number: int
) -> None:
    """In bash ``$?`` is the status of the last command in an EXIT trap, and often 0."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = f"{TRAPS}\n(read x < {gate}) &\necho on >&2\nwait\nexit 0\n"
    script = scripts.spawn(shell, scripts.file(text))
    script.says("on")
    script.kill(number)
    script.process.wait(PATIENCE_S)
    release(gate)
    unit = info(place)
    assert (unit.status, unit.reason) == (Status.FAILED, "exit status 1")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGSEGV"])
@shared
def test_killed(place: Place, scripts: Scripts, gate: str, name: str) -> None:
    script = scripts.bash(f"unitsync start ide\n: < {gate}\nunitsync complete ide\n")
    assert started(place).owner == owners.of_pid(script.pid)
    script.kill(signal.Signals[name])
    check_failed(place, script)


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "--norc", "startup.sh"),
        ("bash", "-c", ". ./startup.sh"),
        ("bash", "-c", "source ./startup.sh"),
        ("bash", "-c", 'eval "$STARTUP"'),
        ("bash", "-c", "startup"),
    ],
    ids=" ".join,
)
@shared
def test_a_shell_that_is_the_script_however_it_was_called(
    place: Place, scripts: Scripts, command: tuple[str, ...]
) -> None:
    """``unitsync start`` is not what it was given as its command."""
    text = "unitsync start ide\nkill -9 $$\n"
    (place.folder / "startup.sh").write_text(text)
    function = f"() {{\n{text}}}"
    more = {"STARTUP": text, "BASH_FUNC_startup%%": function}
    check_failed(place, scripts.spawn(*command, more=more))


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "set -e; false", "true"])
@shared
def test_ending_without_a_word(place: Place, scripts: Scripts, end: str) -> None:
    script = scripts.bash(f"unitsync start ide\n{end}\n")
    check_failed(place, script)


@shared
def test_killed_by_timeout(place: Place, scripts: Scripts) -> None:
    """The script is a child of the wrapper here, not the other way round."""
    file = scripts.file("unitsync start ide\nsleep 100\n")
    script = scripts.spawn("timeout", "1", "bash", file)
    unit = ended(place)
    assert unit.status is Status.FAILED
    assert "bash" in unit.reason
    assert f"pid {script.pid}" not in unit.reason


@shared
def test_another_program_in_its_place_is_still_it(place: Place, scripts: Scripts) -> None:
    script = scripts.bash("unitsync start ide\nexec sleep 100\n")
    started(place)
    until(lambda: Path(f"/proc/{script.pid}/comm").read_text() == "sleep\n")
    assert info(place).status is Status.STARTED
    script.kill()
    check_failed(place, script)


@shared
def test_a_trap_that_says_it_counts_before_the_end(place: Place, scripts: Scripts) -> None:
    script = scripts.bash(
        "trap 'unitsync complete ide --exit-code $?' EXIT\nunitsync start ide\nexit 4\n"
    )
    assert script.end().status == 4
    assert (info(place).status, info(place).reason) == (Status.FAILED, "exit status 4")


@shared
def test_all_of_its_units_end_with_it(place: Place, scripts: Scripts, gate: str) -> None:
    script = scripts.bash(f"for u in a b c; do unitsync start $u; done\n: < {gate}\n")
    started(place, "c")
    script.kill()
    assert {ended(place, unit).status for unit in "abc"} == {Status.FAILED}


@shared
def test_dependents_are_skipped_and_told_why(place: Place, scripts: Scripts, gate: str) -> None:
    script = scripts.bash(f"unitsync start ide\n: < {gate}\n")
    started(place)
    waiting = scripts.verb("start", "report", "--after", "ide")
    waiting.says("ide")
    script.kill()
    result = waiting.end()
    assert result.status == 3
    assert f"its script, pid {script.pid}" in result.err


@shared
def test_a_script_that_is_killed_while_its_start_waits(place: Place, scripts: Scripts) -> None:
    """The verb itself lives on, and what it is granted nobody would ever complete."""
    script = scripts.bash("unitsync start ide --after clone\nunitsync complete ide\n")
    script.says("clone")
    os.kill(script.pid, signal.SIGKILL)
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
    check_failed(place, script)


@shared
def test_a_verb_that_is_killed_while_it_waits_is_granted_nothing(
    place: Place, scripts: Scripts
) -> None:
    script = scripts.verb("start", "ide", "--after", "clone")
    script.says("clone")
    script.kill()
    script.end()
    with place.client() as client:
        client.start("clone")
        client.complete("clone")
        assert client.status("ide").status is Status.PENDING
        assert client.start("ide").run == 1


# --- whose script ------------------------------------------------------------------
# tests/callers has what it may call the verb through.


@shared
def test_a_shell_of_its_own_is_a_script_of_its_own(place: Place, scripts: Scripts) -> None:
    """It runs more than the verb and has its own words: so it is the script, and has
    ended. ``--owner`` is for those who mean the other."""
    script = scripts.bash("sh -c 'unitsync start ide; sleep 0'\nsleep 100\n")
    unit = ended(place)
    assert unit.status is Status.FAILED
    assert "(sh -c " in unit.reason
    assert f"pid {script.pid} " not in unit.reason
    script = scripts.bash('sh -c "unitsync start ide --owner $$; sleep 0"\nsleep 100\n')
    assert started(place).owner == owners.of_pid(script.pid)
    script.kill()
    check_failed(place, script)


@shared
def test_owner_names_another_process(place: Place, scripts: Scripts) -> None:
    other = scripts.spawn("sleep", "100")
    script = scripts.bash(f"unitsync start ide --owner {other.pid}\n")
    assert script.end().status == 0
    assert info(place).status is Status.STARTED
    assert info(place).owner == owners.of_pid(other.pid)
    other.kill()
    assert f"pid {other.pid} (sleep 100)" in ended(place).reason


@shared
def test_owner_must_be_there(place: Place, scripts: Scripts) -> None:
    gone = scripts.spawn("true")
    gone.end()
    result = scripts.run("unitsync", "start", "ide", "--owner", str(gone.pid))
    assert result.status == 2
    assert f"there is no process {gone.pid}" in result.err
    assert info(place).status is Status.NOT_REGISTERED


# --- namespaces -------------------------------------------------------------------

NAMESPACES = {
    "its first process": ["unshare", "-pf", "--mount-proc", "bash"],
    "not its first": ["unshare", "-pf", "--mount-proc", "sh", "-c", 'bash "$0"; :'],
    "with the outer /proc": ["unshare", "-pf", "bash"],
}


@pytest.mark.parametrize("where", NAMESPACES)
@shared
def test_in_a_pid_namespace_of_its_own(
    place: Place, scripts: Scripts, gate: str, where: str
) -> None:
    """Its pid means nothing to the coordinator, which says so and waits for its word."""
    if subprocess.run(["unshare", "-pf", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("this user may not make a pid namespace")
    file = scripts.file(f"unitsync start ide\n: < {gate}\nunitsync complete ide\n: < {gate}\n")
    script = scripts.spawn(*NAMESPACES[where], file)
    unit = started(place)
    assert unit.owner is not None
    assert not unit.owner.watched
    for words in ("status", "ide"), ("list",), ("why", "ide"):
        assert "not watched" in scripts.run("unitsync", *words).out, words
    release(gate)
    assert ended(place).status is Status.COMPLETED
    release(gate)
    script.end()


@shared
def test_another_pid_namespace_does_not_mix_up_pids(place: Place, scripts: Scripts) -> None:
    """A pid that is somebody else's here must neither keep the run nor end it."""
    me = owners.this_process()
    elsewhere = Owner(me.pid, me.start, me.ns + 1, "elsewhere")
    with place.client(owner=elsewhere) as client:
        client.start("ide")
        unit = client.status("ide")
    assert unit.owner is not None
    assert not unit.owner.watched
    with place.client() as client, pytest.raises(errors.AlreadyStarted):
        client.start("ide")


# --- who has that pid -------------------------------------------------------------


@shared
def test_a_pid_that_was_used_again(place: Place, scripts: Scripts) -> None:
    """pid and start time name a process; the pid alone would keep the run for ever."""
    me = owners.this_process()
    former = Owner(me.pid, me.start - 1, me.ns, "the one that had my pid before")
    with place.client(owner=former) as client:
        client.start("ide")
    unit = ended(place)
    assert unit.status is Status.FAILED
    assert "the one that had my pid before" in unit.reason


@pytest.mark.parametrize("policy", OnOwnerExit)
def test_a_pid_that_was_used_again_while_nobody_looked(place: Place, policy: OnOwnerExit) -> None:
    """Between two coordinators."""
    me = owners.this_process()
    former = Owner(me.pid, me.start - 1, me.ns, "the one that had my pid before")
    place.home.mkdir(mode=0o700)
    found = open_state(place.journal, Limits())
    with closing(found.journal):
        Driver.on(found).start("ide", former, on_owner_exit=policy)
    place.start()
    check_policy(place, policy)


# --- what it means ----------------------------------------------------------------


def check_policy(place: Place, policy: OnOwnerExit) -> None:
    """The owner of ide is gone."""
    until(lambda: "owner gone" in [entry.what for entry in info(place).history])
    unit = info(place)
    match policy:
        case OnOwnerExit.FAIL:
            assert (unit.status, unit.owner_gone) == (Status.FAILED, False)
        case OnOwnerExit.COMPLETE:
            assert (unit.status, unit.owner_gone) == (Status.COMPLETED, False)
        case OnOwnerExit.IGNORE:
            assert (unit.status, unit.owner_gone) == (Status.STARTED, False)
        case OnOwnerExit.WARN:
            assert (unit.status, unit.owner_gone) == (Status.STARTED, True)


@pytest.mark.parametrize("how", ["an option", "the environment"])
@pytest.mark.parametrize("policy", OnOwnerExit)
@shared
def test_each_policy(
    place: Place, scripts: Scripts, gate: str, policy: OnOwnerExit, how: str
) -> None:
    option = f"--on-owner-exit {policy}" if how == "an option" else ""
    more = {} if option else {"UNITSYNC_ON_OWNER_EXIT": str(policy)}
    script = scripts.bash(f"unitsync start ide {option}\n: < {gate}\n", more=more)
    started(place)
    waiting = scripts.verb("start", "report", "--after", "ide")
    waiting.says("ide: started")
    until(lambda: info(place, "report").waiting_clients > 0)
    script.kill()
    check_policy(place, policy)
    if policy is OnOwnerExit.WARN:
        assert f"pid {script.pid}" in waiting.says("which is gone")
        for verb in ("status", "list", "why"):
            words = [verb, "ide"] if verb == "status" else [verb]
            assert "gone" in scripts.run("unitsync", *words).out, verb
    if policy in (OnOwnerExit.WARN, OnOwnerExit.IGNORE):
        assert scripts.run("unitsync", "complete", "ide").status == 0, "anybody may say it"
    result = waiting.end()
    assert result.status == (3 if policy is OnOwnerExit.FAIL else 0)
    assert policy is OnOwnerExit.WARN or "gone" not in result.err


@pytest.mark.parametrize("policy", [OnOwnerExit.IGNORE, OnOwnerExit.WARN])
@shared
def test_a_unit_whose_script_is_gone_may_be_started_anew(
    place: Place, scripts: Scripts, policy: OnOwnerExit
) -> None:
    first = scripts.bash(f"unitsync start ide --on-owner-exit {policy}\n")
    first.end()
    until(lambda: "owner gone" in [entry.what for entry in info(place).history])
    second = scripts.bash("unitsync start ide && sleep 100\n")
    until(lambda: info(place).run == 2)
    unit = info(place)
    assert unit.owner is not None
    assert (unit.status, unit.owner.pid) == (Status.STARTED, second.pid)
    late = scripts.run("unitsync", "start", "ide")
    assert late.status == 1
    assert f"pid {second.pid}" in late.err


def test_through_the_shim_it_is_only_warned_of(place: Place, scripts: Scripts, gate: str) -> None:
    script = scripts.bash(f"unitsync start ide\n: < {gate}\n", more={"UNITSYNC_CODER_SHIM": "1"})
    started(place)
    script.kill()
    check_policy(place, OnOwnerExit.WARN)


# --- while there is no coordinator ------------------------------------------------


@pytest.mark.parametrize("policy", OnOwnerExit)
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_an_owner_that_ends_while_there_is_no_coordinator(
    place: Place, scripts: Scripts, gate: str, policy: OnOwnerExit, how: str
) -> None:
    script = scripts.bash(f"unitsync start ide --on-owner-exit {policy}\n: < {gate}\n")
    started(place)
    waiting = scripts.verb("wait", "ide")
    waiting.says("ide: started")
    if how == "killed":
        waiting.kill()  # it would bring the coordinator back
        waiting.end()
        place.kill()
    else:
        place.stop()
    script.kill()
    script.end()
    assert scripts.run("unitsync", "ping").status == 0
    check_policy(place, policy)
    if how == "stopped":
        if policy in (OnOwnerExit.WARN, OnOwnerExit.IGNORE):
            scripts.run("unitsync", "complete", "ide")
        assert waiting.end().status == (3 if policy is OnOwnerExit.FAIL else 0)


def test_an_owner_that_lives_on_is_watched_by_the_next_one(
    place: Place, scripts: Scripts, gate: str
) -> None:
    script = scripts.bash(f"unitsync start ide\n: < {gate}\n")
    started(place)
    place.kill()
    assert scripts.run("unitsync", "ping").status == 0
    assert info(place).status is Status.STARTED
    script.kill()
    check_failed(place, script)


# --- run --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["with a coordinator", "without one"])
def test_a_killed_run(place: Place, scripts: Scripts, how: str) -> None:
    """Its unit fails, and its command is taken along, coordinator or not."""
    pids = place.folder / "pids"
    script = scripts.spawn(
        "unitsync", "run", "ide", "--", "sh", "-c", f"echo $$ > {pids}; sleep 100"
    )
    started(place)
    until(lambda: pids.exists() and bool(pids.read_text()))
    command = os.pidfd_open(int(pids.read_text()))
    if how == "without one":
        place.kill()
    script.kill()
    script.end()
    with open(command) as handle:
        until(lambda: ended_already(handle.fileno()))
    if how == "without one":
        assert scripts.run("unitsync", "ping").status == 0
    unit = ended(place)
    assert unit.status is Status.FAILED
    assert f"pid {script.pid} (unitsync run ide" in unit.reason


def ended_already(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 0)[0])


def test_what_is_recorded_of_an_owner_is_for_this_machine(place: Place) -> None:
    """The startup of the machine is part of the journal: after a reboot the same pid and
    start time could be anybody's."""
    place.start()
    assert stat.S_ISSOCK(os.stat(place.endpoint.path).st_mode)
    with place.client() as client:
        assert client.ping().startup == machine_startup()
