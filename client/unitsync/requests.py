"""Builds the requests that clients send."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from unitsync import errors, wire
from unitsync.commandline import EXIT_CODE_MAX
from unitsync.printing import one_line
from unitsync.session import failure

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class Requests:
    """Builds the requests of one process, each with a fresh id.

    Raises UsageError for what cannot be a request at all. The coordinator checks the names,
    because it registers the unit even if it refuses a prerequisite.
    """

    __slots__ = ("_owner", "_render", "_startup")

    def __init__(
        self,
        owner: wire.Owner | None,
        *,
        startup: str = "",
        render: wire.Render = wire.Render.NONE,
    ) -> None:
        self._owner = owner
        self._startup = startup
        self._render = render

    def want(
        self,
        unit: str,
        prerequisites: Iterable[str],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> wire.Want:
        return wire.Want(
            **self._said(),
            unit=_name(unit),
            prerequisites=_names(prerequisites),
            requires=requirement(requires),
            optional=optional,
        )

    def declare(
        self,
        units: Mapping[str, Iterable[str]],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> wire.Declare:
        if not isinstance(units, Mapping):
            raise errors.UsageError(f"units must be a map of names, not {type(units).__name__}")
        return wire.Declare(
            **self._said(),
            units=[
                wire.Declaration(_name(unit), _names(prerequisites))
                for unit, prerequisites in units.items()
            ],
            requires=requirement(requires),
            optional=optional,
        )

    def unwant(self, unit: str, prerequisites: Iterable[str]) -> wire.Unwant:
        return wire.Unwant(
            **self._said(),
            unit=_name(unit),
            prerequisites=_names(prerequisites),
        )

    def start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        wait: bool = True,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> wire.Start:
        return wire.Start(
            **self._said(),
            unit=_name(unit),
            after=_names(after),
            requires=requirement(requires),
            optional=optional,
            wait=wait,
            on_owner_exit=_one_of(wire.OnOwnerExit, on_owner_exit, "what an owner's exit means"),
            on_skip=_one_of(wire.OnSkip, on_skip, "what a skipped start does"),
        )

    def withdraw(self, start: wire.Start, reason: str) -> wire.Withdraw:
        return wire.Withdraw(
            id=new_id(),
            startup=self._startup,
            owner=start.owner,
            unit=start.unit,
            start_id=start.id,
            reason=reason,
        )

    def complete(
        self, unit: str, *, exit_code: int = 0, even_so: bool = False, epoch: str = ""
    ) -> wire.Complete:
        if not isinstance(exit_code, int) or not 0 <= exit_code <= EXIT_CODE_MAX:
            what = f"{exit_code!r} is no exit status; those are 0 to {EXIT_CODE_MAX}"
            raise errors.UsageError(what)
        return wire.Complete(
            **self._said(),
            epoch=epoch,
            unit=_name(unit),
            exit_code=exit_code,
            even_so=even_so,
        )

    def fail(self, unit: str, reason: str | None = "", *, epoch: str = "") -> wire.Fail:
        if not isinstance(reason, str | None):
            raise errors.UsageError(f"a reason must be a str, not {type(reason).__name__}")
        return wire.Fail(
            **self._said(),
            epoch=epoch,
            unit=_name(unit),
            reason=one_line(reason or ""),
        )

    def wait(
        self,
        units: Iterable[str],
        *,
        requires: str = "success",
        any: bool = False,
        wait: bool = True,
    ) -> wire.Wait:
        names = _names(units)
        if not names:
            raise errors.UsageError("wait: no unit was named")
        return wire.Wait(
            **self._said(),
            units=names,
            requires=requirement(requires),
            any=any,
            wait=wait,
        )

    def status(self, unit: str) -> wire.StatusOf:
        return wire.StatusOf(**self._said(), unit=_name(unit))

    def list(self, offset: int = 0, *, epoch: str = "") -> wire.List:
        return wire.List(**self._said(), epoch=epoch, offset=offset)

    def why(self, unit: str = "", offset: int = 0, *, epoch: str = "") -> wire.Why:
        return wire.Why(**self._said(), epoch=epoch, unit=_name(unit), offset=offset)

    def list_after(self, pages: Sequence[wire.ListReply]) -> wire.List | None:
        """The request for the page after *pages*, which holds all pages so far. None after
        the last page."""
        if not pages:
            return self.list()
        last = pages[-1]
        return self.list(last.next, epoch=last.epoch) if last.next >= 0 else None

    def why_after(self, pages: Sequence[wire.WhyReply], unit: str = "") -> wire.Why | None:
        """The same for the pages of ``why``."""
        if not pages:
            return self.why(unit)
        last = pages[-1]
        return self.why(unit, last.next, epoch=last.epoch) if last.next >= 0 else None

    def ping(self, *, trial: bool = False) -> wire.Ping:
        return wire.Ping(**self._said(), trial=trial)

    def reset(
        self, units: Iterable[str] = (), *, all: bool = False, force: bool = False
    ) -> wire.Reset:
        names = _names(units)
        if bool(names) == all:
            raise errors.UsageError(
                "reset: name units, or use --all, but not both",
                hint="unitsync reset UNIT... | unitsync reset --all",
            )
        return wire.Reset(
            **self._said(),
            units=names,
            all=all,
            force=force,
        )

    def stop(self) -> wire.Stop:
        return wire.Stop(**self._said())

    def _said(self) -> dict[str, Any]:
        """The fields that every request has."""
        return {
            "id": new_id(),
            "startup": self._startup,
            "owner": self._owner,
            "render": self._render,
        }

    def leave(
        self, unit: str, exc: BaseException | None, granted: wire.Granted
    ) -> wire.Complete | wire.Fail:
        """The request that reports the end of a ``unit()`` block, left with *exc* (None:
        normally).

        It has the epoch of *granted*. So a coordinator that has lost the run says that,
        rather than that the unit is unknown.
        """
        reason = failure(exc)
        if reason is None:
            return self.complete(unit, epoch=granted.epoch)
        return self.fail(unit, reason, epoch=granted.epoch)


def new_id() -> str:
    return os.urandom(12).hex()


def requirement(text: str) -> wire.Requirement:
    return _one_of(wire.Requirement, text, "what is needed of a prerequisite")


def _one_of(kind: type[ChoiceT], text: str, what: str) -> ChoiceT:
    """Raises UsageError."""
    try:
        return kind(text)
    except ValueError:
        raise errors.UsageError(
            f"{text!r} does not say {what}", hint=f"one of {', '.join(kind)}"
        ) from None


def _name(name: str) -> str:
    if not isinstance(name, str):
        raise errors.UsageError(f"a unit name must be a str, not {type(name).__name__}")
    return name


def _names(names: Iterable[str]) -> list[str]:
    """The *names* as a list. A single str is one name, not a list of letters."""
    if not isinstance(names, Iterable):
        raise errors.UsageError(f"names must be a list of str, not {type(names).__name__}")
    return [_name(names)] if isinstance(names, str) else [_name(name) for name in names]
