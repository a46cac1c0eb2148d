"""One conversation with the coordinator, without sockets, clocks or event loops.

This module decides everything that all clients must agree on: when a waiting verb asks again,
when a reply is overdue, how often a lost link is replaced, which errors a request outlasts, and
what the user is told meanwhile. The clients (perform.py for the command line, client.py,
aio.py) move bytes and wait.

``now`` is always the client's monotonic clock in seconds. Requests and replies are read only
through attributes with the names of wire.py. So they may be messages of wire.py or a Plain
(link/by_hand.py). Imports only what the interpreter has already loaded.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from unitsync.errors import UnitsyncError

    Step: TypeAlias = "Send | Pause | Done"

WAITING_PATIENCE_S = 30.0
"""How long the coordinator may hold back the answer to a repeated request that waits."""
REPLY_SLACK_S = 5.0
"""How long after a request's patience its reply is overdue."""
OVERTIME_S = 1.0
"""How long after its deadline a conversation may take to end, answered or not."""
REQUEST_PATIENCE_S = 60.0
"""The deadline of a request that does not wait. Until then it is repeated, through lost
links and restarts. The end of a run also outlasts a coordinator that cannot write it to the
journal."""
OVERDUE_MAX = 2
"""So many overdue replies in a row end a request that does not wait. The link is kept: a
coordinator that recovers reads requests in the order in which they were sent."""
LOST_LINKS_MAX = 5
"""After so many lost links in a row the client pauses after each, in case it is itself the
cause."""
LOOK_EVERY_S = 0.1
AGAIN_S = 1.0
"""The pause while there is no coordinator: LOOK_EVERY_S at first, growing to AGAIN_S."""
NOTICE_AFTER_S = 2.0
"""After this time, a request that does not wait tells the user what delays it."""
NOTICE_EVERY_S = WAITING_PATIENCE_S - 1.0
WITHDRAW_PATIENCE_S = 1.0
"""How long an interrupted client waits for the answer to its withdrawal."""
LEAVE_PATIENCE_S = 0.1
"""The same for a client that got no answer to its start: long enough to send the withdrawal."""
HEAR_S = 2.0
"""How long to ask about a unit on another host until something was heard of it: the coordinator
begins to listen when it is asked."""
HEAR_EVERY_S = 0.05
"""The first pause in between; it doubles each time."""
FOREVER = float("inf")
TIMEOUT_DEFAULT_S = 300.0
"""How long a verb waits if nobody says."""


# --- what a request may do -----------------------------------------------------------


class Autostart:
    """When a request starts a coordinator if there is none."""

    NEVER = "never"
    IF_STATE_IS_KEPT = "if state is kept"
    """For requests that only look. If no state is kept, the answer is known without a
    coordinator: nothing is registered."""
    IF_THERE_IS_A_JOURNAL = "if there is a journal"
    """For requests that also look at earlier startups."""
    ALWAYS = "always"


class May:
    def __init__(
        self,
        *,
        acts: bool = False,
        looks: bool = False,
        waits: bool = False,
        holds: bool = False,
        autostart: str = Autostart.ALWAYS,
        answer: str = "ok",
    ) -> None:
        self.acts = acts
        """It changes something or waits. An earlier startup may not do that; a startup that
        was not seen before begins with it."""
        self.looks = looks
        """It only looks. Under a startup that was not seen before, it sees nothing."""
        self.waits = waits
        """Its answer may be held back."""
        self.holds = holds
        """The same, but for no longer than the ``patience_s`` that the request itself has."""
        self.autostart = autostart
        self.answer = answer
        """The tag of the reply that says that the request was done."""


def _look(answer: str) -> May:
    return May(looks=True, autostart=Autostart.IF_STATE_IS_KEPT, answer=answer)


ACT = May(acts=True)
ACT_IF_THERE = May(acts=True, autostart=Autostart.NEVER)
"""For what is not worth a coordinator if there is none."""
REQUESTS = {
    "want": ACT,
    "declare": ACT,
    "unwant": ACT,
    "gate": ACT,
    "start": May(acts=True, waits=True, answer="granted"),
    "ready": ACT,
    "note": ACT,
    "retry": May(acts=True, answer="granted"),
    "withdraw": ACT_IF_THERE,
    "complete": ACT,
    "fail": ACT,
    "wait": May(acts=True, waits=True),
    "status": _look("status"),
    "list": _look("list"),
    "why": _look("why"),
    "hosts": _look("hosts"),
    "ping": May(answer="pong"),
    "startups": May(looks=True, autostart=Autostart.IF_THERE_IS_A_JOURNAL, answer="startups"),
    "events": May(looks=True, holds=True, autostart=Autostart.NEVER, answer="events"),
    "reset": ACT,
    "stop": May(autostart=Autostart.NEVER),
}
"""The tag of each request → what it may do. Messages and verbs take it from here."""


