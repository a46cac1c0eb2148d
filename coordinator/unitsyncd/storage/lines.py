"""Small files of lines beside the journal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from unitsync.link.startup_id import machine_startup


def replace_lines(path: str, lines: Iterable[str]) -> None:
    """Replace the file at *path* with *lines*, in one step. Follows no link. Raises
    OSError, and then the file is as it was."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    os.replace(temporary, path)


def keep_lines(path: str, lines: Iterable[str]) -> None:
    """Keep *lines* at *path* for this startup of the machine; without any, no file stays there.
    Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if lines := list(lines):
        replace_lines(path, (machine_startup(), *lines))


def kept_lines(path: str) -> list[str]:
    """The lines that were kept at *path* in this startup; none if they cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            startup, *lines = file.read().splitlines()
    except (OSError, ValueError):
        return []
    return lines if startup == machine_startup() else []
