"""The coordinator that a verb starts: not held back by how its first caller was (10), not
led astray by modules of others (11), where little is there (12), and with the packages
that its caller has found (13)."""

from __future__ import annotations

import os
import re
import resource
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import loguru
import msgspec
import pytest
import zmq

import unitsync
import unitsyncd
from cli.conftest import PATIENCE_S, UNITSYNC, Cli
from environment.oddities import ALONE, UNPRIVILEGED, needs_namespaces
from support.users import _LOADED, CLI, SERVE


def coordinator(cli: Cli) -> int:
    with cli.client() as client:
        return client.ping().pid


# --- 10: what is inherited ----------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take back a nice value")
def test_what_its_first_caller_had_does_not_stay(cli: Cli) -> None:
    before = "ulimit -S -f 100 -t 600 -v 4000000; nice -n 5 ionice -c 3 chrt --batch 0"
    cli.exec("bash", "-c", f'{before} "$@"', "bash", *cli.command, "want", "a", "b")
    pid = coordinator(cli)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 0
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_AS):
        soft, hard = resource.prlimit(pid, kind)
        assert soft == hard
    shown = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True)
    assert not shown.stdout.startswith("idle"), shown


def test_what_cannot_be_taken_back_is_named_by_doctor(cli: Cli) -> None:
    """A hard limit stays; the error says which it is."""
    done = cli.exec("bash", "-c", 'ulimit -f 200; "$@"', "bash", *cli.command, "want", "a", "b")
    assert done.status == 0
    notes = cli("doctor").out
    assert re.search(r"note +limits +the coordinator may have no more than [\d,]+ bytes", notes)
    names = [f"prerequisite-{number}" for number in range(2000)]
    refused = next(
        result for number in range(200) if (result := cli("want", f"u{number}", *names)).status != 0
    )
    assert refused.status == 1
    assert "File too large" in refused.told[0]
    assert "ulimit -f" in refused.told[1]


@pytest.mark.parametrize("umask", ["0277", "0777"])
def test_an_odd_umask_of_a_first_caller_is_in_nobodys_way(cli: Cli, umask: str) -> None:
    """16: of one who is not root, or has not its rights; nor in that of the next caller."""
    script = f"""
        umask {umask}
        unitsync() {{ {shlex.join([*UNPRIVILEGED, *UNITSYNC])} "$@"; }}
        unitsync want a b && unitsync stop && unitsync want c d && unitsync doctor
    """
    result = cli.exec("bash", "-c", script)
    assert (result.status, result.err) == (0, ""), result
    assert stat.S_IMODE((cli.folder / "c").stat().st_mode) == 0o700
    with cli.client() as client:
        assert [unit.name for unit in client.list()] == ["a", "c", "b", "d"]


# --- 11: modules of others ----------------------------------------------------------

SHADOWS = ("zmq", "json", "random", "typing", "signal", "socket", "copy", "types", "sqlite3")
MORE = ("msgspec", "typer", "rich", "loguru", "asyncio", "logging", "difflib", "unitsyncd")


@pytest.mark.parametrize("where", ["PYTHONPATH", "empty"])
def test_modules_of_others_are_not_loaded(cli: Cli, where: str) -> None:
    """11: by their names, from PYTHONPATH or, where that has an empty entry, from here."""
    folder = cli.folder / "theirs" if where == "PYTHONPATH" else cli.folder
    folder.mkdir(exist_ok=True)
    for name in (*SHADOWS, *MORE):
        (folder / f"{name}.py").write_text(f"raise SystemExit('theirs: {name}')\n")
    path = {"PYTHONPATH": str(folder) if where == "PYTHONPATH" else ":"}
    for words in ("want a b", "run u -- true", "list", "why", "status a", "doctor", "stop"):
        result = cli(*words.split(), env=path)
        assert result.status == 0, (words, result)
        assert "theirs" not in result.out + result.err


# --- 12: where little is there --------------------------------------------------------


@needs_namespaces
@pytest.mark.parametrize(
    "missing",
    [
        "umount -l /proc",
        "mount -t tmpfs tmpfs /dev",
        "umount -l /proc; mount -t tmpfs tmpfs /dev",
    ],
    ids=["proc", "null", "both"],
)
def test_one_is_started_all_the_same(cli: Cli, missing: str) -> None:
    script = f'{missing}; "$@" < /etc/hostname'
    for words in (("want", "a", "b"), ("run", "u", "--", "true"), ("stop",)):
        result = cli.exec(*ALONE, script, "sh", *UNITSYNC, *words)
        busy = ("u is not watched", "still starting the coordinator")
        told = [line for line in result.told if not any(text in line for text in busy)]
        assert (result.status, told) == (0, []), (words, result)


