"""Programs that another user runs: the tests run as root and become that user."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from support.daemon import PATIENCE_S

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

NOBODY, BIN = 65534, 2
"""Two users that every system has, and that nobody is logged in as."""

HUNG_UP = """
import socket
with socket.socket(socket.AF_UNIX) as link:
    link.settimeout(10)
    link.connect(sys.argv[1])
    print(link.recv(1) == b"")
"""
"""Whether a connection to the path is closed before a byte was said."""

_LOADED = """
import os, sys
import unitsync.cli.app, unitsync.client, unitsync.clients.owner, unitsync.express
import unitsync.link.autostart, unitsync.link.spawn, unitsync.names.unit_names
import unitsync.output.empty_replies, unitsync.output.json_output, unitsync.output.tables
import asyncio, encodings.idna, sqlite3, unitsyncd.daemon, loguru
user = int(sys.argv.pop(1))
os.setgroups([]); os.setgid(user); os.setuid(user)  # who may not even read this installation
"""
CLI = _LOADED + "unitsync.express.main()"
SERVE = _LOADED + "sys.exit(unitsyncd.daemon.main(sys.argv[1:]))"


def environment(endpoint: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UNITSYNC_", "SUDO_"))}
    return {**kept, "UNITSYNC_ENDPOINT": endpoint, **(more or {})}


def run(*command: str, endpoint: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit status of *command* and what it said on stderr."""
    done = subprocess.run(
        command,
        env=environment(endpoint, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 3,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@contextlib.contextmanager
def serving_as(user: int, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """A coordinator of *user*, which serves at *endpoint* meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(user), "--endpoint", endpoint],
        env=environment(endpoint),
        stderr=subprocess.PIPE,
        text=True,
    ) as served:
        try:
            assert served.stderr is not None
            while "serving" not in served.stderr.readline():
                assert served.poll() is None
            yield served
        finally:
            served.kill()
            served.communicate()
