"""Whether those who ask are still there: a claim by a process that is dead is no claim."""

from __future__ import annotations

from collections.abc import Callable

from unitsyncd.adapters.access import Peer
from unitsyncd.adapters.processes import has_died, is_dying


class ClientProcesses:
    """The processes that connections come from, as the kernel noted them (SO_PEERCRED of
    unix(7)). Nothing is known of one in another pid namespace, nor of one whose pid has
    been given to another process since: they count as alive."""

    def __init__(self, peer: Callable[[bytes], Peer | None]) -> None:
        """*peer* says who has the connection with a routing id, if that is known."""
        self._peer = peer
        self._alive: set[tuple[int, bool]] = set()
        """Those that were looked at in this turn, closely or not: to look takes a tenth of a
        request, to look closely twice as long."""

    def has_died(self, peer: bytes) -> bool:
        """True only if the process is certainly dead. It is looked at once a turn."""
        return self._look(peer, closely=False)

    def is_dying(self, peer: bytes) -> bool:
        """The same, and True as well if the process was killed and is about to end."""
        return self._look(peer, closely=True)

    def end_turn(self) -> None:
        self._alive.clear()

    def _look(self, peer: bytes, *, closely: bool) -> bool:
        known = self._peer(peer)
        if known is None or known.pid < 1 or (known.pid, closely) in self._alive:
            return False
        if is_dying(known.pid) if closely else has_died(known.pid):
            return True
        self._alive.add((known.pid, closely))
        return False
