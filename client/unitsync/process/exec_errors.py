"""Explains to the user why a command could not be run. Loaded only when that happens."""

import errno
import os

from unitsync.owner.calling_script import shell_word
from unitsync.text.printing import safe

_FIRST_LINE_MAX = 256
"""In bytes. execve(2) looks at no more."""


def is_binary(path: str) -> bool:
    """Whether a file that execve(2) refused is not text either, so that no shell can run it.
    Judged by its first line, as bash does."""
    line = _first_line(path)
    return line.startswith(b"\x7fELF") or b"\0" in line


def explain(program: str, problem: OSError) -> tuple[int, str, str]:
    """The exit status that a shell would give (127: not there, 126: cannot be run), the
    reason in one line, and a hint, which may be empty."""
    if not program:
        text = "the command is empty, as from an unset variable"
        return 127, text, "unitsync run UNIT -- COMMAND [ARG]..."
    path, number = _found(program), problem.errno
    if number == errno.EACCES and "/" not in program and _is_not_there(path):
        number = errno.ENOENT  # EACCES was about a folder on PATH that is closed to this user
    if number in (errno.ENOENT, errno.ENOTDIR) and not os.path.exists(path):
        return 127, f"{safe(program)}: no such program", _where_it_may_be(program)
    if number == errno.ENOENT:
        status, (why, hint) = 127, _nothing_to_run_it(path)
    elif number == errno.ENOEXEC:
        status, (why, hint) = 126, _no_program(path)
    elif number == errno.EACCES:
        status, (why, hint) = 126, _not_permitted(path)
    else:
        status, why, hint = 126, (problem.strerror or str(problem)).lower(), ""
    return status, f"{safe(path or program)} cannot be run: {why}", hint


def _found(program: str) -> str:
    """The path that the kernel was asked to run; "" if there was nothing on PATH."""
    if "/" in program:
        return program
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [os.path.join(folder, program) for folder in folders]
    return next(filter(os.path.lexists, paths), "")


def _is_not_there(path: str) -> bool:
    """Whether nothing was found on PATH, or a script whose interpreter is not there."""
    line = _first_line(path)
    return not path or (line[:2] == b"#!" and not os.path.lexists(_interpreter(line)))


def _where_it_may_be(program: str) -> str:
    word = shell_word(program)
    if "/" in program:
        return "it is a link to nothing" if os.path.islink(program) else "check the path"
    if os.path.isfile(program):
        return f"it is not on PATH, but here: ./{word}, or sh {word} if it is a script"
    return f"it is not on PATH; for a shell's own words use sh -c {shell_word(f'{program} ...')}"


def _nothing_to_run_it(path: str) -> tuple[str, str]:
    word = shell_word(path)
    line = _first_line(path)
    if line[:2] != b"#!":
        hint = f"it was built for another system; file {word} says for which"
        return "the loader that it was built for is not there", hint
    if line.endswith(b"\r"):
        why = r"its first line ends with a carriage return (\r)"
        return why, rf"it has the line ends of Windows; remove them: sed -i 's/\r$//' {word}"
    return (
        f"its interpreter {_interpreter(line)} is not there",
        f"see its first line: head -n 1 {word}",
    )


def _no_program(path: str) -> tuple[str, str]:
    word = shell_word(path)
    if _first_line(path).startswith(b"\x7fELF"):
        hint = f"this one is {os.uname().machine}; file {word} says what it is for"
        return "it is a program of another kind of machine", hint
    return "it is neither a program nor a script", f"file {word} says what it is"


def _not_permitted(path: str) -> tuple[str, str]:
    why, word = "permission denied", shell_word(path)
    if os.path.isdir(path):
        return "it is a folder", ""
    try:
        mode = os.stat(path).st_mode
        noexec = os.statvfs(path).f_flag & os.ST_NOEXEC
    except OSError:
        return why, "the folders above it must be open to this user"
    if noexec:
        return why, f"its file system is mounted noexec; sh {word} if it is a script"
    if not mode & 0o111:
        return why, f"is it a program? chmod +x {word}"
    line = _first_line(path)
    if line[:2] == b"#!":
        return why, f"see whether its interpreter {_interpreter(line)} can be run"
    return why, "it is for other users: see its mode and its owner"


def _interpreter(line: bytes) -> str:
    words = line[2:].split()
    return safe(os.fsdecode(words[0])) if words else "''"


def _first_line(path: str) -> bytes:
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(_FIRST_LINE_MAX).partition(b"\n")[0]
    except OSError:
        return b""
