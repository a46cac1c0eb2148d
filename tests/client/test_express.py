"""The express path is the one that is taken, not only one that gives the same answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALLS = 30
"""What depends on which bytes the coordinator reads together comes out now and then."""

PROGRAM = """
import sys
from unitsync import express

status = express._run(sys.argv[1:])
heavy = {"zmq", "msgspec", "typer", "rich", "argparse", "socket", "re", "enum"} & set(sys.modules)
sys.exit(status or f"imported: {heavy}" if heavy else status)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("want", "a", "b"),
        ("start", "a"),
        ("complete", "a"),
        ("ping",),
        ("status", "a"),
        ("run", "a", "--timeout", "10", "--", "true"),
    ],
    ids=lambda words: words[0],
)
def test_a_plain_verb_never_leaves_the_express_path(
    coordinator: str, words: tuple[str, ...]
) -> None:
    environ = {**os.environ, "UNITSYNC_ENDPOINT": coordinator}
    if words[0] == "complete":
        subprocess.run([sys.executable, "-P", "-c", PROGRAM, "start", "a"], env=environ, check=True)
    for _ in range(CALLS):
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM, *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
