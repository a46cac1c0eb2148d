"""Who called: real scripts, wrappers and subshells, seen from /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from unitsync import errors, wire
from unitsync.clients import owner
from unitsync.coder import agent as coder_agent
from unitsync.owner import calling_script

PROGRAM = f"""#!{sys.executable}
import sys
import msgspec
from unitsync.owner import calling_script
sys.stdout.buffer.write(msgspec.json.encode(calling_script.calling_owner(sys.argv)))
"""


def script_owner(folder: Path, body: str) -> tuple[wire.Owner, int]:
    """The owner that VERB found in a script with *body*, and the script's pid."""
    program = folder / "unitsync"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    script = folder / "startup.sh"
    script.write_text(body.replace("VERB", f"{program} start ide") + "\ntrue\n")
    process = subprocess.Popen(["sh", str(script)], stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=30)
    return msgspec.json.decode(out, type=wire.Owner), process.pid


def test_is_the_script(tmp_path: Path) -> None:
    """tests/callers has what may be between the two."""
    found, pid = script_owner(tmp_path, "timeout 20 VERB")
    assert (found.pid, found.watched) == (pid, True)
    assert found.command == f"sh {tmp_path}/startup.sh"
    assert found.start > 0
    assert found.ns == os.stat("/proc/self/ns/pid").st_ino
    assert found.clock == os.stat("/proc/self/ns/time").st_ino


# --- what /proc says ----------------------------------------------------------------


def process(
    args: str = "bash", *, flags: int = 0x400000, image: int = 7, group: int = 50
) -> calling_script.Process:
    fields = ["S", "1", *["0"] * 48]
    fields[2], fields[6], fields[25], fields[45] = map(str, (group, flags, image, image))
    stat = f"7 (bash) {' '.join(fields)}".encode()
    return calling_script.Process(7, stat, args.replace(" ", "\0").encode() + b"\0")


FORKED = 0x400040


@pytest.mark.parametrize(
    ("child", "is_copy"),
    [
        (process(flags=FORKED), True),
        (process(), False),
        (process(flags=0), False),  # without address randomisation
        (process(flags=FORKED, image=8), True),  # its parent runs another program by now
        (process(flags=FORKED, image=8, group=51), False),  # an orphan that was taken over
        (process(flags=FORKED, image=0, group=51), True),  # of another user
        (process("bash x.sh", flags=FORKED, image=0, group=51), False),
        (process(image=0), False),
        (process(flags=0, image=0), True),  # the kernel tells nothing: by its arguments
        (process("bash x.sh", flags=0, image=0), False),
    ],
)
def test_fork_or_exec(child: calling_script.Process, is_copy: bool) -> None:
    parent = process(image=child.image[0] and 7)
    assert (child.is_forked and child.is_copy_of(parent)) is is_copy


@pytest.mark.parametrize(
    ("args", "passes_on"),
    [
        ("timeout 5 unitsync start ide", True),
        ("timeout 5 /opt/bin/unitsync start ide --after a", True),
        ("xargs unitsync start", True),
        ("xargs unitsync", False),
        ("xargs -I X unitsync start X", True),
        ("xargs -IX unitsync start X", True),
        ("find -exec unitsync start {} ;", True),
        ("perl parallel unitsync start {} --after a ::: b ide", True),
        ("timeout 5 unitsync start other", False),
        ("timeout 5 unitsync complete ide", False),
        ("timeout 5 us start ide", True),
        ("timeout 5 othersync start ide", False),
        ("sh /usr/bin/unitsync start ide", True),
        ("bash unitsync.sh start ide", False),
        ("bash service start ide", False),
        ("coder exp sync start --socket-path x ide", True),
        ("coder agent", False),
        ("", False),
    ],
)
def test_arguments_that_contain_the_call(args: str, passes_on: bool) -> None:
    argv = ["/usr/local/bin/us", "start", "ide", "--after", "a"]
    assert process(args).passes_on(argv) is passes_on


