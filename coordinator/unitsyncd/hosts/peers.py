"""What is known about units on other hosts, and what of it is news.

The only place that says what may be believed of the log. Pure: it is told what the log holds, and
the time.

A unit of a host is as its report says, if the report is of the epoch of the host's current claim.
If there is no such report, the unit is NOT_REGISTERED once everything in the log was read and the
host has synced under its current claim. Otherwise it is UNKNOWN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from unitsync.errors import InvalidName
from unitsync.names.remote_names import ANY, HOSTS_MAX, check_host, remote_name
from unitsync.text.printing import NOT_HEARD_OF, TIME_MAX, not_heard_of
from unitsync.wire import Host
from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Beat, Claim, Report, Synced
from unitsyncd.hosts.ports import News

SKEW_BEATS: Final = 20
"""The clock of a host is estimated from so many of its latest heartbeats."""

_UNKNOWN: Final = Heard(0.0, Condition.UNKNOWN)


class Peers:
    """Holds at most HOSTS_MAX hosts, and those that are needed by name. What others beyond that
    say is ignored. Of units that are not needed, nothing is kept."""

    def __init__(self, own: str, kept: Iterable[News] = ()) -> None:
        """*kept*: what was said last of each unit, before a restart. It stands until the log says
        otherwise."""
        self._own = own
        self._peers: dict[str, _Peer] = {}
        self._everywhere: dict[str, int] = {}
        """The units that are needed on all hosts → how many readings had begun by then."""
        self._readings = 0
        self._caught_up = False
        self._up = False
        self._now = 0.0
        self._stood = 0.0
        """For how long the link has stood until ``_now``, in all."""
        for name, heard in kept:
            unit, host, _ = remote_name(name)
            peer = self._peers.setdefault(host, _Peer())
            peer.said[unit] = msgspec.structs.replace(heard, at=0.0)
            if heard.condition not in (Condition.UNKNOWN, Condition.NOT_REGISTERED):
                peer.reports[unit] = 0, peer.said[unit]

    def need(self, names: Iterable[str]) -> list[News]:
        """More units are needed: UNIT@HOST, or UNIT@* for the unit on each host with a claim. A
        reading that begins later has to tell of them."""
        news: list[News] = []
        for name in names:
            unit, where, _ = remote_name(name)
            if where != ANY:
                peer = self._peers.setdefault(where, _Peer())
                peer.named.setdefault(unit, self._readings)
            elif unit not in self._everywhere:
                self._everywhere[unit] = self._readings
                for host, peer in self._peers.items():
                    if unit not in peer.said:
                        news += self._news(host, peer, (unit,))
        return news

    def begin_reading(self) -> None:
        """From now on the log tells the latest about all that is needed, in its order, whether it
        was told before or not. Until ``caught_up``, nothing follows from what it does not tell."""
        self._readings += 1
        self._caught_up = False

    def claimed(self, host: str, number: int, claim: Claim) -> list[News]:
        peer = self._peer(host)
        if peer is None or number <= peer.number:
            return []
        if peer.claim is not None and peer.claim.epoch != claim.epoch:
            peer.ahead.clear()
        peer.number, peer.claim, peer.heard_at = number, claim, self._stood
        units = peer.said | peer.named | self._everywhere
        return self._news(host, peer, units)

    def reported(self, host: str, unit: str, report: Report) -> list[News]:
        peer = self._peer(host)
        if peer is None or not self._is_needed(peer, unit):
            return []
        known, latest = peer.reports.get(unit), (report.claim, _heard(report))
        if known is not None and (known == latest or known[0] > latest[0]):
            return []  # told again, or read from a server that lags behind
        peer.reports[unit] = latest
        return self._news(host, peer, (unit,))

    def synced(self, host: str, synced: Synced) -> list[News]:
        peer = self._peer(host)
        if peer is None or synced.claim <= peer.synced:
            return []
        peer.synced = synced.claim
        return self._news(host, peer, peer.named | self._everywhere)

    def caught_up(self) -> list[News]:
        """All that there was in the log when the latest reading began has been told."""
        self._caught_up = True
        news: list[News] = []
        for host, peer in self._peers.items():
            news += self._news(host, peer, peer.named | self._everywhere)
        return news

    def may_wait(self, host: str, unit: str) -> bool:
        """Whether the *unit* may wait for another one, as far as is known."""
        peer = self._peers.get(host)
        heard = peer.said.get(unit, _UNKNOWN) if peer is not None else _UNKNOWN
        return heard.condition in (Condition.PENDING, Condition.UNKNOWN)

    def beat(self, host: str, beat: Beat, now: float, wall: float) -> None:
        """*now* is by our clock that is never set, *wall* by the one that the host has, too."""
        peer = self._peer(host)
        if peer is None or beat.claim < peer.number or not 0 <= beat.at <= TIME_MAX:
            return  # whoever has lost the name does not speak for the host
        self._pass(now)
        peer.heard_at = self._stood
        peer.ahead.append(beat.at - wall)

    @property
    def up(self) -> bool:
        return self._up

    def link(self, up: bool, now: float) -> None:
        """Whether the log can be read now. Only then does time count as silence."""
        self._pass(now)
        self._up = up

    def remark(self, host: str, now: float) -> str:
        """What to add to a text about a unit of *host*; "" if there is nothing to say."""
        if host == self._own:
            return ""
        peer = self._peers.get(host)
        if peer is None or peer.claim is None:
            return NOT_HEARD_OF
        if peer.claim.released:
            return f"{host} has left the job"
        silent = not_heard_of(self._silent_s(peer, now))
        return f"{host} {silent}" if silent else ""

    def hosts(self, now: float) -> list[Host]:
        """All that are known or needed, by name."""
        return [self._host(name, self._peers[name], now) for name in sorted(self._peers)]

    def _host(self, name: str, peer: _Peer, now: float) -> Host:
        return Host(
            name=name,
            own=name == self._own,
            claim=peer.number,
            epoch=peer.claim.epoch if peer.claim else "",
            released=peer.claim is not None and peer.claim.released,
            synced=0 < peer.number == peer.synced,
            silent_s=None if peer.heard_at is None else self._silent_s(peer, now),
            skew_s=max(peer.ahead, default=None),
        )

    def _peer(self, host: str) -> _Peer | None:
        """None for one that is ignored."""
        peer = self._peers.get(host)
        if peer is None and len(self._peers) < HOSTS_MAX:
            try:
                check_host(host)
            except InvalidName:
                return None
            peer = self._peers[host] = _Peer()
        return peer

    def _is_needed(self, peer: _Peer, unit: str) -> bool:
        return unit in peer.named or unit in self._everywhere or unit in peer.said

    def _news(self, host: str, peer: _Peer, units: Iterable[str]) -> list[News]:
        """Whatever of the *units* is no longer as it was said last. Of a unit that is needed on
        all hosts, the first UNKNOWN is news, too: then the host counts."""
        if peer.claim is None:
            return []
        news: list[News] = []
        for unit in units:
            heard = self._as_it_is(peer, peer.claim, unit)
            before = None if unit in self._everywhere else _UNKNOWN
            if heard != peer.said.get(unit, before):
                peer.said[unit] = heard
                news.append((f"{unit}@{host}", heard))
        return news

    def _as_it_is(self, peer: _Peer, claim: Claim, unit: str) -> Heard:
        """The rules."""
        number, heard = peer.reports.get(unit, (0, _UNKNOWN))
        if number > peer.number:
            return _UNKNOWN  # its claim was not told
        if heard.epoch == claim.epoch:
            return heard
        if self._was_read(peer, unit) and peer.synced == peer.number:
            return Heard(0.0, Condition.NOT_REGISTERED, epoch=claim.epoch)
        return _UNKNOWN

    def _was_read(self, peer: _Peer, unit: str) -> bool:
        """Whether a report would have been told: by a reading that began after the need."""
        since = min(
            peer.named.get(unit, self._readings), self._everywhere.get(unit, self._readings)
        )
        return self._caught_up and since < self._readings

    def _pass(self, now: float) -> None:
        if self._up:
            self._stood += now - self._now
        self._now = now

    def _silent_s(self, peer: _Peer, now: float) -> float:
        """Only time in which the link stood counts."""
        since_then = max(0.0, now - self._now) if self._up else 0.0
        return self._stood + since_then - (peer.heard_at or 0.0)


class _Peer:
    """What is known of a host."""

    __slots__ = ("ahead", "claim", "heard_at", "named", "number", "reports", "said", "synced")

    def __init__(self) -> None:
        self.number = 0
        self.claim: Claim | None = None
        self.synced = 0
        """The latest claim that has synced."""
        self.named: dict[str, int] = {}
        """The units that are needed by name → how many readings had begun by then."""
        self.reports: dict[str, tuple[int, Heard]] = {}
        """The latest of each unit, believed or not, and its claim."""
        self.said: dict[str, Heard] = {}
        """What was said last of each unit."""
        self.heard_at: float | None = None
        """For how long the link had stood, in all, when it was last heard of."""
        self.ahead: deque[float] = deque(maxlen=SKEW_BEATS)
        """By how much each of the latest heartbeats was ahead of our clock when it came."""


def _heard(report: Report) -> Heard:
    return Heard(
        0.0,
        report.condition,
        run=report.run,
        since=report.since,
        reason=report.reason,
        pid=report.pid,
        command=report.command,
        epoch=report.epoch,
    )
