"""What ``watch`` shows: the units in groups, which groups are folded, and what the user chose.

Pure: no clock, no terminal, no coordinator.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from unitsync.errors import InvalidName
from unitsync.names.patterns import is_pattern, matcher
from unitsync.names.remote_names import is_remote
from unitsync.wire import Status, UnitInfo

FOLD_ABOVE: Final = 20
"""If there are more units than this, those that have completed or were skipped are folded; if more
than this have failed, those too."""


class Group(Enum):
    """In the order in which they are shown. The values are their titles."""

    FAILED = "failed"
    GAVE_UP = "gave up"
    """Their start was skipped or timed out, and nobody waits to start them any more."""
    RUNNING = "running"
    WAITING = "waiting"
    UNREGISTERED = "not registered"
    UNKNOWN = "unknown"
    """Units on other hosts of which nothing is known."""
    IDLE = "not started"
    """They wait for nothing, and nobody has asked to start them."""
    SKIPPED = "skipped"
    COMPLETED = "completed"


ENDED: Final = (Group.FAILED, Group.SKIPPED, Group.COMPLETED)
_OF_STATUS: Final = {
    Status.NOT_REGISTERED: Group.UNREGISTERED,
    Status.LAUNCHING: Group.RUNNING,
    Status.STARTED: Group.RUNNING,
    Status.COMPLETED: Group.COMPLETED,
    Status.FAILED: Group.FAILED,
    Status.SKIPPED: Group.SKIPPED,
    Status.UNKNOWN: Group.UNKNOWN,
}


def group_of(unit: UnitInfo) -> Group:
    if unit.status is not Status.PENDING:
        return _OF_STATUS[unit.status]
    if unit.given_up and not unit.waiting_clients:
        return Group.GAVE_UP
    waits = unit.waiting_clients or unit.prerequisites or unit.gate or is_remote(unit.name)
    return Group.WAITING if waits else Group.IDLE


@dataclass(frozen=True)
class Heading:
    group: Group
    count: int
    folded: bool


Row: TypeAlias = Heading | UnitInfo


class Board:
    """The rows that there are, and one of them that is chosen.

    A unit that was chosen stays so while it moves from group to group. If its group is folded,
    the cursor is at the group's heading. Until something is chosen, and if that is gone, the
    cursor is at the first unit.
    """

    def __init__(self) -> None:
        self.units: Mapping[str, UnitInfo] = {}
        self.counts: Mapping[Group, int] = {}
        """Of all units, whatever the filter."""
        self.rows: Sequence[Row] = ()
        self.matching: Set[str] = frozenset()
        """The names that the filter leaves."""
        self.filter = ""
        self.wrong = ""
        """Why the filter is no pattern."""
        self._folded: dict[Group, bool] = {}
        """What the user has folded and unfolded."""
        self._chosen: str | Group | None = None
        self._place = 0
        """Where the cursor was last."""
        self._top = 0
        """The first row that is shown."""
        self._needed_by: Mapping[str, Sequence[str]] = {}

    # --- what is there ------------------------------------------------------------------

    def update(self, units: Sequence[UnitInfo]) -> None:
        """*units* are all that there are now."""
        self.units = {unit.name: unit for unit in units}
        counts: dict[Group, int] = defaultdict(int)
        needed_by: dict[str, list[str]] = defaultdict(list)
        for unit in units:
            counts[group_of(unit)] += 1
            for edge in unit.prerequisites:
                needed_by[edge.name].append(unit.name)
        self.counts = {group: counts[group] for group in Group if counts[group]}
        self._needed_by = needed_by
        if not units or (isinstance(self._chosen, str) and self._chosen not in self.units):
            self._chosen = None  # after a reset
        self._arrange()

    def needed_by(self, name: str) -> Sequence[str]:
        """The units that still wait for *name*."""
        return self._needed_by.get(name, ())

    def narrow(self, text: str) -> None:
        """Show only units with one of the words in *text* in their name, or that match one that is
        a pattern. Of a text that is wrong, ``wrong`` says why; what is shown stays then."""
        self.filter = text
        self._arrange()

    def _arrange(self) -> None:
        try:
            match = filter_of(self.filter)
            self.wrong = ""
        except InvalidName as problem:
            self.wrong = problem.message
            return
        groups: dict[Group, list[UnitInfo]] = defaultdict(list)
        self.matching = {name for name in self.units if match(name)}
        for unit in self.units.values():
            if unit.name in self.matching:
                groups[group_of(unit)].append(unit)
        rows: list[Row] = []
        for group in Group:
            if not (members := groups.get(group)):
                continue
            number = len(members) if group is Group.FAILED else len(self.matching)
            default = group in ENDED and number > FOLD_ABOVE
            folded = self._folded.get(group, default)
            rows.append(Heading(group, len(members), folded))
            if not folded:
                latest_first = group in (Group.COMPLETED, Group.SKIPPED)
                members.sort(key=lambda unit: unit.since, reverse=latest_first)
                rows += members
        self.rows = rows

    # --- what is chosen -----------------------------------------------------------------

    @property
    def cursor(self) -> int:
        """The place of the row that is chosen, 0 if there are no rows."""
        self._place = self._find()
        return self._place

    def _find(self) -> int:
        if self._chosen is None:
            return min(1, len(self.rows) - 1) if self.rows else 0
        unit = self.units[name] if (name := self._chosen_unit) else None
        group = group_of(unit) if unit is not None else self._chosen
        for place, row in enumerate(self.rows):
            if isinstance(row, Heading):
                if row.group is group and (unit is None or row.folded):
                    return place
            elif unit is not None and row.name == unit.name:
                return place
        return max(0, min(self._place, len(self.rows) - 1))

    @property
    def _chosen_unit(self) -> str:
        name = self._chosen if isinstance(self._chosen, str) else ""
        return name if name in self.matching else ""

    @property
    def chosen(self) -> str:
        """The name of the unit that is chosen; "" if it is a heading."""
        if name := self._chosen_unit:
            return name
        row = self.rows[self.cursor] if self.rows else None
        return row.name if isinstance(row, UnitInfo) else ""

    @property
    def heading(self) -> Heading | None:
        """The heading at the cursor."""
        row = self.rows[self.cursor] if self.rows else None
        return row if isinstance(row, Heading) else None

    def move(self, by: int) -> None:
        """Choose the row *by* rows further down, or the last or first one."""
        if self.rows:
            row = self.rows[max(0, min(self.cursor + by, len(self.rows) - 1))]
            self._chosen = row.group if isinstance(row, Heading) else row.name

    def fold(self) -> None:
        """Fold or unfold the group at the cursor, and choose its heading."""
        if heading := self.heading:
            group, folded = heading.group, heading.folded
        elif self.rows:
            group, folded = group_of(self.units[self.chosen]), False
        else:
            return
        self._folded[group] = not folded
        self._chosen = group
        self._arrange()

    def window(self, height: int) -> range:
        """The places of the rows to show in *height* lines: the cursor is among them."""
        cursor, most = self.cursor, max(0, len(self.rows) - height)
        lowest = cursor - height + 1
        highest = 0 if cursor == 1 else cursor  # with the heading above the first unit
        self._top = min(max(self._top, lowest), max(highest, lowest), most)
        return range(self._top, min(self._top + height, len(self.rows)))


def filter_of(text: str) -> Callable[[str], object]:
    """A function that tells whether a name passes. Upper and lower case are the same for a word,
    as they differ for a pattern. Raises InvalidName."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    matches = [matcher(word) for word in words if is_pattern(word)]
    parts = [word.casefold() for word in words if not is_pattern(word)]
    if not words:
        return lambda name: True
    return lambda name: (
        any(part in name.casefold() for part in parts) or any(match(name) for match in matches)
    )
