"""Whether the clients are still there: a request by a dead process does not count."""

from __future__ import annotations

from collections.abc import Callable

from unitsyncd.system.processes import has_died, is_dying
from unitsyncd.transport.access import Peer


class ClientProcesses:
    """The processes that connections come from, as the kernel noted them (SO_PEERCRED in
    unix(7)). A process counts as alive if it is in another pid namespace, or if its pid has
    been given to another process since: nothing is known about it."""

    def __init__(self, peer: Callable[[bytes], Peer | None]) -> None:
        """*peer* returns who has the connection with a routing id, or None."""
        self._peer = peer
        self._alive: set[tuple[int, bool]] = set()
        """(pid, closely): processes found alive in this turn. A look takes a tenth of the time
        of a request, a close one twice as long."""

    def is_dead(self, peer: bytes, *, closely: bool = False) -> bool:
        """True only if the process is certainly dead. *closely*: also if it was killed and is
        about to end. Looks at most once in a turn, and once closely."""
        known = self._peer(peer)
        if known is None or known.pid < 1 or (known.pid, closely) in self._alive:
            return False
        if is_dying(known.pid) if closely else has_died(known.pid):
            return True
        self._alive.add((known.pid, closely))
        return False

    def end_turn(self) -> None:
        self._alive.clear()
