"""Fork or exec: a forked copy of a script is the script; a program that only looks like
its parent is one of its own. And a copy whose original has ended."""

from __future__ import annotations

import os
import sys
from typing import Final

import pytest

from callers.calling import KILLED, Caller, need
from faults.scripts import release
from unitsync.clients import owner as owners
from unitsync.wire import Status

COPIES: Final = {
    "a subshell": "( unitsync start ide ); GATED",
    "a subshell that goes on": "( unitsync start ide; : ; true ); GATED",
    "a subshell in a subshell": "( : ; ( : ; unitsync start ide; : ) ; : ); GATED",
    "a substitution": "x=$(unitsync start ide; true); GATED",
    "one side of a pipe": "{ unitsync start ide; true; } | cat; GATED",
    "the other side": "true | { unitsync start ide; true; }; GATED",
    "the middle": "true | { unitsync start ide; true; } | cat; GATED",
    "a function in the background": "f() { unitsync start ide; true; }; f & wait $!; GATED",
    "a job in the background": "( unitsync start ide; GATED ) & wait",
    "a trap": "trap 'unitsync start ide; GATED; exit' USR1; kill -USR1 $$; true",
    "a job and then exec": "( unitsync start ide; : ) & wait; exec GATED",
    "a job beside another program": (
        "( while read -r x < /proc/$$/comm && [ $x != cat ]; do :; done\n"
        "unitsync start ide; : > $STARTED ) & exec /bin/cat $STARTED $GATE"
    ),
    "with job control": "set -m; ( unitsync start ide; : ) & wait; GATED",
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("shell", ["bash", "dash", "busybox sh", "zsh", "ksh", "mksh"])
def test_a_copy_of_the_script_is_the_script(caller: Caller, shell: str, copy: str) -> None:
    need(shell.split()[0])
    if copy == "with job control" and shell not in ("bash", "mksh"):
        pytest.skip(f"{shell} has job control only at a terminal")
    text = COPIES[copy].replace("GATED", "cat $GATE")
    caller.fifo("STARTED")
    script = caller.file(f"{text}\ntrue\n")
    caller.check_belongs_to_caller(*shell.split(), script, ends=KILLED)


def test_a_coprocess_is_its_script(caller: Caller) -> None:
    text = "coproc { unitsync start ide; true; }\nwait\nread x < $GATE\n"
    caller.check_belongs_to_caller("bash", caller.file(text))


WORKERS: Final = {
    "multiprocessing": (
        "import multiprocessing as m\nimport os\n"
        "worker = m.get_context('fork').Process(target=os.system, args=['unitsync start ide'])\n"
        "worker.start()\nworker.join()\n"
    ),
    "a pool": (
        "import os, multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor as Pool\n"
        "with Pool(1, multiprocessing.get_context('fork')) as pool:\n"
        "    pool.submit(os.system, 'unitsync start ide').result()\n"
    ),
}


@pytest.mark.parametrize("how", WORKERS)
def test_a_forked_worker_is_its_parent(caller: Caller, how: str) -> None:
    text = WORKERS[how] + "open(os.environ['GATE']).read()\n"
    caller.check_belongs_to_caller(sys.executable, caller.file(text))


def test_a_worker_that_names_itself(caller: Caller) -> None:
    text = (
        "import os\n"
        "if os.fork():\n    os.wait()\nelse:\n"
        "    open(os.environ['ME'], 'w').write(str(os.getpid()))\n"
        "    os.system(f'unitsync start ide --owner {os.getpid()}')\n"
        "    open(os.environ['GATE']).read()\n"
    )
    caller.check_belongs_to_caller(sys.executable, caller.file(text))


# --- a new program that looks like its parent ----------------------------------------

INNER: Final = "echo $$ > $ME\nunitsync start ide\nread x < $GATE\ntrue\n"

LOOKALIKES: Final = {
    "a script from a pipe, by one that came so too": "cat {inner} | bash",
    "a script from a here-document": "bash <<'EOF'\n{text}EOF",
    "bash within bash": "bash < {inner}",
    "a subshell that runs another": "( bash < {inner}; true )",
}


@pytest.mark.parametrize("how", LOOKALIKES)
@pytest.mark.parametrize("without", [[], ["setarch", "-R"]], ids=["", "without randomisation"])
def test_a_program_that_looks_like_its_parent(caller: Caller, without: list[str], how: str) -> None:
    """Both are ``bash`` without an argument."""
    need(*without[:1])
    inner = caller.file(INNER)
    outer = caller.file(LOOKALIKES[how].format(inner=inner, text=INNER) + "\nsleep 100\n")
    caller.check_belongs_to_caller(*without, "bash", "-c", f"exec bash < {outer}")


@pytest.mark.parametrize("how", ["exec", "a child"])
@pytest.mark.parametrize("without", [[], ["setarch", "-R"]], ids=["", "without randomisation"])
def test_a_script_that_starts_itself_anew(caller: Caller, without: list[str], how: str) -> None:
    need(*without[:1])
    again = 'exec "$0"' if how == "exec" else '"$0"; sleep 100'
    text = f'#!/bin/bash\nif [ -z "$AGAIN" ]; then export AGAIN=1; {again}; fi\n{INNER}'
    caller.check_belongs_to_caller(*without, caller.file(text))


def test_an_autoreloader(caller: Caller) -> None:
    """The child has its parent's command line, and is another process of the same name."""
    text = (
        "import os, subprocess, sys\n"
        "if 'AGAIN' not in os.environ:\n"
        "    os.environ['AGAIN'] = '1'\n"
        "    sys.exit(subprocess.call([sys.executable, *sys.argv]))\n"
        "open(os.environ['ME'], 'w').write(str(os.getpid()))\n"
        "os.system('unitsync start ide')\n"
        "open(os.environ['GATE']).read()\n"
    )
    caller.check_belongs_to_caller(sys.executable, caller.file(text))


def test_a_make_that_calls_itself(caller: Caller) -> None:
    need("make")
    text = (
        "all:\n"
        "ifeq ($(AGAIN),)\n\t@AGAIN=1 make -sf $(MAKEFILE_LIST)\n\t@sleep 100\n"
        "else\n\t@echo $$PPID > $$ME\n\tunitsync start ide || exit 1\n\tread x < $$GATE\nendif\n"
    )
    caller.check_belongs_to_caller("make", "-sf", caller.file(text).strip())


# --- a copy whose original has ended --------------------------------------------------

ORPHAN: Final = (
    "( echo $BASHPID > $ME; while kill -0 $$ 2>&-; do :; done; "
    "unitsync start ide; read x < $GATE ) > /dev/null 2>&1 &\n"
)


def test_a_job_whose_script_has_ended_is_the_script(caller: Caller) -> None:
    """Each time: there is nobody else left."""
    caller.check_belongs_to_caller("bash", caller.file(ORPHAN))


def test_a_job_that_names_itself(caller: Caller) -> None:
    """While its script lives and after that, it is the job's."""
    text = (
        "( echo $BASHPID > $ME; unitsync start ide --owner $BASHPID; read x < $GATE ) \\\n"
        "> /dev/null 2>&1 &\nread x < $NEVER\n"
    )
    never = caller.fifo("NEVER")
    script = caller.spawn("bash", caller.file(text))
    gate = caller.at_gate(script)
    assert caller.info().owner == owners.of_pid(caller.pid(script))
    release(never)
    script.process.wait()
    assert caller.info().status is Status.STARTED
    os.close(gate)
    assert caller.ended().status is Status.FAILED
