"""One conversation with the coordinator, without sockets, clocks or event loops.

Everything that all clients must agree on is decided here: when a waiting verb asks again,
when a reply is overdue, how often a lost link is mended, what is outlasted, what the user is
told meanwhile. The clients (perform.py for the command line, client.py, aio.py) move bytes
and wait.

``now`` is always the client's monotonic clock in seconds. Requests and replies are read by
their attributes, as wire.py names them, and so may be its messages or a Plain (render.py).
Imports nothing but what the interpreter has loaded anyway.
"""

from __future__ import annotations

from unitsync.request_kinds import WAITING_PATIENCE_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from unitsync.errors import UnitsyncError
    from unitsync.request_kinds import May

    Step: TypeAlias = "Send | Pause | Done"

REPLY_SLACK_S = 5.0
"""How long after a request's patience its reply is overdue."""
OVERTIME_S = 1.0
"""How long after its deadline a conversation may take to end, answered or not."""
REQUEST_PATIENCE_S = 60.0
"""The deadline of a request that does not wait: for so long it is repeated, through lost
links and restarts. The end of a run also outlasts a coordinator that cannot keep it."""
OVERDUE_MAX = 2
"""So many overdue replies in a row end a request that does not wait. The link is kept: a
coordinator that goes on reads what it was sent in the order in which it was sent."""
LOST_LINKS_MAX = 5
"""From so many lost links in a row on it keeps still for a moment after each, lest it be
the cause of them."""
LOOK_EVERY_S = 0.1
AGAIN_S = 1.0
"""How long it keeps still while there is no coordinator: at first, and in the long run."""
NOTICE_AFTER_S = 2.0
"""A request that does not wait says from then on what keeps it."""
NOTICE_EVERY_S = WAITING_PATIENCE_S - 1.0
WITHDRAW_PATIENCE_S = 1.0
"""How long an interrupted client waits to hear that its withdrawal arrived."""
LEAVE_PATIENCE_S = 0.1
"""The same for one that got no answer: long enough for the withdrawal to leave."""
FOREVER = float("inf")


class Send:
    """Send the request with its fields as ``changes`` has them, over a link that is there at
    ``reach_by``, a coordinator started for it included. Its reply is overdue
    ``reply_within_s`` after it was sent, but at ``over_by`` at the latest. If there is a
    ``notice``, tell the user of it first."""

    __slots__ = ("changes", "notice", "over_by", "reach_by", "reply_within_s")

    def __init__(
        self, changes: dict[str, Any], reply_within_s: float, reach_by: float, over_by: float
    ) -> None:
        self.changes = changes
        self.reply_within_s = reply_within_s
        self.reach_by = reach_by
        self.over_by = over_by
        self.notice: Notice | None = None

    def reply_by(self, sent: float) -> float:
        return min(sent + self.reply_within_s, self.over_by)


class Pause:
    """There is no coordinator for now: in ``delay_s`` seconds ask ``resume``. If there is a
    ``notice``, tell the user of it first."""

    __slots__ = ("delay_s", "notice")

    def __init__(self, delay_s: float, notice: Notice | None) -> None:
        self.delay_s = delay_s
        self.notice = notice


class Done:
    __slots__ = ("reply",)

    def __init__(self, reply: Any) -> None:
        self.reply = reply


class Notice:
    """What a user is told who waits: the last ``reply`` of the coordinator, None if there was
    none, and lines for stdout and stderr."""

    __slots__ = ("err", "out", "reply")

    def __init__(self, reply: Any, out: Any, err: Any) -> None:
        self.reply = reply
        self.out = out
        self.err = err


