"""Units on other hosts, as far as the units and clients of this one wait for them.

Each is a topic of the bus. Its condition is UNKNOWN until something is heard of it. A unit on
several hosts, ``UNIT@*:N``, is a topic too: its condition follows from those of the unit on each
host that has been heard of. See requirement.py.

What is heard comes from the hosts room, which knows the log and its rules. Here it only counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from msgspec.structs import replace

from unitsync import wire
from unitsync.errors import JobOver, UsageError
from unitsync.names.remote_names import ANY, HOSTS_MAX, RemoteName, is_remote, remote_name
from unitsync.names.unit_names import FIELDS
from unitsync.text.printing import quoted
from unitsyncd.actors.bus import Bus
from unitsyncd.actors.ports import Job
from unitsyncd.actors.turn import Turn
from unitsyncd.core.barrier import Barrier
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.limits import limit_reached

REMOTE_MAX: Final = 100_000
"""Names with an ``@`` that an epoch has heard of, or waits for."""


class RemoteUnits:
    """Changes are a part of the turn, and are undone with it."""

    def __init__(self, bus: Bus, turn: Turn, dependents: Callable[[str], Iterable[str]]) -> None:
        self._bus = bus
        self._turn = turn
        self._dependents = dependents
        self.job: Job | None = None
        """None if the coordinator belongs to none: then nobody can wait for other hosts."""
        self.expected = 0
        """How many hosts UNIT@* is about; 0 if that is not known."""
        self.run = ""
        """The run of the job that the epoch belongs to."""
        self.over = ""
        """Why the job is over, "" if it is not."""
        self.needed: dict[str, None] = {}
        """UNIT@HOST, and UNIT@* for those on all hosts: what is to be heard of."""
        self.heard: dict[str, Heard] = {}
        self._on_hosts: dict[str, dict[str, None]] = {}
        """UNIT → UNIT@HOST for each host of which it was heard."""
        self.barriers: dict[str, Barrier] = {}
        """By their name, for example ``ready@*:8``."""
        self._barriers_of: dict[str, list[str]] = {}
        """The names of the barriers of each UNIT@*."""
        self.shared: dict[str, None] = {}
        """Units that wait for another host, or for a unit here that does: each unit on a cycle
        across hosts is one. A unit stays in here when it does not any more."""

    def expect(self, hosts: int, at: float) -> None:
        """UNIT@* is about that number of *hosts*, 0 if that is not known."""
        if hosts == self.expected:
            return
        self.expected = hosts
        for text in list(self.barriers):
            name = remote_name(text)
            self._forget(text, name)
            self._mention(text, name, at)

    def check(self, text: str, *, optional: bool = False) -> RemoteName:
        """What *text*, which holds an ``@``, stands for. Raises InvalidName; UsageError if this
        coordinator cannot know other hosts, or if nobody can wait like that; JobOver."""
        name = remote_name(text)
        if optional and name.host == ANY:
            raise UsageError(f"{text}: a unit on several hosts cannot be optional")
        if self.job is None:
            raise UsageError(
                f"{text}: this coordinator knows no other hosts",
                hint="it must be a host of a job: set UNITSYNC_HOSTS and UNITSYNC_JOB; if these "
                "are set already: unitsync stop, and try again",
            )
        if self.over:
            raise JobOver(f"{text}: {self.over}", hint=f"unitsync status {text.partition('@')[0]}")
        if name.host == ANY and not (name.hosts or self.expected):
            raise UsageError(
                f"{quoted(text)} does not say how many hosts there are",
                hint="--count 8, or once for the whole job: unitsync serve --hosts-expected 8",
            )
        return name

    def mention(self, text: str, at: float, *, optional: bool = False) -> None:
        """Make sure that the topic *text* has a condition: somebody is about to wait for it, or
        asks. Raises what ``check`` raises, and LimitReached."""
        known = self._is_known(text)
        if known and not optional:
            return
        name = self.check(text, optional=optional)
        if known:
            return
        if len(self.needed) >= REMOTE_MAX:
            what = f"waits for no more than {REMOTE_MAX:,} units on other hosts"
            raise limit_reached("remote", REMOTE_MAX, what, hint="wait for fewer, or for UNIT@*")
        self._mention(text, name, at)

    def load(self, text: str, at: float) -> None:
        """The same for what the journal says that somebody waits for."""
        if not self._is_known(text):
            self._mention(text, remote_name(text), at)

    @property
    def waited_for(self) -> list[str]:
        """What ``load`` is to be called with, to have the same."""
        units = (name for name in self.needed if name.rpartition("@")[2] != ANY)
        return [*units, *self.barriers]

    def _is_known(self, text: str) -> bool:
        return text in self.barriers or (text in self.needed and not text.endswith(ANY))

    def _mention(self, text: str, name: RemoteName, at: float) -> None:
        undo = self._turn.undo
        undo.push(self._forget, text, name)
        if name.host != ANY:
            self.needed[text] = None
            if text not in self.heard:
                self._bus.publish(text, Condition.UNKNOWN, at)
            return
        everywhere = f"{name.unit}@{ANY}"
        self.needed[everywhere] = None
        # More than there can be, as long as that is not known.
        hosts = name.hosts or self.expected or HOSTS_MAX + 1
        barrier = self.barriers[text] = Barrier(hosts, self.expected)
        self._barriers_of.setdefault(everywhere, []).append(text)
        for one in self.on_hosts(text):
            barrier.change(None, self.heard[one].condition)
        self._bus.publish(text, barrier.condition, at)

    def _forget(self, text: str, name: RemoteName) -> None:
        if name.host != ANY:
            self.needed.pop(text, None)
            return
        everywhere = f"{name.unit}@{ANY}"
        self.barriers.pop(text, None)
        self._barriers_of[everywhere].remove(text)
        if not self._barriers_of[everywhere]:
            del self._barriers_of[everywhere]
            self.needed.pop(everywhere, None)

    def hear(self, text: str, fact: Heard) -> None:
        """Take in *fact*: publish what changes because of it."""
        before = self.heard.get(text)
        self._turn.undo.push(self._put_back, text, before)
        self.heard[text] = fact
        unit = text.rpartition("@")[0]
        if before is None:
            self._on_hosts.setdefault(unit, {})[text] = None
        was = None if before is None else before.condition
        if was is fact.condition:
            return
        self._bus.publish(text, fact.condition, fact.at)
        for name in self._barriers_of.get(f"{unit}@{ANY}", ()):
            barrier = self.barriers[name]
            self._turn.undo.push(barrier.change, fact.condition, was)
            barrier.change(was, fact.condition)
            if barrier.condition is not self._bus.condition(name):
                self._bus.publish(name, barrier.condition, fact.at)

    def _put_back(self, text: str, before: Heard | None) -> None:
        if before is None:
            del self.heard[text], self._on_hosts[text.rpartition("@")[0]][text]
        else:
            self.heard[text] = before

    def share(self, dependent: str, prerequisite: str) -> None:
        """Note that *dependent* waits for *prerequisite*, if that makes it shared."""
        if not (is_remote(prerequisite) or prerequisite in self.shared):
            return
        queue = [dependent]
        for name in queue:
            if name not in self.shared:
                self.shared[name] = None
                self._turn.undo.touch(name)
                queue += self._dependents(name)

    def on_hosts(self, text: str) -> Collection[str]:
        """UNIT@HOST for each host that the barrier *text* counts."""
        return self._on_hosts.get(text.rpartition("@")[0], {})

    def held(self) -> tuple[dict[Any, Any], ...]:
        """All containers that grow with the units, for the caller to empty."""
        units = self.needed, self.heard, self._on_hosts, self.shared
        return *units, self.barriers, self._barriers_of


def localized(request: wire.AnyRequest, host: str) -> wire.AnyRequest:
    """*request* with UNIT in place of UNIT@*host*: for that host it is a unit of its own."""
    ours = f"@{host}"

    def local(name: Any) -> Any:
        if isinstance(name, wire.Declaration):
            return replace(name, unit=local(name.unit), prerequisites=local(name.prerequisites))
        if isinstance(name, list):
            return [local(one) for one in name]
        return name.removesuffix(ours)

    changed = {}
    for field in FIELDS:
        names = getattr(request, field, None)
        if names and (theirs := local(names)) != names:
            changed[field] = theirs
    return replace(request, **changed) if changed else request
