"""Where the owner is gone or cannot be seen, the run is not watched, and both ``start``
and ``status`` say so."""

from __future__ import annotations

import json
import subprocess
from typing import Final

import pytest

from callers.calling import Caller, need
from unitsync.wire import Status

PLACES: Final = {
    "the first process of a pid namespace": "unshare -pf --mount-proc bash",
    "another one there": "unshare -pf --mount-proc sh -c 'bash \"$0\"; exit $?'",
    "a pid namespace with the outer /proc": "unshare -pf bash",
    "a time namespace": "unshare -T --boottime 100000 bash",
    "a time namespace with another clock alone": "unshare -T --monotonic 100000 bash",
    "a container": "bwrap --dev-bind / / --unshare-pid --proc /proc bash",
}


def need_place(command: str) -> None:
    words = command.partition(" bash")[0].partition(" sh -c")[0].split()
    need(words[0])
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"{' '.join(words)} does not work here")


@pytest.mark.parametrize("where", PLACES)
def test_a_namespace(caller: Caller, where: str) -> None:
    need_place(PLACES[where])
    file = caller.file("unitsync start ide || exit\nread x < $GATE\nexit 0\n")
    caller.check_is_unwatched("bash", "-c", f'{PLACES[where]} "$0"; exit $?', file)


@pytest.mark.parametrize("where", PLACES)
def test_run_in_a_namespace(caller: Caller, where: str) -> None:
    """It speaks for itself; that it is not watched is said, and harms nothing."""
    need_place(PLACES[where])
    command = PLACES[where].removesuffix('bash "$0"; exit $?\'').removesuffix("bash")
    command = command.removesuffix("sh -c '")
    script = caller.spawn("bash", "-c", f"{command} unitsync run ide -- cat $GATE; exit $?")
    gate = caller.at_gate(script)
    unit = caller.info()
    assert unit.owner is not None
    assert (unit.status, unit.owner.watched) == (Status.STARTED, False)
    caller.open(gate)
    done = script.end()
    assert done.status == 0
    assert done.err.startswith("unitsync: ide is not watched: ")
    assert caller.info().status is Status.COMPLETED


CUT_LOOSE: Final = {
    "setsid -f": (  # its first process ends when it likes
        "setsid -f sh -c 'until read -r a b c parent d < /proc/$$/stat && [ $parent = 1 ]; "
        "do :; done; exec unitsync start ide'"
    ),
    "a shell that is gone": (
        "sh -c '{ while kill -0 $$ 2>&-; do :; done; exec unitsync start ide; } &'"
    ),
}


@pytest.mark.parametrize("how", CUT_LOOSE)
def test_nobody_is_left(caller: Caller, how: str) -> None:
    """Its parent is process 1: whatever has called it cannot be told any more."""
    said = caller.folder / "said"
    script = f"{CUT_LOOSE[how]} 2> {said}\nuntil [ -s {said} ]; do sleep 0.05; done\nread x < $GATE"
    caller.check_is_unwatched("bash", "-c", script, said=said)


def test_why_and_json_say_so(caller: Caller) -> None:
    need_place(PLACES["a container"])
    file = caller.file("unitsync start ide || exit\nread x < $GATE\nexit 0\n")
    command = f'{PLACES["a container"]} "$0"; exit $?'
    script = caller.spawn("bash", "-c", command, file)
    gate = caller.at_gate(script)
    assert "not watched" in caller.scripts.run("unitsync", "why", "ide").out
    shown = caller.scripts.run("unitsync", "status", "ide", "--output", "json").out
    assert json.loads(shown)["owner"]["watched"] is False
    caller.open(gate)
    script.end()
    assert caller.info().status is Status.STARTED


def test_callers_in_two_containers_are_not_one(caller: Caller) -> None:
    """Neither can be seen; the second is refused, not taken for the first."""
    where = "unshare -pf bash"
    need_place(where)
    first = caller.scripts.run(*where.split(), "-c", "unitsync start ide; true")
    assert "ide is not watched" in first.err
    owner = caller.info().owner
    assert owner is not None
    assert owner.start > 0  # the next one may get the same pid and the same namespace number
    second = caller.scripts.run(*where.split(), "-c", "unitsync start ide; exit $?")
    assert second.status == 1
    assert "already running" in second.err
