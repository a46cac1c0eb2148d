"""What the actors need to know from outside. Adapters implement it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from unitsync import wire
from unitsyncd.core.events import OwnerKey


class OwnerWatch(Protocol):
    """Knows about processes. The implementation reports the end of one to
    Supervisor.owner_gone."""

    @property
    def unseen(self) -> Collection[OwnerKey]:
        """Owners that should be watched but cannot be looked at now. Always the same
        object."""

    @property
    def unkept(self) -> Collection[OwnerKey]:
        """Owners that have ended, although the journal could not record that yet. Always the
        same object."""

    def is_alive(self, owner: wire.Owner) -> bool:
        """False only if the process is certainly gone."""

    def can_be_seen(self, owner: wire.Owner) -> bool:
        """Whether its pid means the same process to us as to itself."""

    def watch(self, owner: wire.Owner) -> None: ...

    def forget(self, key: OwnerKey) -> None: ...


class NobodyWatched:
    """An OwnerWatch that takes all owners for alive, for a trial that keeps nothing."""

    unseen = frozenset[OwnerKey]()
    unkept = frozenset[OwnerKey]()

    def is_alive(self, owner: wire.Owner) -> bool:
        return True

    def can_be_seen(self, owner: wire.Owner) -> bool:
        return True

    def watch(self, owner: wire.Owner) -> None:
        pass

    def forget(self, key: OwnerKey) -> None:
        pass


class ClientProcesses(Protocol):
    """Knows about the processes of clients, by the routing ids of their connections."""

    def has_died(self, peer: bytes) -> bool:
        """True only if the process is certainly dead."""

    def is_dying(self, peer: bytes) -> bool:
        """Like ``has_died``, but also True if it was killed and is about to end. Takes
        longer."""

    def end_turn(self) -> None:
        """Forget what was found out in this turn: it may no longer be true."""


class _AllAlive:
    def has_died(self, peer: bytes) -> bool:
        return False

    is_dying = has_died

    def end_turn(self) -> None:
        pass


ALL_ALIVE: Final[ClientProcesses] = _AllAlive()
"""For when nothing is known about the clients."""


class Identity(Protocol):
    """What the coordinator says about itself in a Pong."""

    version: str
    pid: int
    since: float
