"""Checks of what the methods of the clients are given. The coordinator checks the names themselves,
because it registers a unit even if it refuses a prerequisite."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from unitsync import errors, wire
from unitsync.text.printing import one_line
from unitsync.verb.commandline import choice

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


def requirement(text: str) -> wire.Requirement:
    return one_of(wire.Requirement, text, "requires")


def one_of(kind: type[ChoiceT], text: str, parameter: str) -> ChoiceT:
    """Raises UsageError."""
    chosen: ChoiceT = _chosen(kind, str(text), parameter)
    return chosen


@cache
def _chosen(kind: type[StrEnum], text: str, parameter: str) -> Any:
    return kind(choice(text, tuple(kind), parameter))


def checked_name(name: str) -> str:
    if not isinstance(name, str):
        raise errors.UsageError(f"a unit name must be a str, not {type(name).__name__}")
    return name


def checked_reason(reason: str | None) -> str:
    if not isinstance(reason, str | None):
        raise errors.UsageError(f"a reason must be a str, not {type(reason).__name__}")
    return one_line(reason or "")


def checked_names(names: Iterable[str]) -> list[str]:
    """The *names* as a list. A single str is one name, not a list of letters."""
    if not isinstance(names, Iterable):
        raise errors.UsageError(f"names must be a list of str, not {type(names).__name__}")
    return [checked_name(name) for name in ((names,) if isinstance(names, str) else names)]