def test_a_long_text_is_a_script() -> None:
    """What there is to read has a bound."""
    for blanks, passes_on in ((10, True), (5000, False)):
        text = f"true;{' ' * blanks}unitsync start ide"
        stat = b"7 (sh) S 1" + b" 0" * 50
        shell = calling_script.Process(7, stat, f"sh\0-c\0{text}\0".encode())
        assert shell.passes_on(["unitsync", "start", "ide"]) is passes_on


def test_the_code_of_a_python_is_no_call() -> None:
    """What sys.argv has for a verb that runs by ``python -c``, as behind the shim."""
    assert not process("sh -c start").passes_on(["-c", "start", "ide"])


@pytest.mark.parametrize(
    ("args", "is_agent"),
    [
        ("coder agent", True),
        ("./coder agent --no-reap", True),
        ("/tmp/coder.x/coder -v --log=x agent", True),
        ("coder dotfiles", False),
        ("coder dotfiles agent", False),
        ("coder", False),
        ("/bin/sh /usr/local/bin/coder agent", False),
        ("code agent", False),
        ("", False),
    ],
)
def test_coders_agent(args: str, is_agent: bool) -> None:
    assert coder_agent.is_agent(process(args)) is is_agent


def test_a_restarted_agent_is_another_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = process("coder agent")
    agent.start = 4711
    monkeypatch.setattr(coder_agent, "read_process", {os.getppid(): process(), 1: agent}.get)
    monkeypatch.setattr(coder_agent, "namespace", lambda kind: 9)
    assert coder_agent.startup() == "coder-9-7-4711"
    monkeypatch.setattr(coder_agent, "proc_is_ours", lambda: False)
    assert coder_agent.startup() == ""


# --- namespaces -----------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare")
def test_the_init_of_a_namespace_cannot_be_watched(tmp_path: Path) -> None:
    script = tmp_path / "init.sh"
    script.write_text(f"{tmp_path}/unitsync start ide\ntrue\n")
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False)
    if probe.returncode:
        pytest.skip("no new namespaces here")
    body = f"unshare --pid --fork --mount-proc sh {script}"
    found, _ = script_owner(tmp_path, body)
    assert (found.pid, found.watched) == (1, False)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare")
def test_the_proc_of_another_namespace_is_not_asked(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("no new namespaces here")
    script = tmp_path / "inner.sh"
    script.write_text(f"{tmp_path}/unitsync start ide\ntrue\n")
    found, _ = script_owner(tmp_path, f"unshare --pid --fork sh {script}")
    assert (found.pid, found.command, found.watched) == (1, "", False)
    assert found.start > 0  # not another container with the same number


def test_this_process() -> None:
    found = owner.this_process()
    assert (found.pid, found.watched) == (os.getpid(), True)
    # What started the tests: pytest itself, or a worker of it. Its first word is enough.
    first = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    assert found.command.split()[0] == first


def test_of_pid() -> None:
    parent = owner.of_pid(os.getppid())
    assert (parent.pid, parent.watched) == (os.getppid(), True)
    assert not owner.of_pid(1).watched
    for pid in (0, 2**31, 2**70):
        with pytest.raises(errors.UsageError, match=f"no process {pid}"):
            owner.of_pid(pid)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):  # as long as it waits to be reaped, and afterwards
        with pytest.raises(errors.UsageError, match=f"no process {ended.pid}"):
            owner.of_pid(ended.pid)
        ended.wait()


def test_of_a_pid_that_proc_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user, under hidepid."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(calling_script, "read_process", lambda pid: None)
    monkeypatch.setattr(os, "kill", refuse)
    assert not owner.of_pid(os.getpid()).watched


def test_a_command_is_shown_on_one_line() -> None:
    program = "print(flush=True)\nimport sys\nsys.stdin.read()  # \x1b[31m é"
    with subprocess.Popen(
        [sys.executable, "-c", program, "x" * 10_000],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        command = owner.of_pid(process.pid).command
        process.communicate()
    assert "import sys sys.stdin.read() # [31m é' xxx" in command
    assert len(command.encode()) <= wire.TEXT_BYTES_MAX
