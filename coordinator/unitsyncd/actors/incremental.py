"""Long work in steps, so that requests are answered in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

EMPTIED_STEP: Final = 5000
"""Entries that are removed at a time: a few milliseconds."""
_DONE: Final = object()

Work: TypeAlias = Iterator[None]
"""Each ``next`` does one step of a few milliseconds."""
RunInSteps: TypeAlias = Callable[[Work], None]
"""Does a Work: the first step at once, and the others between later turns."""


def has_more(work: Work) -> bool:
    """Do the next step of *work*. Whether there may be more to do."""
    return next(work, _DONE) is not _DONE


def emptied(held: Iterable[dict[Any, Any] | list[Any]]) -> Work:
    """Remove everything from the containers in *held*. That may take long."""
    for each in held:
        take_one = each.popitem if isinstance(each, dict) else each.pop
        while each:
            for _ in range(min(len(each), EMPTIED_STEP)):
                take_one()
            yield


def at_once(work: Work) -> None:
    """A RunInSteps that does all steps now, for when nobody waits meanwhile."""
    for _ in work:
        pass
