"""The env-files of a plan."""

from __future__ import annotations

from pathlib import Path

from unitsync.plan.mistakes import Found
from unitsync.process import env_file


def variables(path: Path, content: bytes, found: list[Found]) -> dict[str, str]:
    """The variables in *content*, that of the env-file *path*. Mistakes are added to *found*."""
    values, problems = env_file.variables(content)
    found += [Found(path, each.message, each.hint, line=each.line) for each in problems]
    return values
