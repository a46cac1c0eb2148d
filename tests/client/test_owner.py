"""Who called: real scripts, wrappers and subshells, seen from /proc."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unitsync import errors, owner, surroundings, wire

VERB = f"{sys.executable} -c 'from unitsync import owner, wire; import msgspec, sys; \
sys.stdout.buffer.write(msgspec.json.encode(owner.calling_script()))'"


def script_owner(folder: Path, body: str, shell: str = "sh") -> tuple[wire.Owner, int]:
    """The owner that VERB found in a script with *body*, and the script's pid."""
    import msgspec

    script = folder / "startup.sh"
    script.write_text(body.replace("VERB", VERB) + "\ntrue\n")
    process = subprocess.Popen([shell, str(script)], stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=30)
    return msgspec.json.decode(out, type=wire.Owner), process.pid


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    "body",
    [
        "VERB",
        "( VERB )",
        "( ( VERB; true ); true )",
        'echo "$(VERB)"',
        "VERB | cat",
        "f() { VERB; }; f",
        "timeout 20 VERB",
        "nice env A=1 timeout 20 VERB",
        "( nice timeout 20 VERB; true )",
        "VERB & wait",
        "echo x | xargs -I{} VERB",
        "setsid --wait VERB",
    ],
)
def test_is_the_script(tmp_path: Path, shell: str, body: str) -> None:
    found, pid = script_owner(tmp_path, body, shell)
    assert (found.pid, found.watched) == (pid, True)
    assert found.command == f"{shell} {tmp_path}/startup.sh"
    assert found.start > 0
    assert found.ns == os.stat("/proc/self/ns/pid").st_ino


def test_is_the_inner_one_of_two_scripts(tmp_path: Path) -> None:
    inner = tmp_path / "inner.sh"
    inner.write_text(f"{VERB}\ntrue\n")
    found, pid = script_owner(tmp_path, f"sh {inner}\ntrue")
    assert found.pid != pid
    assert found.command == f"sh {inner}"


@pytest.mark.parametrize(
    ("text", "passes_on"),
    [
        ("unitsync start ide", True),
        ("exec unitsync start ide >log 2>&1 </dev/null", True),
        ("unitsync start ide &>log", True),
        ("/opt/bin/unitsync start ide", True),
        ("A=b timeout 5 unitsync start ide", True),
        ("time -p unitsync start ide", True),
        ("coder exp sync start ide", True),
        ("'/opt/bin/python3' -m unitsync start ide", True),
        (". ./startup.sh", False),
        ("source ./startup.sh", False),
        ("time . ./startup.sh", False),
        ('eval "$STARTUP"', False),
        ("a_function", False),
        ("A=b", False),
        ("unitsync start ide; make", False),
        ("unitsync start ide && make", False),
        ("unitsync start ide | cat", False),
        ("unitsync start ide &", False),
        ("unitsync start ide\nmake", False),
        ("(unitsync start ide)", False),
        ("x=$(unitsync start ide)", False),
    ],
)
@pytest.mark.parametrize(("called", "flag"), [("/bin/sh", "-c"), ("sh", "-ec"), ("-sh", "-c")])
def test_a_shell_that_was_given_one_command_is_not_the_script(
    text: str, passes_on: bool, called: str, flag: str
) -> None:
    args = b"\0".join([called.encode(), flag.encode(), text.encode(), b""])
    stat = b"7 (sh) S 1" + b" 0" * 20
    assert surroundings.Process(7, stat, args, "/bin/dash").is_wrapper is passes_on


@pytest.mark.parametrize("name", ["time", "parallel", "env"])
@pytest.mark.parametrize("interpreter", ["/bin/sh", sys.executable])
def test_a_script_called_like_a_wrapper_is_a_script(
    tmp_path: Path, interpreter: str, name: str
) -> None:
    inner = tmp_path / name
    in_python = f"import subprocess\nsubprocess.run({shlex.split(VERB)!r})"
    text = VERB if interpreter == "/bin/sh" else in_python
    inner.write_text(f"#!{interpreter}\n{text}\n")
    inner.chmod(0o755)
    found, _ = script_owner(tmp_path, f"{inner}\ntrue")
    assert found.command == f"{interpreter} {inner}"


def test_a_wrapper_that_is_a_script(tmp_path: Path) -> None:
    """GNU parallel is one, in Perl."""
    if shutil.which("perl") is None:
        pytest.skip("there is no perl")
    program = tmp_path / "parallel"
    program.write_text("#!/usr/bin/env -S perl\nsystem(@ARGV);\n")
    program.chmod(0o755)
    found, pid = script_owner(tmp_path, f"{program} {VERB}")
    assert found.pid == pid


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare")
def test_the_init_of_a_namespace_cannot_be_watched(tmp_path: Path) -> None:
    script = tmp_path / "init.sh"
    script.write_text(f"{VERB}\ntrue\n")
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
    script.write_text(f"{VERB}\ntrue\n")
    found, _ = script_owner(tmp_path, f"unshare --pid --fork sh {script}")
    assert (found.pid, found.start, found.watched) == (1, 0, False)


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
    ended.wait()
    with pytest.raises(errors.UsageError, match=f"no process {ended.pid}"):
        owner.of_pid(ended.pid)


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
    assert "import sys sys.stdin.read() # [31m é xxx" in command
    assert len(command.encode()) <= wire.TEXT_BYTES_MAX
