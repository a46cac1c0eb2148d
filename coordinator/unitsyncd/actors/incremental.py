"""Work that takes long, in steps that others are answered between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

EMPTIED_STEP: Final = 5000
"""Entries that are let go of at a time: a few milliseconds."""
_DONE: Final = object()

Work: TypeAlias = Iterator[None]
"""Each ``next`` does a few milliseconds of it."""
RunInSteps: TypeAlias = Callable[[Work], None]
"""Has a work done, the first step at once and the others between later turns."""


def has_more(work: Work) -> bool:
    """Do the next step of *work*; whether there may be more to do."""
    return next(work, _DONE) is not _DONE


def emptied(held: Iterable[dict[Any, Any] | list[Any]]) -> Work:
    """Let go of all that *held* hold, which may take long."""
    for each in held:
        take_one = each.popitem if isinstance(each, dict) else each.pop
        while each:
            for _ in range(min(len(each), EMPTIED_STEP)):
                take_one()
            yield


def at_once(work: Work) -> None:
    """A RunInSteps where nobody is kept waiting."""
    for _ in work:
        pass
