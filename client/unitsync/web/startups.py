"""Startups, present and past, as the page shows them: from where the verbs that look back have
them. These functions block, and are called in one thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from unitsync import Client, errors
from unitsync.output.json_output import iso
from unitsync.startup.analysis.compare import EARLIER_MAX, compare
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.values import Startup
from unitsync.startup.render.html import page_comparison, page_data
from unitsync.startup.render.rows import rows, summed_up
from unitsync.startup.render.times import took
from unitsync.startup.sources import FromCoordinator
from unitsync.text.printing import safe
from unitsync.web.answers import Answer, answer_of
from unitsync.web.units import unit_then

UNITS_MAX: Final = 20_000
"""A browser cannot draw more in a reasonable time."""
KEPT_MAX: Final = EARLIER_MAX + 2
"""So many startups are remembered, at the most: as many as a comparison looks at."""
FRESH_S: Final = 0.5
"""What is said of what goes on is not made anew before it is so old."""
_BEFORE: Final = "No unit is registered now; this is the startup before."
_NOTHING: Final = Startup("", "", 0.0, 0.0, True, 0.0, ())

T = TypeVar("T")


class UnknownStartup(errors.UsageError):
    exit_status = 4


class _Kept:
    """The startups that there are at one moment, by number and by name (that of the epoch)."""

    def __init__(self, client: Client) -> None:
        self.source = FromCoordinator(client)
        self.names = [epoch.epoch for epoch, _ in reversed(self.source.epochs)]

    def number(self, name: str, default: int) -> int:
        """That of the startup with that *name*; "" is the *default*. Raises UnknownStartup."""
        if not name and default in self.source.numbers():
            return default
        if name not in self.names:
            what = f"startup {safe(name[:100])}" if name else "earlier startup"
            raise UnknownStartup(f"there is no {what}", hint="startups.json lists them")
        return -self.names.index(name)

    def name(self, number: int) -> str:
        return self.names[-number]

    def is_present(self, number: int) -> bool:
        """Whether it goes on."""
        return number == 0 and not self.source.is_past

    def last_event(self, number: int) -> int:
        return self.source.epochs[number - 1][1]


class _Made(NamedTuple):
    of: tuple[object, ...]
    """The startups that there were, and the last event."""
    stays: bool
    answer: Answer
    at: float

    @property
    def is_fresh(self) -> bool:
        return self.stays or monotonic() - self.at < FRESH_S


class Startups:
    """What there is at one address. Remembers what does not change any more. Its methods raise
    UnitsyncError."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._past: dict[str, Startup] = {}
        """The least recently used first."""
        self._pictures: dict[str, Answer] = {}
        """Of past ones; the same."""
        self._rows: dict[str, dict[str, Any]] = {}
        """Of past ones, in the list of all."""
        self._made: dict[str, _Made] = {}
        """Of the latest one: its picture, the list and comparisons. The same."""

    def picture(self, name: str) -> Answer:
        """*name* "" is the latest."""
        with self._client() as client:
            kept = _Kept(client)
            if not kept.names and not name:
                return answer_of(_picture(_NOTHING, 0))
            number = kept.number(name, 0)
            if kept.is_present(number):
                return self._present_picture(kept)
            notes = () if name else (_BEFORE,)
            startup, seq = self._startup(kept, number), kept.last_event(number)
            key = kept.name(number) + ("-before" if notes else "")
            return _remembered(
                self._pictures, key, lambda: answer_of(_picture(startup, seq, notes), key)
            )

    def list(self) -> Answer:
        with self._client() as client:
            kept = _Kept(client)
            self._rows = {name: row for name, row in self._rows.items() if name in kept.names}
            if not kept.names:
                return answer_of({"startups": []})
            return self._of_latest(kept, "list", lambda latest: answer_of(self._all(kept, latest)))

    def compare(self, name: str) -> Answer:
        """What differs in the latest startup from the one with that *name*; "" is the one
        before."""
        with self._client() as client:
            kept = _Kept(client)
            number = kept.number(name, -1)
            if not number:
                raise errors.UsageError(
                    "that is the latest startup itself", hint="name an earlier one"
                )
            then = self._startup(kept, number)
            earlier = (self._startup(kept, each) for each in kept.source.numbers() if each)

            def compared(now: Startup) -> Answer:
                found = page_comparison(compare(then, now, earlier))
                return answer_of({"against": then.epoch, **found})

            return self._of_latest(kept, f"against {then.epoch}", compared)

    def unit(self, name: str, unit: str) -> dict[str, Any]:
        """The *unit* as it was in the startup with that *name*."""
        with self._client() as client:
            kept = _Kept(client)
            number = kept.number(name, 0)
            return unit_then(self._startup(kept, number), unit, kept.source.events(number))

    def goes_on(self, name: str) -> bool:
        """Whether the startup with that *name* is the present one. This may be called in any
        thread."""
        with self._client() as client:
            kept = _Kept(client)
            return not kept.names or kept.is_present(kept.number(name, 0))

    def _client(self) -> Client:
        return Client(self._address, autostart=False, startup="")

    def _present_picture(self, kept: _Kept) -> Answer:
        seq = kept.last_event(0)
        key = f"{kept.name(0)}-{seq}"
        return self._of_latest(
            kept,
            "picture",
            lambda latest: answer_of(_picture(latest, seq), key if latest.over else ""),
        )

    def _of_latest(self, kept: _Kept, what: str, make: Callable[[Startup], Answer]) -> Answer:
        """What *make* says of the latest startup: again only after something has happened, or, if
        that goes on, after some time."""
        of = (*kept.names, kept.last_event(0), kept.source.is_past)
        known = self._made.pop(what, None)
        if known is None or known.of != of or not known.is_fresh:
            latest = self._startup(kept, 0)
            known = _Made(of, latest.over, make(latest), monotonic())
        return _remembered(self._made, what, lambda: known).answer

    def _startup(self, kept: _Kept, number: int) -> Startup:
        if kept.is_present(number):
            return kept.source.startup(number)
        name = kept.name(number)
        return _remembered(self._past, name, lambda: kept.source.startup(number))

    def _all(self, kept: _Kept, latest: Startup) -> dict[str, Any]:
        return {"startups": [self._row(kept, each, latest) for each in kept.source.numbers()]}

    def _row(self, kept: _Kept, number: int, latest: Startup) -> dict[str, Any]:
        name, present = kept.name(number), kept.is_present(number)
        if (row := self._rows.get(name)) is None:
            startup = self._startup(kept, number) if number else latest
            lasted = took(startup.ended - startup.began) + ("" if startup.over else " so far")
            row = {
                "id": name,
                "began": iso(startup.began + startup.wall, "seconds"),
                "took": lasted,
                "outcome": summed_up(rows(startup, critical_path(startup))),
            }
            if not present:
                self._rows[name] = row
        return row | {"label": str(number), "present": present}


def _picture(startup: Startup, seq: int, notes: Sequence[str] = ()) -> dict[str, Any]:
    if len(startup.units) > UNITS_MAX:
        raise errors.LimitReached(
            f"the page shows up to {UNITS_MAX:,} units, and these are {len(startup.units):,}",
            hint="unitsync timeline shows those that matter",
            limit="units",
            maximum=UNITS_MAX,
        )
    made = page_data(startup, critical_path(startup), seq)
    return made | {"notes": [*made["notes"], *notes]}


def _remembered(known: dict[str, T], name: str, make: Callable[[], T]) -> T:
    """What *known* has for that *name*, or else what is made."""
    found = known.pop(name) if name in known else make()
    known[name] = found
    while len(known) > KEPT_MAX:
        del known[next(iter(known))]
    return found
