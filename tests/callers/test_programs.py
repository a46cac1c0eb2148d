"""A program that was made for one call passes it on: its arguments contain the call."""

from __future__ import annotations

import os
import sys
from typing import Final

import pytest

from callers.calling import Caller, need
from unitsync.coder import shim
from unitsync.wire import Status

FORMS: Final = [
    ("env", "env A=b {verb}"),
    ("env", "env -S 'A=b {verb}'"),
    ("timeout", "timeout 60 {verb}"),
    ("nice", "nice -n 1 {verb}"),
    ("ionice", "ionice -c 3 {verb}"),
    ("chrt", "chrt --other 0 {verb}"),
    ("taskset", "taskset 1 {verb}"),
    ("nohup", "nohup {verb}"),
    ("stdbuf", "stdbuf -o0 {verb}"),
    ("setsid", "setsid --wait {verb}"),
    ("setarch", "setarch -R {verb}"),
    ("prlimit", "prlimit --core=0 {verb}"),
    ("choom", "choom -n 100 -- {verb}"),
    ("bash", "time {verb}"),
    ("time", "command time -o log {verb}"),
    ("numactl", "numactl --localalloc {verb}"),
    ("flock", "flock lock {verb}"),
    ("flock", "flock lock -c 'cd / && {verb}'"),
    ("script", "script -qc '{verb}' log"),
    ("script", "script -qc 'cd / && {verb} || exit 1' log"),
    ("find", "find . -maxdepth 0 -exec {verb} \\;"),
    ("find", "find ide -exec unitsync {word} {{}} \\;"),
    ("find", "find ide -exec unitsync {word} {{}} +"),
    ("find", "find ide -exec sh -c 'unitsync {word} \"$1\" || exit 1' _ {{}} \\;"),
    ("xargs", "echo ide | xargs unitsync {word}"),
    ("xargs", "echo ide | xargs -I UNIT unitsync {word} UNIT"),
    ("xargs", "echo ide | xargs -I X sh -c 'cd /; unitsync {word} X'"),
    ("busybox", "echo ide | busybox xargs unitsync {word}"),
    ("busybox", "busybox time {verb}"),
    ("busybox", "busybox timeout 60 {verb}"),
    ("parallel", "parallel unitsync {word} ::: ide"),
    ("parallel", "parallel unitsync {word} {{}} --timeout 5m ::: ide"),
    ("sem", "sem --fg {verb}"),
    ("setsid", "timeout 60 env nice setsid --wait sh -c '{verb}; true'"),
    ("faketime", "faketime '1 day ago' {verb}"),
    ("fakeroot", "fakeroot {verb}"),
    ("fakeroot", "fakeroot -- {verb}"),
    ("dbus-run-session", "dbus-run-session -- {verb}"),
    ("unbuffer", "unbuffer {verb}"),
    ("expect", "expect -c 'spawn {verb}' -c 'expect eof'"),
    ("expect", "expect -c 'system {verb}'"),
    ("strace", "strace -f -o log {verb}"),
    ("ltrace", "ltrace -o log {verb}"),
    ("perf", "perf stat -o log {verb}"),
    ("chronic", "chronic {verb}"),
    ("ifne", "ifne -n {verb} < /dev/null"),
    ("bwrap", "bwrap --dev-bind / / {verb}"),
    ("proot", "proot {verb}"),
    ("cpulimit", "cpulimit -l 100 -f -- {verb}"),
    ("tini", "tini -s -- {verb}"),
    ("dumb-init", "dumb-init {verb}"),
    ("catatonit", "catatonit -- {verb}"),
    ("pipexec", "pipexec -- [ A {path} {word} ide ]"),
    ("direnv", "direnv exec . {verb}"),
    ("setuidgid", "setuidgid root {verb}"),
    ("softlimit", "softlimit -o 1024 {verb}"),
    ("chpst", "chpst -o 1024 {verb}"),
    ("s6-setuidgid", "s6-setuidgid root {verb}"),
    ("execlineb", "execlineb -c 'foreground {{ {verb} }} true'"),
    ("execlineb", "execlineb -c 'foreground {{ {verb} }}'"),
    ("uv", "uv run --no-project {verb}"),
    ("honcho", "honcho run {verb}"),
    ("foreman", "foreman run {verb}"),
    ("git", "git -c alias.go='!{verb}' go"),
    ("git", "git -c alias.go='!cd / && {verb}' go"),
    ("python3", "python3 -c 'import os; os.system(\"{verb}\")'"),
    ("python3", "python3 -c 'import os; os.system(\"cd / && {verb} || exit 1\")'"),
    ("python3", 'python3 -c \'import subprocess; subprocess.run(["unitsync","{word}","ide"])\''),
    ("perl", "perl -e 'system(\"{verb}\") == 0 or die'"),
    ("awk", "awk 'BEGIN {{ system(\"{verb}\") }}'"),
    ("bash", "./with-env {verb}"),
    ("bash", "./with-env timeout 60 {verb}"),
    ("bash", "shim/unitsync {word} ide"),
    ("bash", "sh -c 'cd / && coder exp sync {word} ide || exit 1'"),
    ("timeout", "timeout 60 coder exp sync {word} ide --no-open"),
    ("timeout", "timeout 60 coder --verbose exp sync {word} --socket-path /x ide"),
    ("timeout", "timeout 60 {python} -P -m unitsync {word} ide"),
    ("timeout", "timeout 60 unitsync --endpoint $UNITSYNC_ENDPOINT {word} ide"),
]
"""What it takes, and how it is given the call."""

