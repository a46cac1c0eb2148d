"""``run`` hands its command what the caller gave: its environment, to the byte, with
``UNITSYNC_UNIT``, ``NOTIFY_SOCKET`` and ``TRACEPARENT``, and nothing else of ours or of
Python's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli
from environment.oddities import WITHOUT_PROC, needs_namespaces
from support.leaks import MARK

pytestmark = [
    pytest.mark.usefixtures("shared_cli"),
]

LOCALES = {
    "none": {},
    "lang-c": {"LANG": "C"},
    "posix": {"LANG": "POSIX"},
    "ctype-c": {"LC_CTYPE": "C"},
    "ctype-utf8": {"LC_CTYPE": "C.UTF-8"},
    "ctype-empty": {"LC_CTYPE": ""},
    "missing": {"LANG": "xx_YY.UTF-8"},
    "all-c": {"LC_ALL": "C"},
    "utf8-mode": {"PYTHONUTF8": "1", "LANG": "C"},
    "no-coercion": {"PYTHONCOERCECLOCALE": "0"},
    "odd": {"A.b-c": "no name of a shell's", "empty": "", "bytes": "\udcff", "lines": "a\nb"},
}


def environment_of(*command: str, cli: Cli, given: dict[str, str]) -> list[bytes]:
    """What the environment of a command that *command* ends in is, in order, without the socket
    of ``run`` for what the command says of itself, and without its place in the trace."""
    done = subprocess.run(
        [*command, "/bin/cat", "/proc/self/environ"],
        env={"UNITSYNC_ENDPOINT": cli.endpoint, MARK: os.environ[MARK], **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout.split(b"\0")[:-1]
    return [entry for entry in found if not entry.startswith((b"NOTIFY_SOCKET=@", b"TRACEPARENT="))]


@pytest.mark.parametrize("name", LOCALES)
def test_the_environment_is_the_callers_to_the_byte(cli: Cli, name: str) -> None:
    given = LOCALES[name]
    plain = environment_of(cli=cli, given=given)
    through = environment_of(*cli.command, "run", "u", "--", cli=cli, given=given)
    assert through == [*plain, b"UNITSYNC_UNIT=u"]


def test_bytes_that_are_no_text_are_counted_as_without_run(cli: Cli) -> None:
    """In the C locale each byte is a character. A locale that Python took for itself
    would let grep find none here."""
    latin1 = cli.folder / "latin1"
    latin1.write_bytes(b"b\xfcte\n")
    run = [*cli.command, "run", "g", "--"]
    for before in ([], run):
        done = subprocess.run(
            [*before, "grep", "-c", "b.te", str(latin1)],
            env={name: os.environ[name] for name in ("PATH", MARK)}
            | {"UNITSYNC_ENDPOINT": cli.endpoint},
            capture_output=True,
            timeout=PATIENCE_S,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


def test_the_run_within_a_run_names_its_own_unit(cli: Cli) -> None:
    run = [*cli.command, "run"]
    inner = environment_of(*run, "outer", "--", *run, "inner", "--", cli=cli, given={})
    assert inner == [*environment_of(cli=cli, given={}), b"UNITSYNC_UNIT=inner"]


def test_what_is_no_variable_is_no_hindrance(cli: Cli) -> None:
    """Entries that no shell makes, but that execve(2) takes."""
    program = cli.folder / "odd"
    source = program.with_suffix(".c")
    source.write_text(
        "#include <unistd.h>\n"
        "int main(int argc, char **argv) {\n"
        f'  char *odd[] = {{"UNITSYNC_ENDPOINT={cli.endpoint}", "=a=b", "=", "A=1", "A=2", 0}};\n'
        "  return execve(argv[1], argv + 1, odd);\n"
        "}\n"
    )
    if subprocess.run(["cc", "-o", program, source], capture_output=True).returncode:
        pytest.skip("there is no C compiler")
    kept = environment_of(str(program), *cli.command, "run", "u", "--", cli=cli, given={})
    assert b"A=1" in kept
    assert b"A=2" not in kept  # getenv(3) takes the first
    assert b"=a=b" in kept


@needs_namespaces
@pytest.mark.parametrize("given", [{}, {"LANG": "C"}, {"LC_CTYPE": "C"}])
def test_without_proc_no_locale_is_added_either(cli: Cli, given: dict[str, str]) -> None:
    cli.ok("ping")
    seen = cli.folder / "seen"
    script = f'"$@" run u -- /usr/bin/env -0 > {seen}'
    done = subprocess.run(
        [*WITHOUT_PROC, "sh", "-c", script, "sh", *cli.command],
        env={"UNITSYNC_ENDPOINT": cli.endpoint, "UNITSYNC_AUTOSTART": "0", **given},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "LC_CTYPE=C.UTF-8" not in Path(seen).read_text().split("\0")
