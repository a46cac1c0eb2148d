"""What the task of the hosts needs of its coordinator, which the daemon implements; and what ends
a round of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from unitsyncd.core.events import Heard
from unitsyncd.hosts.messages import Report

News: TypeAlias = tuple[str, Heard]
"""(UNIT@HOST, what was heard of it)"""


class ClaimLost(Exception):
    """Another coordinator speaks for the host now."""


class EpochChanged(Exception):
    """The claim is of an epoch that has ended."""


class Coordinator(Protocol):
    """All methods are called between turns, on the event loop."""

    @property
    def epoch(self) -> str: ...

    @property
    def journal(self) -> str:
        """The id of its journal."""

    def heard(self) -> Collection[News]:
        """What was heard last of each remote unit in this epoch: after a restart too."""

    def needs(self) -> Collection[str]:
        """What its units and clients wait for, or were told of: UNIT@HOST, and UNIT@* for a unit on
        all hosts. It only grows within an epoch."""

    def changed(self) -> Collection[str]:
        """The units that may have changed since the last call; at first all units of the epoch."""

    def report(self, unit: str, claim: int) -> Report | None:
        """The unit as it is now. None if there is no unit of that name any more."""

    def hear(self, news: Sequence[News]) -> None:
        """Let a turn take in the *news*, and keep it. Raises StoreError, and then nothing has
        changed."""

    @property
    def run(self) -> str:
        """The id of the job's run that this epoch has joined; "" if none."""

    def join(self, run: str) -> None:
        """Keep that this epoch belongs to that run of the job. Raises StoreError."""

    def leave(self, why: str) -> None:
        """The job is over: who waits for units on other hosts gets an error, now and later. Raises
        StoreError, and then those who wait now have got none."""

    def give_up(self, hosts: Mapping[str, str]) -> None:
        """Nothing was heard of these *hosts* for too long, each with a reason: who cannot go on
        without one of them gets an error, if that can be kept."""

    def waiting(self) -> Collection[str]:
        """Its units that a start waits for and that wait for a remote or shared prerequisite."""

    def deadlocked(self, unit: str, path: Sequence[str]) -> None:
        """The unit waits for itself: *path* begins and ends with it, UNIT@HOST each. Its waiting
        starts get an error, if that can be kept."""
