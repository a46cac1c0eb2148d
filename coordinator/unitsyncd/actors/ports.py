"""What the actors ask for; adapters know how to find that out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from unitsync import wire
from unitsyncd.core.events import OwnerKey


class OwnerWatch(Protocol):
    """Knows about processes. Word of one that has ended goes to Supervisor.owner_gone."""

    @property
    def unseen(self) -> Collection[OwnerKey]:
        """Owners that are to be watched and cannot be looked at now. The same object for
        good."""

    @property
    def unkept(self) -> Collection[OwnerKey]:
        """Owners that have ended, which could not be kept yet. The same object for good."""

    def is_alive(self, owner: wire.Owner) -> bool:
        """False only if the process is certainly gone."""

    def can_be_seen(self, owner: wire.Owner) -> bool:
        """Whether its pid means the same process to us as to itself."""

    def watch(self, owner: wire.Owner) -> None: ...

    def forget(self, key: OwnerKey) -> None: ...


class NobodyWatched:
    """An OwnerWatch to whom all are alive, where nothing is to last."""

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
        """The same, and True as well if it was killed and is about to end. Takes longer."""

    def end_turn(self) -> None:
        """What was found out is too old from now on."""


class _AllAlive:
    def has_died(self, peer: bytes) -> bool:
        return False

    is_dying = has_died

    def end_turn(self) -> None:
        pass


ALL_ALIVE: Final[ClientProcesses] = _AllAlive()
"""Where nothing is known of the clients."""


class Identity(Protocol):
    """What the coordinator says about itself in a Pong."""

    version: str
    pid: int
    since: float
