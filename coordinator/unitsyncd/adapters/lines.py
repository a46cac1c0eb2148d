"""Small files of lines beside the journal."""

from __future__ import annotations

import os
from collections.abc import Iterable


def replace_lines(path: str, lines: Iterable[str]) -> None:
    """Replace the file at *path* with *lines*, in one step. Follows no link. Raises
    OSError, and then the file is as it was."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    os.replace(temporary, path)
