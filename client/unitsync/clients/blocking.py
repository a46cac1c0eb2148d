"""From a verb of AsyncClient to one that blocks: its coroutines never suspend. Whatever they wait
for, Client waits for at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from functools import partial, wraps
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from unitsync import wire
from unitsync.clients.event_stream import EventStream
from unitsync.clients.verbs import AsyncUnitBlock

if TYPE_CHECKING:
    from unitsync.startup.analysis.events import Event

P = ParamSpec("P")
R = TypeVar("R")


_BEGUN: Final = methodcaller("send", None)


def _run(work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """The result of the coroutine that *work* makes, which never suspends.

    It is made and begun without a line of Python in between. There, a signal handler could
    raise an exception, and Python would warn of a coroutine that was never awaited."""
    try:
        next(map(_BEGUN, iter(work, None)))
    except StopIteration as done:
        result: R = done.value
        return result
    raise AssertionError(f"{work} has suspended")


def blocking(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """*verb* as a method of Client, with the same parameters and text."""

    @wraps(verb)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _run(partial(verb, self, *args, **kwargs))

    return method


def block(
    unit: Callable[Concatenate[Any, P], AsyncUnitBlock],
) -> Callable[Concatenate[Any, P], UnitBlock]:
    """The same for a verb that makes a block."""

    @wraps(unit)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> UnitBlock:
        return UnitBlock(unit(self, *args, **kwargs))

    signature = inspect.signature(unit).replace(return_annotation="UnitBlock")
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


def iterating(
    verb: Callable[Concatenate[Any, P], EventStream],
) -> Callable[Concatenate[Any, P], Iterator[Event]]:
    """The same for a verb that gives events."""

    @wraps(verb)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Event]:
        stream = verb(self, *args, **kwargs)
        while (page := _run(stream.next_page)) is not None:
            yield from page

    signature = inspect.signature(verb).replace(return_annotation="Iterator[Event]")
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


class UnitBlock:
    """See ``Client.unit``."""

    def __init__(self, block: AsyncUnitBlock) -> None:
        self._block = block

    def __enter__(self) -> wire.Granted:
        return _run(self._block.__aenter__)

    def __exit__(self, *exc: Any) -> None:
        _run(partial(self._block.__aexit__, *exc))
