"""What to say if the libraries of an extra, such as ``unitsync[import]``, are not installed."""

from __future__ import annotations

import sys

from unitsync.calling_script import shell_word
from unitsync.errors import UsageError


def missing(what: str, package: str, extra: str) -> UsageError:
    """The error if *package*, which *extra* brings, is not installed. *what* says what needs it."""
    pip = f"{shell_word(sys.executable or 'python3')} -m pip"  # another one may be on PATH
    hint = f"in a clone of unitsync: {pip} install '.[{extra}]'"
    return UsageError(f"{what} with {package}, which is not installed", hint=hint)
