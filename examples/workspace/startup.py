"""Starts a workspace as an agent would: every script at once, in a shuffled order.

Nothing but unitsync puts the scripts in order. What came of it is printed, and proven
from the scripts' own notes of the time: no unit began before its prerequisites ended.
With ``--plan``, `unitsync up` runs the same startup from unitsync.toml, but for one script
that is started as before: the plan waits for it by name.

Needs bash, git, and a Python with pip and unitsync; no network. Everything is made in
a temporary folder (or ``--keep DIR``), with a home, a git configuration and a
coordinator of its own, and whatever was started is stopped at the end.

Exit status: 0 if all went as it should, the broken variant included; 1 if not.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from outcome import NEEDS, Outcome, print_outcome

HERE = Path(__file__).resolve().parent
PLAN = HERE / "unitsync.toml"
OUTSIDE_OF_THE_PLAN = "git-config"
SCRIPTS = {path.stem: path for path in sorted((HERE / "scripts").iterdir()) if path.is_file()}
PR_SET_CHILD_SUBREAPER = 36


class Workspace:
    """The folders of one startup and the environment that its scripts see."""

    def __init__(self, root: Path, sockets: Path) -> None:
        self.root = root
        self.work = root / "workspace"
        self.logs = root / "logs"
        self.stamps = root / "stamps"
        self.repositories = root / "repositories"
        for folder in (self.work, self.logs, self.stamps, self.repositories, root / "home"):
            folder.mkdir(parents=True)
        path = [HERE / "bin", Path(sys.executable).parent, *os.get_exec_path()]
        names = ("LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self.env = {
            **kept,
            "PATH": os.pathsep.join(map(str, path)),
            "HOME": str(root / "home"),
            "GIT_CONFIG_GLOBAL": str(root / "home/.gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "UNITSYNC_ENDPOINT": f"ipc://{sockets}/coordinator.sock",
            "WORKSPACE": str(self.work),
            "REPOSITORIES": str(self.repositories),
            "STAMPS": str(self.stamps),
        }

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, text=True, capture_output=True, check=False)

    def make_repository(self) -> None:
        """The bare repository that stands for the one on a server."""
        source = self.root / "source"
        shutil.copytree(HERE / "project", source, ignore=shutil.ignore_patterns("__pycache__"))
        bare = self.repositories / "fieldnotes.git"
        who = ["-c", "user.name=Demo", "-c", "user.email=demo@example.com"]
        for arguments in (
            ["init", "--quiet", "--initial-branch=main"],
            ["add", "."],
            [*who, "commit", "--quiet", "--message=Field notes"],
            ["clone", "--quiet", "--bare", ".", str(bare)],
        ):
            subprocess.run(["git", *arguments], cwd=source, env=self.env, check=True)


def start_scripts(workspace: Workspace, order: list[str]) -> dict[str, subprocess.Popen[bytes]]:
    """All of *order*, one right after the other, each in a session of its own."""
    running = {}
    for name in order:
        with (workspace.logs / f"{name}.log").open("wb") as log:
            running[name] = subprocess.Popen(
                [SCRIPTS[name]],
                env=workspace.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    return running


def bring_up(workspace: Workspace, limit_s: float) -> int:
    """Run the plan, as one would call it in a terminal; returns the exit status of ``up``.

    A service runs until it is told to end: here when the last unit has ended.
    """
    up = subprocess.Popen(["unitsync", "up", PLAN], env=workspace.env, stdin=subprocess.DEVNULL)
    try:
        workspace.call(
            "unitsync", "wait", "report", "--for", "completion", "--timeout", f"{limit_s}"
        )
        workspace.call("unitsync", "down", str(PLAN))
        return up.wait()
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait()


def await_scripts(running: dict[str, subprocess.Popen[bytes]], limit_s: float) -> list[str]:
    """Waits until all have ended; returns the names of those that run after *limit_s*."""
    deadline = time.monotonic() + limit_s
    late = []
    for name, process in running.items():
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            late.append(name)
    return late


def end_scripts(running: dict[str, subprocess.Popen[bytes]]) -> None:
    late = [process for process in running.values() if process.poll() is None]
    for process in late:
        os.killpg(process.pid, signal.SIGTERM)
    for process in late:
        process.wait()


def gather(workspace: Workspace, statuses: Mapping[str, int | None]) -> dict[str, Outcome]:
    """What is known of each unit: from its script, its notes of the time, and unitsync."""
    listed = workspace.call("unitsync", "list", "--output", "json")
    print(listed.stderr, end="")
    units = {unit["unit_name"]: unit for unit in json.loads(listed.stdout or "[]")}
    outcomes = {}
    for name, status in statuses.items():
        notes = workspace.stamps / name
        times = [int(line) for line in notes.read_text().split()] if notes.exists() else []
        unit = units.get(name, {"status": "not registered"})
        outcomes[name] = Outcome(name, status, unit["status"], unit.get("reason", ""), times)
    return outcomes


@contextmanager
def nothing_left(workspace: Workspace) -> Iterator[list[str]]:
    """On leaving, stops everything that was started; yields the list of what had to be
    killed or would not stop, which stays empty if all went as it should.

    Orphans become children of this process, so none can hide.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    left: list[str] = []
    try:
        yield left
    finally:
        server = workspace.work / "web-server.pid"
        if server.exists() and (pid := int(server.read_text())) in child_processes():
            os.kill(pid, signal.SIGTERM)
        workspace.call("unitsync", "stop")
        deadline = time.monotonic() + 10
        while still_has_children():
            if time.monotonic() > deadline:
                for pid, command in child_processes().items():
                    left.append(f"{pid} {command}")
                    os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + 10
            time.sleep(0.005)