class Conversation:
    """One request, repeated with the same id until its final reply or its deadline.

    *verb* is its tag on the wire, *address* the coordinator's, for messages. ``timeout_s``
    bounds a request that waits; others have REQUEST_PATIENCE_S and take no notice of it.
    Which errors end it before that is decided in ``away``, and nowhere else.
    """

    __slots__ = (
        "_address",
        "_away_since",
        "_bad",
        "_began",
        "_changes",
        "_deadline",
        "_last",
        "_losses",
        "_may",
        "_noticed",
        "_overdue",
        "_patient",
        "_pauses",
        "_reason",
        "_request",
        "_stale",
        "_verb",
        "epoch",
    )

    def __init__(self, verb: str, request: Any, may: May, address: str) -> None:
        self._verb = verb
        self._request = request
        self._may = may
        self._address = address
        self.epoch: str = request.epoch
        """Under which this wait goes on, "" before the coordinator was told of it."""
        self._changes: dict[str, Any] = {}
        self._began = 0.0
        self._deadline = FOREVER
        self._patient = False
        self._noticed = -FOREVER
        self._bad: set[str] = set()
        self._last: Any = None
        self._away_since = FOREVER
        self._reason: UnitsyncError | None = None
        """The last that was said of why it is away."""
        self._losses = 0
        self._overdue = 0
        self._pauses = 0
        """Losses and pauses since the last reply, overdue replies since the last loss."""
        self._stale = 0
        """Replies that may still come to what was asked before it was asked once more."""

    @property
    def told(self) -> bool:
        """Whether the coordinator was told of this wait: it then goes on under the
        epoch in which it began, also with a coordinator that comes back."""
        return bool(self.epoch) and self._may.waits

    def begin(self, now: float, timeout_s: float = FOREVER) -> Send:
        """The first step."""
        self._began = now
        self._deadline = now + (timeout_s if self._may.waits else REQUEST_PATIENCE_S)
        return self._ask(now)

    def resume(self, now: float) -> Send:
        """The request again, after a Pause."""
        return self._ask(now)

    def received(self, kind: str, reply: Any, now: float) -> Step:
        """What follows from the coordinator's *reply*, of which *kind* is the tag on the
        wire. Raises ProtocolError for one that is none to this request, and what ``away``
        raises."""
        self._losses = 0
        if kind == "error" and reply.code in ("stopped", "not_kept"):
            from unitsync.errors import from_code

            problem = from_code(reply.code, reply.message, reply.hint, {})
            if self._outlasts(problem):
                return self.away(problem, now)
        self._pauses = 0
        self._away_since = FOREVER
        self._reason = None
        if kind not in ("waiting", "ready"):
            return Done(reply)
        if not self._may.waits or self._changes.get("last"):
            if not self._stale:
                from unitsync.errors import ProtocolError

                raise ProtocolError(f"the coordinator answered {self._verb!r} with {kind!r}")
            self._stale -= 1
            return self._ask(now)
        if not self.epoch:
            self._changes["epoch"] = self.epoch = reply.epoch
        if self._verb == "start":
            self._changes.setdefault("since_run", reply.run)
        self._patient = kind == "waiting"
        step = self._ask(now)
        if kind == "waiting":
            self._last = reply
            if self._is_bad_news(reply) or self._is_news(now):
                self._noticed = now
                step.notice = Notice(reply, reply.out, reply.err)
        return step

    def lost(self, now: float, *, overdue: bool = False) -> Step:
        """What follows when the link breaks, or stands and the reply is *overdue*. Raises
        what ``away`` raises."""
        if self._verb == "stop" and not overdue:
            return Done(None)  # gone is what was asked for
        from unitsync.absent import NotYet

        what = "does not answer" if overdue else "ends before it answers"
        problem = NotYet(
            f"the coordinator at {self._address} {what}",
            hint="its log is coordinator.log beside the socket",
            endpoint=self._address,
        )
        if not overdue:
            self._losses += 1
            self._overdue = 0  # that was another coordinator
            return self._ask(now) if self._losses < LOST_LINKS_MAX else self.away(problem, now)
        self._overdue += 1
        self._stale += 1
        over = now >= self._deadline and self._changes.get("last", True)
        lasts = self._outlasts(problem) or self._may.waits
        if over or (self._overdue >= OVERDUE_MAX and not lasts):
            raise self._expired(problem)
        step = self._ask(now)
        step.notice = self._notice_of(problem, now, REPLY_SLACK_S)
        return step

    def away(self, problem: UnitsyncError, now: float) -> Pause:
        """What follows when *problem* says why there is no coordinator. Raises it if it is
        not outlasted; at the deadline TimedOut, or what has kept it so long."""
        from unitsync.absent import NotYet

        if not isinstance(problem, NotYet):
            if not self._outlasts(problem):
                raise _as_told(problem)
            self._reason = problem
        left = self._deadline - now
        if left <= 0:
            raise self._expired(problem)
        delay_s = min(AGAIN_S, LOOK_EVERY_S * 2**self._pauses, left)
        self._pauses = min(self._pauses + 1, 10)
        return Pause(delay_s, self._notice_of(problem, now))

    @property
    def _ends_a_run(self) -> bool:
        return self._verb in ("complete", "fail")

    def _outlasts(self, problem: UnitsyncError) -> bool:
        """Whether it goes on until its deadline though that keeps the coordinator from it. A
        wait that it was told of and the end of a run that it granted outlast anything; a
        script's last word, what keeps it from being written: else the script would be said
        to have ended without it."""
        if self._ends_a_run and problem.code == "not_kept":
            return True
        return bool(self.epoch) and (self._may.waits or self._ends_a_run)

    def _notice_of(self, problem: UnitsyncError, now: float, for_s: float = 0.0) -> Notice | None:
        """What to tell the user of a *problem* that has lasted *for_s* at least."""
        from unitsync.absent import NotYet
        from unitsync.errors import NotKept

        if self._away_since == FOREVER:
            self._away_since = now - for_s
            self._noticed = -FOREVER
        waits, render = self._may.waits, self._request.render
        silent = render == "none"
        if not waits and (silent or now - self._away_since < NOTICE_AFTER_S):
            return None
        if not self._is_news(now):
            return None
        again = not waits or isinstance(problem, NotYet | NotKept)
        what = f"{problem}; {'trying again' if again else 'waiting for its return'}"
        if self._ends_a_run and self._outlasts(problem):
            what = f"the end of {self._request.unit} is not recorded yet: {what}"
        lines = [f"unitsync: {what}"]
        if problem.hint and waits:
            lines.append(f"hint: {problem.hint}")
        if silent:
            lines = []
        if render == "coder" and self._verb == "start":
            return Notice(self._last, lines, [])
        return Notice(self._last, [], lines)

    def _expired(self, problem: UnitsyncError) -> UnitsyncError:
        """What a deadline leads to that *problem* has outlasted."""
        from unitsync.errors import TimedOut

        problem = self._reason or problem
        if not self._may.waits:
            return _as_told(problem)
        unit = self._request.unit if self._verb == "start" else ""
        missing = self._last.waiting_for if self._last is not None else []
        return TimedOut(
            f"{unit or 'the wait'} timed out: {problem}",
            hint=problem.hint,
            unit=unit,
            waiting_for=[edge.name for edge in missing],
        )

    def _ask(self, now: float) -> Send:
        patience_s = 0.0
        left = max(0.0, self._deadline - now)
        if self._may.waits:
            if self._patient:
                patience_s = min(WAITING_PATIENCE_S, left)
            self._changes["patience_s"] = patience_s
            # What it was to wait is told, not what it has waited.
            self._changes["waited_s"] = min(now, self._deadline) - self._began
            self._changes["last"] = left == 0
        # A time limit of 0 leaves a second to start a coordinator.
        reach_by = max(self._deadline, self._began + OVERTIME_S)
        over_by = self._deadline + OVERTIME_S
        return Send(self._changes, patience_s + REPLY_SLACK_S, reach_by, over_by)

    def _is_bad_news(self, reply: Any) -> bool:
        """Whether something that is waited for has failed, or its script has ended, since the
        user was last told. Otherwise a wait ends there: only with ``on_skip`` ``wait`` and
        ``on_owner_exit`` ``warn`` it goes on."""
        bad = {
            edge.name
            for edge in reply.waiting_for
            if edge.owner_gone or edge.status in ("failed", "skipped")
        }
        before, self._bad = self._bad, bad
        return not bad <= before

    def _is_news(self, now: float) -> bool:
        """Whether to tell the user: at once, then every 30 s, not at the deadline."""
        if now - self._noticed < NOTICE_EVERY_S or now >= self._deadline:
            return False
        self._noticed = now
        return True


def withdrawal(why: BaseException) -> tuple[str, float]:
    """The reason for which a start is taken back that ended with *why*, and for how many
    seconds an answer to that is waited for."""
    from unitsync.errors import UnitsyncError

    if isinstance(why, UnitsyncError):
        return "its start got no answer in time", LEAVE_PATIENCE_S
    interrupted = isinstance(why, KeyboardInterrupt | SystemExit)
    return "interrupted" if interrupted else "cancelled", WITHDRAW_PATIENCE_S


def _as_told(problem: UnitsyncError) -> UnitsyncError:
    """*problem* as the class that users know it by."""
    from unitsync.errors import from_code

    return from_code(problem.code, problem.message, problem.hint, problem.details)