# --- the conversation ----------------------------------------------------------------


class Send:
    """Send the request with ``changes`` applied to its fields.

    The link must be there by ``reach_by``; that includes starting a coordinator. The reply
    is overdue ``reply_within_s`` after the request was sent, and at ``over_by`` at the
    latest. If there is a ``notice``, tell the user first."""

    def __init__(
        self, changes: "dict[str, Any]", reply_within_s: float, reach_by: float, over_by: float
    ) -> None:
        self.changes = changes
        self.reply_within_s = reply_within_s
        self.reach_by = reach_by
        self.over_by = over_by
        self.notice: Notice | None = None

    def reply_by(self, sent: float) -> float:
        return min(sent + self.reply_within_s, self.over_by)


class Pause:
    """There is no coordinator for now, or no news: call ``resume`` in ``delay_s`` seconds. If
    there is a ``notice``, tell the user first."""

    def __init__(self, delay_s: float, notice: "Notice | None") -> None:
        self.delay_s = delay_s
        self.notice = notice


class Done:
    def __init__(self, reply: "Any") -> None:
        self.reply = reply


class Notice:
    """What to tell a user who waits: lines for stdout (``out``) and stderr (``err``), and
    the coordinator's last ``reply`` (None if there was none)."""

    def __init__(self, reply: "Any", out: "Any", err: "Any") -> None:
        self.reply = reply
        self.out = out
        self.err = err