AS_ROOT: Final = [
    ("unshare", "unshare --mount {verb}"),
    ("start-stop-daemon", "start-stop-daemon --start --exec {path} -- {word} ide"),
    ("nsenter", "nsenter -t 1 --mount {verb}"),
    ("chroot", "chroot / {verb}"),
    ("setpriv", "setpriv --reuid=0 {verb}"),
    ("su", "su -s /bin/sh -c '{verb} || exit 1'"),
    ("runuser", "runuser -u root -- {verb}"),
    ("sudo", 'sudo -E env PATH="$PATH" {verb}'),
    ("sudo", "sudo -E -s {path} {word} ide"),
    ("gosu", "gosu root {verb}"),
]
"""Without being asked for a password."""


@pytest.fixture
def folder(caller: Caller) -> None:
    caller.file("", "ide")
    caller.file('#!/bin/sh\nexport A=b\n"$@"\n', "with-env")
    caller.file('#!/bin/sh\nunitsync "$@"\n', "shim/unitsync")
    shim.install(caller.scripts.folder, force=True)


def check(caller: Caller, program: str, form: str) -> None:
    need(program)

    def line(word: str, verb: str) -> str:
        path = f"{caller.scripts.folder}/unitsync"
        return form.format(verb=verb, word=word, path=path, python=sys.executable)

    begin = f"cd {caller.scripts.folder}"
    if program == "fakeroot" and os.geteuid():
        pytest.skip("under fakeroot a user seems to be root, who has a coordinator of their own")
    if "{verb}" in form:
        trial = caller.scripts.run("bash", "-c", f"{begin}; {line('', 'true')}")
        if trial.status:
            pytest.skip(f"{program} does not work here: {trial.err}")
    caller.check_belongs_to_caller(*caller.bash(begin, line("start", "unitsync start ide")))


@pytest.mark.parametrize(("program", "form"), FORMS, ids=[form for _, form in FORMS])
@pytest.mark.usefixtures("folder")
def test_a_program_made_for_the_call(caller: Caller, program: str, form: str) -> None:
    check(caller, program, form)


@pytest.mark.skipif(os.geteuid() != 0, reason="would ask for a password")
@pytest.mark.parametrize(("program", "form"), AS_ROOT, ids=[form for _, form in AS_ROOT])
def test_a_program_made_for_the_call_by_root(caller: Caller, program: str, form: str) -> None:
    check(caller, program, form)


LAUNCHERS: Final = [
    ("bash", "exec {script}"),
    ("sh", 'sh -c \'exec "$0" "$@"\' {script}'),
    ("entr", "echo $ME.log | entr -nz {script}"),
    ("tmux", "tmux -L $$ -f /dev/null new-session -d {script}"),
    ("screen", "screen -D -m {script}"),
    ("setsid", "setsid -f {script}"),
    ("daemonize", "daemonize {script}"),
    ("nohup", "nohup {script} & wait"),
    ("at", "sh < {script}"),
]


@pytest.mark.parametrize(("program", "form"), LAUNCHERS, ids=[form for _, form in LAUNCHERS])
def test_a_program_that_launches_a_script_is_not_it(
    caller: Caller, program: str, form: str
) -> None:
    need(program)
    text = "exec > /dev/null 2>&1\necho $$ > $ME\nunitsync start ide\nread x < $GATE\ntrue\n"
    line = form.format(script=caller.file(f"#!/bin/bash\n{text}"))
    caller.file("", "../me.log")
    caller.check_belongs_to_caller("bash", "-c", f"{line}; true")


def test_execline_that_goes_on_is_the_script(caller: Caller) -> None:
    """``foreground`` replaces itself by what follows the block."""
    need("execlineb")
    text = f"foreground {{ unitsync start ide }}\nforeground {{ cat {caller.gate} }}\ntrue\n"
    caller.check_belongs_to_caller("execlineb", caller.file(text))


def test_a_script_that_is_called_with_another_call(caller: Caller) -> None:
    """It starts a unit of its own before it passes on what it was given."""
    mine = caller.file("echo $$ > $ME\nunitsync start ide\nread x < $GATE\n", "with-ide")
    caller.check_belongs_to_caller("bash", "-c", f"bash {mine} unitsync start other; true")


@pytest.mark.parametrize("name", ["time", "parallel", "env", "unitsync.sh", "start"])
@pytest.mark.parametrize("interpreter", ["/bin/sh", "/usr/bin/env bash", "python"])
def test_a_script_is_a_script_whatever_it_is_called(
    caller: Caller, interpreter: str, name: str
) -> None:
    if interpreter == "python":
        interpreter = sys.executable
        text = "import os\nos.system('unitsync start ide')\nopen(os.environ['GATE']).read()\n"
    else:
        text = "unitsync start ide\nread x < $GATE\n"
    caller.check_belongs_to_caller(caller.file(f"#!{interpreter}\n{text}", f"of-mine/{name}"))


def test_what_says_complete_is_known_as_who_was_not_granted_the_start(caller: Caller) -> None:
    """Through whatever each was called."""
    done = caller.scripts.run(
        *("bash", "-c"),
        "sh -c -- 'unitsync start ide --after never --timeout 0 || true'\n"
        "timeout 60 sh -c 'cd / && unitsync complete ide || exit 1'\n"
        "exit 0",
    )
    assert "ide is recorded as failed: never started" in done.err
    assert caller.info().status is Status.FAILED
