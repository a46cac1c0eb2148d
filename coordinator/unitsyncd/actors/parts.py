"""Work that takes long, in steps that others are answered between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

Work: TypeAlias = Iterator[None]
"""Each ``next`` does a few milliseconds of it."""
InParts: TypeAlias = Callable[[Work], None]
"""Has a work done, the first step at once and the others between later turns."""


def at_once(work: Work) -> None:
    """An InParts where nobody is kept waiting."""
    for _ in work:
        pass
