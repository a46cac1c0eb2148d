"""What the actors need to know from outside. Adapters implement it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from unitsync import wire
from unitsyncd.core.events import OwnerKey


class OwnerWatch(Protocol):
    """Knows about processes. The implementation reports the end of one to
    Supervisor.owner_gone."""

    @property
    def unseen(self) -> Collection[OwnerKey]:
        """Owners that should be watched but cannot be looked at now. Always the same
        object."""
        return ()

    @property
    def unkept(self) -> Collection[OwnerKey]:
        """Owners that have ended, although the journal could not record that yet. Always the
        same object."""
        return ()

    def is_alive(self, owner: wire.Owner) -> bool:
        """False only if the process is certainly gone."""
        return True

    def can_be_seen(self, owner: wire.Owner) -> bool:
        """Whether its pid means the same process to us as to itself."""
        return True

    def watch(self, owner: wire.Owner) -> None:
        return

    def forget(self, key: OwnerKey) -> None:
        return


class NobodyWatched(OwnerWatch):
    """Takes all owners for alive, for a trial that keeps nothing."""


class ClientProcesses(Protocol):
    """Knows about the processes of clients, by the routing ids of their connections."""

    def is_dead(self, peer: bytes, *, closely: bool = False) -> bool:
        """True only if the process is certainly dead. *closely*: also if it was killed and is
        about to end, which takes longer to find out."""
        return False

    def end_turn(self) -> None:
        """Forget what was found out in this turn: it may no longer be true."""
        return


class AllAlive(ClientProcesses):
    """For when nothing is known about the clients."""


class Job(Protocol):
    """The job that spans hosts, of which the coordinator is one."""

    name: str
    host: str
    """What this host is called in it."""
    expected: int
    """How many hosts UNIT@* is about; 0 if that is not known."""

    def remark(self, host: str) -> str:
        """What to add to whatever is said of the units of *host*, for example for how long nothing
        was heard of it; "" if there is nothing to add."""

    def takes_part(self) -> bool:
        """Whether this host tells the others of its units now, and hears of theirs."""

    def standing(self) -> str:
        """One line about the link to the log, and about the part of this host in the job."""

    def hosts(self) -> list[wire.Host]:
        """All hosts of the job that are known."""


class Identity(Protocol):
    """What the coordinator says about itself in a Pong."""

    version: str
    pid: int
    since: float
