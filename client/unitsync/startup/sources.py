"""Where startups come from: the events of the coordinator, those in a file that ``export`` has
written, or the log of a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile
from time import time
from typing import Protocol

from unitsync import Client, errors, wire
from unitsync.startup.analysis.events import Event, first_event
from unitsync.startup.analysis.job import startup_of_job
from unitsync.startup.analysis.startup import startup_of
from unitsync.startup.analysis.values import Startup
from unitsync.startup.render.events import parsed
from unitsync.text.printing import quoted


class Startups(Protocol):
    """Startups, the latest first: the one with the number 0 is the present one, that with -1 the
    one before. Those without a unit do not count."""

    @property
    def is_past(self) -> bool:
        """Whether the latest one is over and done with, because another has begun that has no unit
        yet."""

    def numbers(self) -> range:
        """From 0 down to that of the oldest one."""

    def startup(self, number: int) -> Startup:
        """If it is not over and still goes on, it has lasted until now."""


class Source(Startups, Protocol):
    """Startups that are made of events."""

    def events(self, number: int) -> Iterator[Event]:
        """Those of one startup."""


class FromCoordinator:
    def __init__(self, client: Client, startup: str = "") -> None:
        """*startup* is the caller's, "" for the newest."""
        self._client = client
        kept = client.startups()
        ends = [*(epoch.first_seq for epoch in kept.epochs[1:]), kept.next_seq]
        self.epochs: list[tuple[wire.Epoch, int]] = [
            (epoch, end + epoch.number)
            for epoch, end in zip(kept.epochs, ends, strict=False)
            if kept.oldest <= epoch.first_seq < end
        ]
        """Each with the number of its last event, oldest first."""
        newest = kept.epochs[-1] if kept.epochs else None
        begun = startup in ("", newest.startup if newest is not None else "")
        self.is_past = bool(self.epochs) and not (begun and self.epochs[-1][0] is newest)

    def numbers(self) -> range:
        return range(0, -len(self.epochs), -1)

    def events(self, number: int) -> Iterator[Event]:
        epoch, last = self.epochs[number - 1]
        events = self._client.events(since=first_event(epoch) - 1)
        return takewhile(lambda event: event.seq <= last, events)

    def startup(self, number: int) -> Startup:
        goes_on = not number and not self.is_past
        return startup_of(self.events(number), time() if goes_on else None)


class FromFile:
    is_past = False

    def __init__(self, path: str) -> None:
        """Raises UsageError if it cannot be read, or is not what ``export`` writes."""
        self._events = list(_read(path))
        begins = [at for at, event in enumerate(self._events) if event.event == "startup"]
        if begins[:1] != [0]:
            raise _no_export(path, "it does not begin with a startup")
        parts = [self._events[begin:end] for begin, end in pairwise([*begins, len(self._events)])]
        self._startups: Sequence[Sequence[Event]] = [part for part in parts if len(part) > 1]

    def numbers(self) -> range:
        return range(0, -len(self._startups), -1)

    def events(self, number: int) -> Iterator[Event]:
        return iter(self._startups[number - 1])

    def startup(self, number: int) -> Startup:
        return startup_of(self.events(number))

    def since(self, event: int) -> Iterator[Event]:
        """All events after the one with that number, of all startups."""
        return (each for each in self._events if each.seq > event)


class FromJob:
    """The startup of a job that spans hosts, as its log has it now: the only one."""

    is_past = False

    def __init__(self, address: str) -> None:
        """*address* is that of the coordinator, which knows how far the clocks differ; "" for the
        usual one. Raises UsageError if it is no host of a job."""
        from unitsync.job.access import known_hosts, no_job, settings_of
        from unitsync.job.reading import read_job

        settings = settings_of(address)
        if settings is None:
            raise no_job()
        known = known_hosts(address, settings.job).values()
        ahead = {host.name: host.skew_s for host in known if host.skew_s is not None}
        ahead[settings.host] = 0.0
        self._startup = startup_of_job(settings.job, read_job(settings), ahead, time())

    def numbers(self) -> range:
        return range(0, -1 if self._startup.units else 0, -1)

    def startup(self, number: int) -> Startup:
        return self._startup


def chosen(source: Startups, text: str, flag: str) -> int:
    """The number that *text* names; *flag* is where it stands. Raises UsageError."""
    digits = text.removeprefix("-")
    number = int(text) if digits.isdecimal() and len(digits) < 9 else None
    if number is None:
        raise errors.UsageError(
            f"{flag}: {quoted(text)} is not the number of a startup",
            hint="0 is the latest, -1 the one before: unitsync startups lists them",
        )
    if number not in source.numbers():
        oldest = source.numbers()[-1] if source.numbers() else 0
        kept = f"the oldest that is kept is {oldest}" if oldest else "there is no earlier one"
        if number > 0:
            kept = "0 is the latest, -1 the one before"
        raise errors.UsageError(
            f"{flag}: there is no startup {number}: {kept}", hint="unitsync startups lists them"
        )
    return number


def _read(path: str) -> Iterable[Event]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield parsed(line)
                except ValueError as problem:
                    raise _no_export(path, f"line {number}: {problem}") from None
    except OSError as problem:
        raise errors.UsageError(f"{path}: {problem.strerror}") from None


def _no_export(path: str, why: str) -> errors.UsageError:
    return errors.UsageError(
        f"{path} is not a file that export has written: {why}", hint="unitsync export --help"
    )