def still_has_children() -> bool:
    """Whether any child is left, once one that has ended was taken note of."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def child_processes() -> dict[int, str]:
    """pid and command line of this process's children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = folder.joinpath("stat").read_text(errors="replace")
            command = folder.joinpath("cmdline").read_text(errors="replace")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
            found[int(folder.name)] = command.replace("\0", " ").strip()
    return found


def run_scripts(
    workspace: Workspace, seed: int, limit_s: float, broken_clone: bool
) -> tuple[Mapping[str, int | None], str]:
    """The startup as scripts: their exit statuses, and what ``why`` says if it matters."""
    order = list(SCRIPTS)
    random.Random(seed).shuffle(order)
    title = "The same with nothing to clone" if broken_clone else "A workspace starts"
    print(f"\n{title}: {len(order)} scripts at once, in this order (--seed {seed})")
    print(textwrap.indent(textwrap.fill(" ".join(order), 76, break_on_hyphens=False), "  "))
    print(flush=True)

    running = start_scripts(workspace, order)
    try:
        late = await_scripts(running, limit_s)
        why = workspace.call("unitsync", "why").stdout if broken_clone or late else ""
    finally:
        end_scripts(running)
    for name in late:
        print(f"{name} was still running after {limit_s:g} s, and was ended")
    return {name: process.returncode for name, process in running.items()}, why


def run_plan(
    workspace: Workspace, limit_s: float, broken_clone: bool
) -> tuple[Mapping[str, int | None], str]:
    """The startup as a plan, which has no exit status for each unit, and one script beside it."""
    print(f"\nThe same as a plan, with {OUTSIDE_OF_THE_PLAN}.sh beside it\n\n$ unitsync check")
    check = workspace.call("unitsync", "check", str(PLAN))
    print(f"{check.stdout}{check.stderr}\n$ unitsync up", flush=True)
    running = start_scripts(workspace, [OUTSIDE_OF_THE_PLAN])
    try:
        status = bring_up(workspace, limit_s)
        await_scripts(running, limit_s)
        why = workspace.call("unitsync", "why").stdout if broken_clone else ""
    finally:
        end_scripts(running)
    print(f"\nIt ended with exit status {status}.\n")
    for name in SCRIPTS.keys() - running.keys():
        log = workspace.call("unitsync", "logs", name)
        (workspace.logs / f"{name}.log").write_text(log.stdout)
    ended = {name: process.returncode for name, process in running.items()}
    return {name: ended.get(name) for name in SCRIPTS}, why


def draw(workspace: Workspace, picture: Path | None) -> str:
    """Let unitsync draw what ran when, into the file *picture* if that is given."""
    if picture is None:
        return ""
    made = workspace.call("unitsync", "timeline", "-o", str(picture.resolve()))
    return made.stderr or f"what ran when: {picture}\n"


def run(arguments: argparse.Namespace, root: Path, sockets: Path, seed: int) -> int:
    workspace = Workspace(root, sockets)
    broken_clone = arguments.broken_clone
    if not broken_clone:
        workspace.make_repository()
    with nothing_left(workspace) as left:
        began_ns = time.time_ns()
        if arguments.plan:
            statuses, why = run_plan(workspace, arguments.limit, broken_clone)
        else:
            statuses, why = run_scripts(workspace, seed, arguments.limit, broken_clone)
        outcomes = gather(workspace, statuses)
        drawn = draw(workspace, arguments.timeline)
    report = workspace.work / "report.txt"
    good = print_outcome(
        outcomes,
        began_ns=began_ns,
        logs=workspace.logs,
        report=report.read_text() if report.exists() else "",
        why=why,
        failing={"git-clone"} if broken_clone else set(),
        with_service=arguments.plan and not broken_clone,
    )
    print(drawn, end="")
    for process in left:
        print(f"left behind, and killed: {process}")
    if not left:
        print("stopped: every script, the web server, the coordinator. Nothing is left.")
    return 0 if good and not left else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Start a workspace whose scripts unitsync orders.")
    parser.add_argument("--seed", type=int, help="of the order in which the scripts start")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make everything here and keep it")
    parser.add_argument("--limit", type=float, metavar="SECONDS", default=120, help="then give up")
    parser.add_argument("--plan", action="store_true", help="as a plan: unitsync.toml")
    parser.add_argument("--broken-clone", action="store_true", help="there is nothing to clone")
    parser.add_argument(
        "--timeline", type=Path, metavar="FILE", help="draw what ran when: .svg or .html"
    )
    arguments = parser.parse_args()

    # So that a terminated run cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    assert SCRIPTS.keys() == NEEDS.keys(), "outcome.py has to name every script"
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    for program in ("unitsync", "git", "bash"):
        if not shutil.which(program, path=search):
            print(f"error: this example needs {program}", file=sys.stderr)
            return 1
    seed = random.randrange(1000) if arguments.seed is None else arguments.seed
    # A socket's path may be 107 bytes long, and a folder given by --keep longer than that.
    with tempfile.TemporaryDirectory(prefix="unitsync-demo-", dir="/tmp") as temporary:
        sockets = Path(temporary, "s")
        sockets.mkdir(mode=0o700)
        root = (arguments.keep or Path(temporary)).resolve()
        if arguments.keep and root.exists() and any(root.iterdir()):
            print(f"error: {root} is not empty", file=sys.stderr)
            print(f"hint: name another folder, or remove it: rm -r {root}", file=sys.stderr)
            return 1
        try:
            return run(arguments, root, sockets, seed)
        except KeyboardInterrupt:
            return 130
        finally:
            if arguments.keep:
                print(f"kept: logs/ of each script, workspace/ with what they made, in\n{root}")


if __name__ == "__main__":
    sys.exit(main())
