"""Who turns Python's warnings on sees none of ours (9)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.conftest import MODULE, PATIENCE_S, UNITSYNC, Cli

TALKATIVE = {
    "error": {"PYTHONWARNINGS": "error"},
    "default": {"PYTHONWARNINGS": "default"},
    "always": {"PYTHONWARNINGS": "always"},
    "dev": {"PYTHONDEVMODE": "1"},
}

CALLS = """
ping
want a b
unwant a b
start a
complete a
fail a
run r -- true
run s -- no-such-program
wait r
wait x --timeout 0
status a
start r --frob
ping -o json
list
why
doctor
reset a
reset --all
stop
status a
ping
""".strip().splitlines()


@pytest.mark.timeout(180)  # twenty verbs, one after the other
@pytest.mark.parametrize(
    ("cli", "how"),
    [(UNITSYNC, "error"), (UNITSYNC, "default"), (UNITSYNC, "dev"), (MODULE, "always")],
    ids=["express-error", "express-default", "express-dev", "full-always"],
    indirect=["cli"],
)
def test_no_verb_leaves_anything_open(cli: Cli, how: str) -> None:
    for words in CALLS:
        told = cli(*words.split(), env=TALKATIVE[how])
        assert "Warning" not in told.err, (words, told.err)
        assert "Traceback" not in told.err, (words, told.err)


CLIENTS = """
import asyncio, os, sys
from unitsync import AsyncClient, Client

def forked(what):
    pid = os.fork()
    if not pid:
        what()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0

async def twice():
    async with AsyncClient() as other:
        await other.ping()
        with other_in_a_block():
            await other.ping()

def other_in_a_block():
    return Client(autostart=False)

with Client() as client:
    client.ping()
    forked(lambda: None)
    forked(client.ping)
    forked(client.close)
    forked(lambda: forked(client.ping))
    client.ping()
asyncio.run(twice())
print("done")
"""


@pytest.mark.parametrize("how", TALKATIVE)
def test_neither_client_nor_its_forks_do(cli: Cli, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CLIENTS],
        env=cli.env(TALKATIVE[how]),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    # From 3.12 on, Python says that it forks beside the threads of libzmq, and shows the line.
    # On a busy machine, asyncio's debug mode says how long a callback took.
    pythons = ("use of fork()", "pid = os.fork()", "Executing <")
    assert [line for line in done.stderr.splitlines() if not any(s in line for s in pythons)] == []
