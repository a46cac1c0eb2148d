"""What becomes of a unit's command between the grant of its start and its outcome: time limits,
readiness, retries, and a stop that was asked for.

Pure: no processes, sockets or clocks. ``now`` is the runner's monotonic clock in seconds. Two
runners drive it: ``run`` (run/supervised.py) and ``up`` (plan/job.py). Each method returns the
orders that the runner has to carry out, in this order, and ``deadline`` says when it must call
``tick``. Imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Orders: TypeAlias = "tuple[Order, ...]"

FOREVER = float("inf")
GRACE_DEFAULT_S = 10.0
BACKOFF_DEFAULT_S = 1.0
BACKOFF_MAX_S = 300.0
RETRIES_MAX = 1_000_000
LOOK_EVERY_S = 0.05
"""How often to look whether the rest of a process group has ended."""
TIMED_OUT = 124
"""The exit status of a command that ran into its time limit, as timeout(1) has it."""


class Order:
    """What a runner has to do. ``kind`` is one of the constants below."""

    __slots__ = ("delay_s", "kind", "reason", "status")

    def __init__(self, kind: str, reason: str = "", status: int = 0, delay_s: float = 0.0) -> None:
        self.kind = kind
        self.reason = reason
        self.status = status
        self.delay_s = delay_s

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Order({self.kind!r}, {self.reason!r}, {self.status}, {self.delay_s})"


SPAWN = "spawn"
"""Start the command. Then report ``exited`` or ``cannot_run``."""
TERMINATE = "terminate"
"""Ask the command's process group to end."""
KILL = "kill"
"""Kill the command's process group."""
LOOK = "look"
"""See whether a process of the group is left. If none is, report ``group_ended``."""
READY = "ready"
"""Tell the coordinator that the unit is ready."""
RETRY = "retry"
"""Tell the coordinator that this run has failed for ``reason`` and that the next one begins, in
``delay_s`` seconds."""
END = "end"
"""Tell the coordinator how the unit ended: it failed for ``reason``, or completed if that is "".
``status`` is the exit status for it. This is the last order."""


class Supervision:
    """The life of one command.

    - ``retries``: how often it is run again after it has failed
    - ``backoff_s``: the pause before the first retry. Each further pause is twice as long, but
      at most BACKOFF_MAX_S.
    - ``timeout_s``: how long a run may take. With ``probed``: how long it may take until the
      command is ready. After that, there is no limit.
    - ``grace_s``: the time from the request to end until it is killed
    - ``probed``: the unit is launching until ``ready`` is reported
    """

    def __init__(
        self,
        *,
        retries: int = 0,
        backoff_s: float = BACKOFF_DEFAULT_S,
        timeout_s: float = FOREVER,
        grace_s: float = GRACE_DEFAULT_S,
        probed: bool = False,
    ) -> None:
        self._retries_left = retries
        self._backoff_s = backoff_s
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._probed = probed
        self._phase = "new"
        self._asked = False
        """Whether somebody wants it to end: there are no more retries then."""
        self._cause: Order | None = None
        """How it will have ended, if that does not depend on the command any more."""
        self._exit: Order | None = None
        """How the command itself ended, while others of its group still run."""
        self._not_ready = ""
        self._kill_at = FOREVER
        self.launching = False
        self.deadline = FOREVER
        """When to call ``tick``."""

    @property
    def running(self) -> bool:
        """Whether the command, or the rest of its group that was asked to end, runs."""
        return self._phase in ("running", "ending", "draining")

    @property
    def over(self) -> bool:
        return self._phase == "over"

    def begin(self, now: float) -> "Orders":
        """The start was granted."""
        return self._spawn(now)

    def _spawn(self, now: float) -> "Orders":
        self._phase = "running"
        self.launching = self._probed
        self._not_ready = ""
        self.deadline = now + self._timeout_s
        return (Order(SPAWN),)

    def ready(self) -> "Orders":
        """The command is ready."""
        if self._phase != "running" or not self.launching:
            return ()
        self.launching = False
        self.deadline = FOREVER
        return (Order(READY),)

    def not_ready(self, why: str) -> None:
        """A probe has failed: *why*, for the reason if the time is up."""
        self._not_ready = why

    def cannot_run(self, status: int, reason: str) -> "Orders":
        """The command could not be started. Trying again would not help."""
        return self._end(Order(END, reason, status))

    def exited(self, status: int, reason: str, now: float) -> "Orders":
        """The command has ended with *status*; *reason* says why that is a failure, "" if it is
        none."""
        if self.launching and not reason and self._phase == "running":
            status, reason = 1, "ended before it was ready"
        how = Order(END, reason, status)
        if self._phase == "running":
            return self._ended(how, now)
        self._phase = "draining"
        self._exit = how
        self.deadline = min(now, self._kill_at)
        return self.tick(now)

    def group_ended(self, now: float) -> "Orders":
        """No process of the group is left."""
        return self._over_with(now) if self._phase == "draining" else ()

    def tick(self, now: float) -> "Orders":
        """Call this when ``deadline`` has come."""
        if now < self.deadline:
            return ()
        if self._phase == "running":
            from unitsync.text.printing import span

            limit = span(self._timeout_s)
            text = f"timed out after {limit}"
            if self.launching:
                text = f"not ready after {limit}"
                text += f": {self._not_ready}" if self._not_ready else ""
            self._cause = Order(END, text, TIMED_OUT)
            return self._terminate(now)
        if self._phase == "ending":
            self.deadline = FOREVER
            return (Order(KILL),)
        if self._phase == "draining":
            if now >= self._kill_at:
                return (Order(KILL), *self._over_with(now))
            self.deadline = min(now + LOOK_EVERY_S, self._kill_at)
            return (Order(LOOK),)
        return self._spawn(now) if self._phase == "pausing" else ()

    def stop(self, now: float, reason: str | None = None) -> "Orders":
        """Somebody wants it to end. *reason* is why the unit failed then; "" if it has completed,
        and None if that depends on the command."""
        self._asked = True
        if reason is not None:
            self._cause = Order(END, reason, 1 if reason else 0)
        if self._phase == "pausing":
            return self._end(self._cause or Order(END, "stopped between two tries", 1))
        return self._terminate(now) if self._phase == "running" else ()

    def no_more_retries(self) -> None:
        """The command was asked to end by somebody else, and nothing is to follow."""
        self._asked = True

    def kill(self) -> "Orders":
        """Somebody does not want to wait for the end of the grace."""
        if self._phase not in ("ending", "draining"):
            return ()
        self._kill_at = -FOREVER
        self.deadline = -FOREVER if self._phase == "draining" else FOREVER
        return (Order(KILL),)

    def _terminate(self, now: float) -> "Orders":
        self._phase = "ending"
        self._kill_at = self.deadline = now + self._grace_s
        return (Order(TERMINATE),)

    def _over_with(self, now: float) -> "Orders":
        assert self._exit is not None
        return self._ended(self._cause or self._exit, now)

    def _ended(self, how: Order, now: float) -> "Orders":
        if not how.reason or self._asked or not self._retries_left:
            return self._end(how)
        self._retries_left -= 1
        self._phase = "pausing"
        self._cause = None
        delay_s = min(self._backoff_s, BACKOFF_MAX_S)
        self._backoff_s *= 2
        self.deadline = now + delay_s
        return (Order(RETRY, how.reason, how.status, delay_s),)

    def _end(self, how: Order) -> "Orders":
        self._phase = "over"
        self.deadline = FOREVER
        return (how,)
