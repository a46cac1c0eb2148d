"""The example in examples/hosts, run the way its README says: three real servers, four hosts."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hosts"


class Job:
    """A run of the example, whose processes all have a mark in their environment."""

    def __init__(self, example: Path = EXAMPLE) -> None:
        self._mark = secrets.token_hex(16)
        self.process = subprocess.Popen(
            [sys.executable, str(example / "job.py"), "--limit", "45"],
            env={**os.environ, "MARK": self._mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        assert any(text in line for line in self.process.stdout)

    def running(self) -> list[str]:
        """The command lines of its processes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"MARK={self._mark}".encode() in process.joinpath("environ").read_bytes():
                    found.append(process.joinpath("cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


def test_the_order_holds_while_parts_of_the_job_are_killed() -> None:
    job = Job()
    output, _ = job.process.communicate(timeout=58)
    assert job.process.returncode == 0, output
    assert "all 28 times" in output
    assert "kill -9: the coordinator of node-2" in output
    assert re.search(r"kill -9: log-\d, the server that leads the log", output)
    assert "ready@node-3: started" in output, "why names the host that all wait for"
    assert output.splitlines()[-1].endswith("Nothing is left.")
    said = [line for line in output.splitlines() if not {"├", "└"} & {*line}]
    assert all(len(line) <= 80 for line in said), output
    assert job.running() == []


def test_nothing_is_left_when_it_is_interrupted() -> None:
    job = Job()
    job.read_until("started: node.sh")
    running = "\n".join(job.running())
    folders = set(re.findall(r"/tmp/unitsync-hosts-\w+", running))
    assert len(folders) == 1, running
    job.process.send_signal(signal.SIGINT)
    output, _ = job.process.communicate(timeout=30)
    assert job.process.returncode == 130, output
    assert output.splitlines()[-1].endswith("Nothing is left."), output
    assert job.running() == []
    assert not any(map(os.path.exists, folders))


def test_the_proof_notices_when_a_unit_does_not_wait(tmp_path: Path) -> None:
    """On one host, unitsync lets the work begin before it waits. The log keeps its leader: that is
    not what this is about, and another one takes long."""
    example = tmp_path / "example"
    shutil.copytree(EXAMPLE, example)
    program = (example / "job.py").read_text()
    assert program.count("servers.kill_the_leader()") == 1
    (example / "job.py").write_text(program.replace("servers.kill_the_leader()", "'nothing'"))
    careless = example / "bin" / "unitsync"
    careless.write_text(
        "#!/usr/bin/env bash\n"
        f"real={Path(sys.executable).parent}/unitsync\n"
        '[[ $2@$UNITSYNC_HOST == train@node-1 ]] || exec $real "$@"\n'
        'stopwatch train true; exec $real "${@:1:6}" -- true\n'
    )
    careless.chmod(0o755)
    job = Job(example)
    output, _ = job.process.communicate(timeout=58)
    assert job.process.returncode == 1, output
    assert re.search(r"train@node-1 began [\d.]+ ms before ready@node-3 had ended", output), output
    assert job.running() == []