@pytest.mark.parametrize("most", [5, 8, 10, 12, 16, 20, 31])
def test_few_open_files_are_named(cli: Cli, most: int) -> None:
    script = f'ulimit -n {most}; exec "$@"'
    result = cli.exec("bash", "-c", script, "bash", *UNITSYNC, "ping")
    assert result.status == 69, result
    assert re.search("files may be open|open no more files|Too many open", result.told[0])
    assert "ulimit -n" in result.told[-1]


@pytest.mark.usefixtures("shared_cli")
@pytest.mark.parametrize("most", [5, 8, 10, 12, 16])
def test_few_open_files_with_a_coordinator(cli: Cli, most: int) -> None:
    with cli.client() as client:
        client.want("a", "b")
    for words in ("list", "why", "doctor", "want c d"):
        script = f'ulimit -n {most}; exec "$@"'
        result = cli.exec("bash", "-c", script, "bash", *UNITSYNC, *words.split())
        assert "defect" not in result.out + result.err, result
        assert result.status in (0, 1, 69), result
        if result.status != 0:
            assert "open files" in result.out + result.err or "files" in result.out + result.err


def test_as_few_as_a_coordinator_needs(cli: Cli) -> None:
    result = cli.exec("bash", "-c", 'ulimit -n 32; exec "$@"', "bash", *UNITSYNC, "want", "a", "b")
    assert (result.status, result.err) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_no_more_processes_are_named(cli: Cli) -> None:
    """12: ulimit -u, which root is not bound by."""
    code = _LOADED + (
        "import resource, unitsync.link.endpoint\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "unitsync.cli.main()"
    )
    cli.folder.chmod(0o1777)
    result = cli.exec(sys.executable, "-P", "-c", code, "12345", "ping")
    assert result.status == 69, result
    assert "no coordinator could be started" in result.told[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_no_more_threads_are_named(cli: Cli) -> None:
    """With a coordinator that runs. Verbs need none, and where libzmq would end the process it
    is said so."""
    code = (
        f"{_LOADED}import resource, unitsync.link.endpoint\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "unitsync.cli.main()"
    )
    cli.folder.chmod(0o1777)
    theirs = [sys.executable, "-P", "-c"]
    cli.spawn(command=[*theirs, SERVE, "12345"])
    while cli.exec(*theirs, CLI, "12345", "ping", env={"UNITSYNC_AUTOSTART": "0"}).status:
        pass
    for verb in ("list", "why", "ping"):
        assert cli.exec(*theirs, code, "12345", verb).status == 0, verb
    result = cli.exec(*theirs, code, "12345", "doctor")
    assert (result.status, "may start no more threads" in result.out) == (1, True)
    assert "ulimit -u" in result.out


# --- 13: what its caller can import -----------------------------------------------------


def packages(folder: Path) -> Path:
    """All that is needed, in one folder, as pip --target has it."""
    folder.mkdir(parents=True)
    for module in (unitsync, unitsyncd, loguru, msgspec, zmq):
        assert module.__file__ is not None
        source = Path(module.__file__).parent
        (folder / source.name).symlink_to(source)
        for more in source.parent.glob(f"py{source.name}.libs"):
            (folder / more.name).symlink_to(more)
    return folder


BARE = [sys.executable, "-I", "-S"]
"""A Python that finds nothing but its own library."""


def test_where_its_caller_was_told_to_look(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """13: sys.path.insert(0, TARGET) in the caller alone."""
    target = packages(cli.folder / "target dir")
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "from unitsync.link import spawn\n"
        "print(spawn._environment({})['PYTHONPATH'])\n"
    )
    done = subprocess.run(
        [*BARE, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.stdout, done.stderr) == (f"{target}\n", "")


def test_a_coordinator_from_a_target_folder(cli: Cli, tmp_path: Path) -> None:
    target = packages(cli.folder / "target")
    empty = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "from unitsync import Client\n"
        "with Client() as client: print(client.ping().pid)\n"
    )
    done = subprocess.run(
        [empty / "bin" / "python", "-P", "-c", program],
        env=cli.env(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stderr == ""
    assert int(done.stdout) == coordinator(cli)


def test_a_coordinator_from_a_user_base(cli: Cli, tmp_path: Path) -> None:
    """13: pip --user, with PYTHONUSERBASE."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages(cli.folder / "base" / "lib" / version / "site-packages")
    done = subprocess.run(
        [sys._base_executable, "-P", "-c", "from unitsync import Client; Client().ping()"],  # type: ignore[attr-defined]
        env=cli.env({"PYTHONUSERBASE": str(cli.folder / "base")}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    coordinator(cli)
