"""A shell that was made for one call passes it on, however it was given the call; one that
goes on to do something is the script itself."""

from __future__ import annotations

import shlex
from typing import Final

import pytest

from callers.calling import KILLED, Caller, need

POSIX: Final = ("sh", "bash", "busybox sh", "zsh", "ksh", "mksh", "posh")

ONE_CALL: Final = [
    "unitsync start ide",
    "unitsync start ide || exit 1",
    "unitsync start ide || true",
    "unitsync start ide && exit 0 || exit 1",
    "unitsync start ide; exit $?",
    "rc=0; unitsync start ide || rc=$?; exit $rc",
    "unitsync start ide || { echo 'no start; giving up' >&2; exit 1; }",
    "unitsync start ide || (echo no; exit 1)",
    "if unitsync start ide; then :; else echo failed; exit 1; fi",
    "if ! unitsync start ide; then logger failed; exit 1; fi",
    "until unitsync start ide; do sleep 1; done",
    "while ! unitsync start ide; do sleep 1; done",
    "for unit in ide; do unitsync start $unit; done",
    "! unitsync start ide",
    "cd / && unitsync start ide",
    "cd /; unitsync start ide;",
    "umask 022; unitsync start ide",
    ". ./env; unitsync start ide",
    "set -e; export A=b; unitsync start ide",
    "unitsync want ide git-clone --optional && unitsync start ide",
    "unitsync start ide && unitsync want other ide",
    "unitsync start ide | tee log",
    "unitsync start ide 2>&1 | sed 's/^/unitsync: /' >> log",
    "unitsync start ide 2>&1",
    "unitsync start ide >log 2>&1 </dev/null",
    "unitsync start ide && echo started >&2",
    "{ unitsync start ide; }",
    "( unitsync start ide )",
    "( cd / && unitsync start ide )",
    "x=$(unitsync start ide)",
    "x=`unitsync start ide`",
    'echo "$(unitsync start ide)"',
    "start() { unitsync start ide; }; start",
    "unitsync start ide # and nothing more; really",
    "\n  unitsync start ide\n\n",
    "unitsync \\\n  start \\\n  ide",
    'unitsync start "ide"',
    "'unitsync' start 'ide'",
    'U=ide; unitsync start "$U"',
    "UNITSYNC=unitsync; $UNITSYNC start ide",
    'unitsync start ide --timeout "5m" || exit 1',
    "unitsync start ide --no-wait",
    "A=b timeout 60 unitsync start ide",
    "time unitsync start ide",
    "exec unitsync start ide",
    "command unitsync start ide",
    "eval 'unitsync start ide || exit 1'",
    "bash -c 'unitsync start ide; true'",
    "sh -c \"sh -c 'cd / && unitsync start ide'\" || exit 1",
]

A_SCRIPT: Final = [
    "unitsync start ide; {gate}",
    "unitsync start ide && {gate}; unitsync complete other",
    "unitsync start ide || exit 1; {gate}",
    "unitsync start ide || exit 1\n{gate}\n",
    "if unitsync start ide; then {gate}; fi",
    "if ! unitsync start ide; then exit 1; else {gate}; fi",
    "if ! unitsync start ide; then exit 1; fi; {gate}",
    "unitsync start ide & wait; {gate}",
    "unitsync start ide | cat; {gate}",
    "( unitsync start ide ); {gate}",
    "unitsync start ide && ( {gate} )",
    "x=$(unitsync start ide); {gate}",
    "sh -c 'unitsync start ide'; {gate}",
    "eval 'unitsync start ide'; {gate}",
    "trap 'unitsync complete other' EXIT; unitsync start ide; {gate}",
    "unitsync want ide other --optional; unitsync start ide; {gate}; unitsync fail other",
    "f() {{ unitsync start ide; }}; g() {{ {gate}; }}; f; g",
    "f() {{ unitsync start ide; {gate}; }}; f",
    "unitsync start ide; echo '#'; {gate}",
    "unitsync start ide; read x < $GATE",
    "unitsync start ide; exec {gate}",
]
"""Of each, the shell is the script: what follows is work."""

OTHER_SHELLS: Final = {
    "fish": ["fish", "-c"],
    "tcsh": ["tcsh", "-c"],
    "rc": ["rc", "-c"],
    "elvish": ["elvish", "-c"],
    "xonsh": ["xonsh", "--no-rc", "-c"],
}

FLAGS: Final = [
    "sh -c --",
    "sh -e -c",
    "sh -cu",
    "sh -ec",
    "bash -eu -o pipefail -c",
    "bash -lc",
    "bash -l -c",
    "bash -ic",
    "bash --norc -c",
    "busybox sh -c",
    "dash -c",
    "zsh -fc",
    "ksh -c",
    "mksh -c",
    "posh -c",
]


@pytest.mark.parametrize("text", ONE_CALL)
def test_one_call(caller: Caller, text: str) -> None:
    caller.file("", "env")
    lines = [f"cd {caller.scripts.folder}", f"sh -c {shlex.quote(text)}"]
    caller.check_belongs_to_caller(*caller.bash(*lines), ends=KILLED)


@pytest.mark.parametrize("shell", FLAGS)
@pytest.mark.parametrize("text", ["unitsync start ide", "cd / && unitsync start ide || exit 1"])
def test_however_the_shell_was_called(caller: Caller, shell: str, text: str) -> None:
    need(shell.split()[0])
    # A login shell has another PATH.
    text = text.replace("unitsync", f"{caller.scripts.folder}/unitsync")
    caller.check_belongs_to_caller(*caller.bash(f"{shell} {shlex.quote(text)}"))


@pytest.mark.parametrize("text", A_SCRIPT)
def test_a_shell_that_goes_on_is_the_script(caller: Caller, text: str) -> None:
    command = text.format(gate="cat $GATE")
    mine = f"echo $$ > $ME; {command}; true"
    caller.check_belongs_to_caller(*caller.bash(f"sh -c {shlex.quote(mine)}"), ends=KILLED)


@pytest.mark.parametrize("shell", OTHER_SHELLS)
@pytest.mark.parametrize("more", ["", "; true"])
def test_another_shells_one_call(caller: Caller, shell: str, more: str) -> None:
    need(shell)
    words = [*OTHER_SHELLS[shell], f"unitsync start ide{more}"]
    caller.check_belongs_to_caller(*caller.bash(shlex.join(words)))


@pytest.mark.parametrize("shell", OTHER_SHELLS)
def test_another_shell_that_goes_on(caller: Caller, shell: str) -> None:
    need(shell)
    caller.check_belongs_to_caller(
        *OTHER_SHELLS[shell], f"unitsync start ide; cat {caller.gate}; echo done"
    )


@pytest.mark.parametrize("shell", [*POSIX, *OTHER_SHELLS])
@pytest.mark.parametrize("how", ["a file", "a pipe"])
def test_a_script_of_each_shell(caller: Caller, shell: str, how: str) -> None:
    need(shell.split()[0])
    words = OTHER_SHELLS[shell][:-1] if shell in OTHER_SHELLS else shell.split()
    file = caller.file(f"unitsync start ide\ncat {caller.gate}\ntrue\n")
    if how == "a file":
        caller.check_belongs_to_caller(*words, file)
    elif shell == "elvish":
        pytest.skip("elvish takes no script from a pipe")
    else:
        caller.check_belongs_to_caller("bash", "-c", f"exec {shlex.join(words)} < {file}")
