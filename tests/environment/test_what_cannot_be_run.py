"""``run`` with a command that cannot be run: the status of a shell, the right cause, and a
hint that can be copied."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli
from environment.oddities import ALONE, needs_namespaces

pytestmark = [
    pytest.mark.usefixtures("shared_cli"),
]

MACHINE = os.uname().machine


def made(cli: Cli, content: bytes, *, name: str = "prog", mode: int = 0o755) -> str:
    path = cli.folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return f"./{name}"


def elf(*, machine: int = 0, interpreter: bytes = b"") -> bytes:
    """A program that does nothing, for another *machine* or with an *interpreter* (loader)
    that is not there: that of this Python, changed in place."""
    data = bytearray(Path("/bin/true").resolve().read_bytes())
    if machine:
        struct.pack_into("<H", data, 18, machine)
    if interpreter:
        at = data.index(b"/lib")
        end = data.index(b"\0", at)
        data[at:end] = interpreter.ljust(end - at, b"x")[: end - at]
    return bytes(data)


def bash_status(cli: Cli, program: str) -> int:
    return subprocess.run(
        ["bash", "-c", program], cwd=cli.folder, capture_output=True, timeout=PATIENCE_S
    ).returncode


BINARIES = {
    "elf-cut-off": b"\x7fELF\x02\x01\x01",
    "nul-in-the-first-line": b"MZ\x90\0\x03\0\0\0 echo ran\n",
    "utf-16": "#!/bin/sh\necho ran\n".encode("utf-16"),
    "java": b"\xca\xfe\xba\xbe\0\0\0\x41",
}


@pytest.mark.parametrize("name", BINARIES)
def test_what_is_no_text_is_not_fed_to_sh(cli: Cli, name: str) -> None:
    """8: a shell would run what looks like lines in it."""
    program = made(cli, BINARIES[name])
    result = cli("run", "u", "--", program)
    assert (result.status, result.out) == (126, ""), result
    assert result.status == bash_status(cli, program)
    assert result.told[0].startswith("error: ./prog cannot be run: ")
    assert len(result.told) == 2
    with cli.client() as client:
        assert client.status("u").reason == result.told[0].removeprefix("error: ")


def test_a_program_of_another_machine_is_named_as_such(cli: Cli) -> None:
    result = cli("run", "u", "--", made(cli, elf(machine=0xDEAD)))
    assert (result.status, result.told) == (
        126,
        [
            "error: ./prog cannot be run: it is a program of another kind of machine",
            f"hint: this one is {MACHINE}; file ./prog says what it is for",
        ],
    )


def test_a_program_without_its_loader_is_no_script(cli: Cli) -> None:
    """As of Alpine on Debian, or of 32 bits."""
    result = cli("run", "u", "--", made(cli, elf(interpreter=b"/lib/ld-musl.so.1")))
    assert result.status == 127
    assert result.told[0].endswith("the loader that it was built for is not there")
    assert result.told[1].startswith("hint: it was built for another system")


def test_text_without_a_first_line_is_still_run_by_sh(cli: Cli) -> None:
    """A NUL behind the first line does not make it a binary, as in bash."""
    program = made(cli, b"echo ran; exit 3\n\0\0\n")
    assert cli("run", "u", "--", program)[:2] == (3, "ran\n")
    assert cli("run", "u", "--", made(cli, b""))[:2] == (0, "")


@pytest.mark.parametrize("line", [b"#!/bin/sh\r\n", b"#! /bin/sh -e\r\n", b"#!/bin/sh\r"])
def test_a_carriage_return_is_named(cli: Cli, line: bytes) -> None:
    """7: in the terminal the first line looks perfect."""
    program = made(cli, line + b"echo ran\r\n")
    if b"-e" in line:  # the kernel takes "-e\r" for the argument, and sh refuses that
        assert cli("run", "u", "--", program).status != 0
        return
    result = cli("run", "u", "--", program)
    assert (result.status, result.told) == (
        127,
        [
            r"error: ./prog cannot be run: its first line ends with a carriage return (\r)",
            r"hint: it has the line ends of Windows; remove them: sed -i 's/\r$//' ./prog",
        ],
    )


def test_a_missing_interpreter_is_named_on_path_too(cli: Cli) -> None:
    """What a moved virtual environment leaves on PATH is there, and is found."""
    made(cli, b"#!/no/such/python3 -P\n", name="tool")
    path = {"PATH": f"{cli.folder}:{os.environ['PATH']}"}
    for word in ("./tool", "tool"):
        result = cli("run", "u", "--", word, env=path)
        assert result.status == 127
        assert result.told[0].endswith(
            "tool cannot be run: its interpreter /no/such/python3 is not there"
        )
        assert result.told[1] == f"hint: see its first line: head -n 1 {result.told[0].split()[1]}"


def test_a_folder_is_no_program(cli: Cli) -> None:
    """17: chmod +x would not help."""
    (cli.folder / "dir").mkdir()
    result = cli("run", "u", "--", "./dir")
    assert (result.status, result.told) == (126, ["error: ./dir cannot be run: it is a folder"])


def test_an_empty_word_is_no_command(cli: Cli) -> None:
    """17: as from an unset variable in quotes."""
    result = cli("run", "u", "--", "")
    assert (result.status, result.told) == (
        127,
        [
            "error: the command is empty, as from an unset variable",
            "hint: unitsync run UNIT -- COMMAND [ARG]...",
        ],
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("it's", """sh -c 'it'"'"'s ...'"""),
        ("no such", "sh -c 'no such ...'"),
        ("exit 3", "sh -c 'exit 3 ...'"),
    ],
)
def test_hints_can_be_copied(cli: Cli, word: str, hint: str) -> None:
    result = cli("run", "u", "--", word)
    assert result.status == 127
    assert result.told[1].endswith(hint)
    made(cli, b"#!/bin/sh\n", name=word, mode=0o644)
    refused = cli("run", "u", "--", f"./{word}")
    assert refused.status == 126
    advice = refused.told[1].partition("? ")[2]
    assert advice.startswith("chmod +x ")
    cli.exec("sh", "-c", advice)
    assert cli("run", "u", "--", f"./{word}").status == 0


def test_an_interpreter_that_is_no_program(cli: Cli) -> None:
    made(cli, b"", name="interpreter", mode=0o644)
    program = made(cli, f"#!{cli.folder}/interpreter\n".encode())
    result = cli("run", "u", "--", program)
    assert result.status == 126
    assert f"its interpreter {cli.folder}/interpreter" in result.told[1]
    assert "chmod +x ./prog" not in result.err


@needs_namespaces
def test_on_a_file_system_without_programs(cli: Cli) -> None:
    cli.ok("ping")
    home = cli.folder / "noexec"
    home.mkdir()
    mount = f"mount -t tmpfs -o noexec tmpfs {home} && cp prog {home} && cd {home} && "
    made(cli, b"#!/bin/sh\n")
    result = cli.exec(*ALONE, f'{mount} exec "$@"', "sh", *cli.command, "run", "u", "--", "./prog")
    assert (result.status, result.told) == (
        126,
        [
            "error: ./prog cannot be run: permission denied",
            "hint: its file system is mounted noexec; sh ./prog if it is a script",
        ],
    )


@needs_namespaces
def test_without_a_null_device(cli: Cli) -> None:
    """In a chroot that somebody made by hand; the coordinator is there."""
    cli.ok("ping")
    result = cli.exec(
        *(*ALONE, 'mount -t tmpfs tmpfs /dev && exec "$@" <&-', "sh"),
        *(*cli.command, "run", "u", "--", "sh", "-c", "echo ran"),
    )
    assert result == (0, "ran\n", "")
    assert shutil.which("unshare")
