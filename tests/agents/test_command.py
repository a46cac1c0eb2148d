"""The command itself: how it ends, and what it says without the SDK."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.conftest import COMMAND
from support.coordinators import PATIENCE_S, clean_environment, end, without_module


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(address: str, number: int) -> None:
    process = subprocess.Popen(
        [COMMAND, "mcp", "--endpoint", address],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdin.write(b'not json\n{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        while b'"id":1' not in process.stdout.readline():
            pass
        end(process.pid, number, {process.pid: process})
        assert b"Traceback" not in process.stderr.read()


def test_the_end_of_stdin_ends_it(address: str) -> None:
    done = subprocess.run(
        [COMMAND, "mcp", "--endpoint", address],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("module", ["mcp", "mcp_types"])
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, module: str) -> None:
    done = without_module(module, "mcp", "--endpoint", f"ipc://{tmp_path}/c.sock")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: mcp talks to agents with mcp, which is not installed",
        f"hint: in a clone of unitsync: {sys.executable} -m pip install '.[mcp]'",
    ]