class Conversation:
    """One request, repeated with the same id until its final reply or its deadline.

    *verb* is the request's tag on the wire. *address* is the coordinator's, for messages.
    ``timeout_s`` bounds a request that waits; others have REQUEST_PATIENCE_S instead. Only
    ``away`` decides which errors end the request earlier.
    """

    def __init__(self, verb: str, request: "Any", may: "May", address: str) -> None:
        self._verb = verb
        self._request = request
        self._may = may
        self._answer = REQUESTS[verb].answer
        self._address = address
        self.epoch: str = request.epoch
        """The epoch under which this wait goes on; "" until the coordinator knows of it."""
        self._changes: dict[str, Any] = {}
        self._began = 0.0
        self._deadline = FOREVER
        self._patient = False
        self._noticed = -FOREVER
        self._bad: set[str] = set()
        self._last: Any = None
        self._away_since = FOREVER
        self._reason: UnitsyncError | None = None
        """The last error that says why the coordinator is away."""
        self._losses = 0
        self._overdue = 0
        self._pauses = 0
        """Losses and pauses are counted since the last reply, overdue replies since the last
        loss."""
        self._unheard = 0
        """How many replies said that nothing was heard of the unit."""
        self._stale = 0
        """How many replies to earlier copies of the request may still arrive."""

    @property
    def told(self) -> bool:
        """Whether the coordinator knows of this wait. The wait then goes on under the epoch
        in which it began, even with a coordinator that comes back."""
        return bool(self.epoch) and self._may.waits

    def begin(self, now: float, timeout_s: float = FOREVER) -> "Send":
        """The first step."""
        self._began = now
        self._deadline = now + (timeout_s if self._may.waits else REQUEST_PATIENCE_S)
        return self._ask(now)

    def resume(self, now: float) -> "Send":
        """The step that sends the request again, after a Pause."""
        return self._ask(now)

    def received(self, kind: str, reply: "Any", now: float) -> "Step":
        """The next step after the coordinator's *reply*, whose tag on the wire is *kind*.
        Raises ProtocolError for a reply that does not fit the request, and what ``away``
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
        if kind in ("error", self._answer):
            return self._until_heard(kind, reply, now)
        if kind == "ready" and not self._claims:
            return Done(reply)
        last = not self._may.waits or self._changes.get("last")
        if last and self._stale and kind in ("waiting", "ready"):
            self._stale -= 1
            return self._ask(now)
        if last or kind not in ("waiting", "ready"):
            from unitsync.errors import ProtocolError

            raise ProtocolError(f"the coordinator answered {self._verb!r} with {kind!r}")
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

    def lost(self, now: float, *, overdue: bool = False) -> "Step":
        """The next step when the link breaks, or when it stands but the reply is *overdue*.
        Raises what ``away`` raises."""
        if self._verb == "stop" and not overdue:
            return Done(None)  # the coordinator is gone, as requested
        from unitsync.link.absent import NotYet

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

    def away(self, problem: "UnitsyncError", now: float) -> "Pause":
        """The next step when *problem* says why there is no coordinator. Raises *problem* if
        the request does not outlast it. At the deadline raises TimedOut, or the error that
        has delayed the request until then."""
        from unitsync.link.absent import NotYet

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

    def _until_heard(self, kind: str, reply: "Any", now: float) -> "Step":
        """The next step after a final *reply*: the end, or a pause if it is about a unit on another
        host of which nothing was heard yet."""
        about = reply if kind == "status" else reply.tree if kind == "why" else None
        if about is None or about.unit.status != "unknown":
            return Done(reply)
        delay_s = HEAR_EVERY_S * 2**self._unheard
        self._unheard += 1
        over = now + delay_s > self._began + HEAR_S
        return (
            Done(reply) if over or "not heard of" not in about.unit.reason else Pause(delay_s, None)
        )

    @property
    def _claims(self) -> bool:
        """Whether the request wants to be granted what it waits for."""
        return getattr(self._request, "claim", True) is not False

    @property
    def _reports(self) -> bool:
        """Whether the request says how a run goes."""
        return self._verb in ("complete", "fail", "ready", "retry")

    def _outlasts(self, problem: "UnitsyncError") -> bool:
        """Whether the request goes on until its deadline in spite of *problem*.

        A wait that the coordinator knows of outlasts anything, and so does a report on a run
        that it granted. Any such report outlasts a journal that cannot be written: otherwise
        the record would say that the script ended without reporting how it went."""
        if self._reports and problem.code == "not_kept":
            return True
        return bool(self.epoch) and (self._may.waits or self._reports)

    def _notice_of(
        self, problem: "UnitsyncError", now: float, for_s: float = 0.0
    ) -> "Notice | None":
        """What to tell the user about a *problem* that has lasted at least *for_s* seconds."""
        from unitsync.errors import NotKept
        from unitsync.link.absent import NotYet

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
        if self._reports and self._outlasts(problem):
            of = "readiness" if self._verb == "ready" else "end"
            what = f"the {of} of {self._request.unit} is not recorded yet: {what}"
        lines = [f"unitsync: {what}"]
        if problem.hint and waits:
            lines.append(f"hint: {problem.hint}")
        if silent:
            lines = []
        if render == "coder" and self._verb == "start":
            return Notice(self._last, lines, [])
        return Notice(self._last, [], lines)

    def _expired(self, problem: "UnitsyncError") -> "UnitsyncError":
        """The error at a deadline until which *problem* has lasted."""
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

    def _ask(self, now: float) -> "Send":
        patience_s = self._request.patience_s if self._may.holds else 0.0
        left = max(0.0, self._deadline - now)
        if self._may.waits:
            patience_s = 0.0
            if self._patient:
                patience_s = min(WAITING_PATIENCE_S, left)
            self._changes["patience_s"] = patience_s
            # At most the time it was meant to wait, even if the deadline has passed.
            self._changes["waited_s"] = min(now, self._deadline) - self._began
            self._changes["last"] = left == 0
        # Even a time limit of 0 leaves a second to start a coordinator.
        reach_by = max(self._deadline, self._began + OVERTIME_S)
        over_by = self._deadline + OVERTIME_S
        return Send(self._changes, patience_s + REPLY_SLACK_S, reach_by, over_by)

    def _is_bad_news(self, reply: "Any") -> bool:
        """Whether a prerequisite has failed, or its script has ended, since the user was last
        told. That matters only with ``on_skip`` ``wait`` and ``on_owner_exit`` ``warn``: in
        all other cases the wait ends then."""
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
    """For a start that ended with *why*: the reason to give when it is taken back, and how
    many seconds to wait for an answer to that."""
    from unitsync.errors import UnitsyncError

    if isinstance(why, UnitsyncError):
        return "its start got no answer in time", LEAVE_PATIENCE_S
    interrupted = isinstance(why, KeyboardInterrupt | SystemExit)
    return "interrupted" if interrupted else "cancelled", WITHDRAW_PATIENCE_S


def _as_told(problem: "UnitsyncError") -> "UnitsyncError":
    """*problem* as the public class of errors.py."""
    from unitsync.errors import from_code

    return from_code(problem.code, problem.message, problem.hint, problem.details)
