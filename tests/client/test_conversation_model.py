"""Whole conversations at random against a small model: whatever comes in whatever order,
a request goes on until its deadline or ends for a reason that ends it, and says so."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from support.requests import Requests
from support.talk import Talk
from unitsync import errors, wire
from unitsync.link import conversation
from unitsync.link.absent import Absent, NotYet
from unitsync.link.conversation import Done, Pause, Send

BEGAN = 100.0
requests = Requests(wire.Owner(pid=7), render=wire.Render.TEXT)
BUILD = {
    "start": lambda: requests.start("ide"),
    "without a claim": lambda: requests.ready_to_start("ide"),
    "wait": lambda: requests.wait("ide"),
    "retry": lambda: requests.retry("ide"),
    "ready of a run": lambda: replace(requests.ready("ide"), epoch="e0"),
    "end of a run": lambda: replace(requests.complete("ide"), epoch="e0"),
    "complete": lambda: requests.complete("ide"),
    "status": lambda: requests.status("ide"),
}
WAITS = ("start", "without a claim", "wait")
ANSWERS: dict[str, Any] = {
    "start": partial(wire.Granted, run=1),
    "without a claim": wire.Ready,
    "retry": partial(wire.Granted, run=2),
    "status": partial(wire.StatusReply, unit=wire.UnitInfo("ide", wire.Status.PENDING, True)),
}
CODES = {"stopped": errors.Stopped, "not_kept": errors.NotKept}


FIRST: Any = {
    "kind": st.sampled_from(list(BUILD)),
    "timeout_s": st.sampled_from([0.0, 3.0, 40.0, 400.0, None]),
}
"""What a conversation begins with."""


class Machine(RuleBasedStateMachine):
    over = True

    @initialize(**FIRST)
    def first(self, **first: Any) -> None:
        self.begin(**first)

    @precondition(lambda self: self.over)
    @rule(**FIRST)
    def another(self, **first: Any) -> None:
        self.begin(**first)

    def begin(self, kind: str, timeout_s: float | None) -> None:
        request: Any = BUILD[kind]()
        self.kind, self.is_a_wait = kind, kind in WAITS
        self.now = BEGAN
        self.began = self.now
        if self.is_a_wait:
            self.deadline = self.began + (math.inf if timeout_s is None else timeout_s)
        else:
            self.deadline = self.now + conversation.REQUEST_PATIENCE_S
        self.id = request.id
        self.outlasts = kind in ("end of a run", "ready of a run")
        self.outlasts_not_kept = kind in ("complete", "retry")
        self.epoch, self.run = request.epoch, -1
        self.losses = self.overdue = self.stale = 0
        self.away: float | None = None
        self.noticed: float | None = None
        self.reason: Exception | None = None
        self.asked_last = False
        self.patient = False
        self.over = False
        self.talk = Talk(request)
        limit_s = math.inf if timeout_s is None else timeout_s
        self.check(lambda: self.talk.begin(self.now, limit_s), "ask", None)

    # --- what comes -----------------------------------------------------------------

    @precondition(lambda self: not self.over)
    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 29.0, 35.0]))
    def time_passes(self, seconds: float) -> None:
        """The answer takes so long, as far as that is waited for."""
        self.now = min(self.now + seconds, self.step.reply_by(self.now))

    @precondition(lambda self: not self.over and self.is_a_wait)
    @rule(ready=st.booleans(), epoch=st.sampled_from(["e1", "e2"]), run=st.integers(0, 3))
    def is_to_wait(self, ready: bool, epoch: str, run: int) -> None:
        if self.asked_last and not self.stale:
            return  # no coordinator says so
        ready = ready and self.kind != "without a claim"  # which is its answer
        kind = wire.Ready if ready else wire.Waiting
        reply = kind(id=self.id, epoch=epoch, run=run)
        self.replied()
        notice = None
        if self.asked_last:
            self.stale -= 1
        else:
            self.epoch = self.epoch or epoch
            self.run = run if self.run < 0 else self.run
            self.outlasts = True
            self.patient = not ready
            notice = None if ready or not self.is_news() else "waits"
        self.check(lambda: self.talk.hears(reply, self.now), "ask", notice)

    @precondition(lambda self: not self.over)
    @rule(code=st.sampled_from(["", "skipped", *CODES]))
    def is_answered(self, code: str) -> None:
        reply: Any = ANSWERS.get(self.kind, wire.Ok)(id=self.id)
        if code:
            reply = wire.Error(id=self.id, code=code, message=code)
        self.losses = 0
        expected: Any = ("done", None)
        if code in CODES and (self.outlasts or (code == "not_kept" and self.outlasts_not_kept)):
            expected = self.kept_from_it(CODES[code](code))
        else:
            self.replied()
        self.check(lambda: self.talk.hears(reply, self.now), *expected)

    @precondition(lambda self: not self.over)
    @rule()
    def the_link_is_lost(self) -> None:
        self.losses += 1
        self.overdue = 0
        expected: Any = ("ask", None)
        if self.losses >= conversation.LOST_LINKS_MAX:
            expected = self.kept_from_it(NotYet("ends before it answers"))
        self.check(lambda: self.talk.lost(self.now), *expected)

    @precondition(lambda self: not self.over)
    @rule()
    def the_reply_is_overdue(self) -> None:
        self.now = max(self.now, self.step.reply_by(self.now))
        self.check(lambda: self.talk.lost(self.now, overdue=True), *self.late())

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from([Absent, NotYet, errors.Stopped]))
    def nobody_is_there(self, kind: type[errors.UnitsyncError]) -> None:
        away = kind(f"{kind.__name__}: nobody is there")
        self.check(lambda: self.talk.away(away, self.now), *self.kept_from_it(away))

    # --- what is to follow ----------------------------------------------------------

    def replied(self) -> None:
        self.losses = 0
        self.away = self.reason = None

    def is_news(self) -> bool:
        return (self.noticed is None or self.now - self.noticed >= 29) and self.now < self.deadline

    def notice_of(self, since: float, text: str) -> str | None:
        if self.away is None:
            self.away, self.noticed = since, None
        patience_s = 0 if self.is_a_wait else conversation.NOTICE_AFTER_S
        return text if self.now - self.away >= patience_s and self.is_news() else None

    def late(self) -> tuple[str, Any]:
        self.overdue += 1
        self.stale += 1
        text = "does not answer"
        if self.now >= self.deadline and (self.asked_last or not self.is_a_wait):
            return "expires", self.reason or text
        if not (self.is_a_wait or self.outlasts) and self.overdue >= conversation.OVERDUE_MAX:
            return "expires", self.reason or text
        return "ask", self.notice_of(self.now - conversation.REPLY_SLACK_S, text)

    def kept_from_it(self, problem: Exception) -> tuple[str, Any]:
        if not isinstance(problem, NotYet):
            not_kept = isinstance(problem, errors.NotKept) and self.outlasts_not_kept
            if not self.outlasts and not not_kept:
                return "raises", problem
            self.reason = problem
        if self.now >= self.deadline:
            return "expires", self.reason or str(problem)
        return "pause", self.notice_of(self.now, str(problem))

    def check(self, act: Any, what: str, more: Any) -> None:
        """That *act* does *what*, and says or raises *more*."""
        step: Any = None
        raised: Any = None
        try:
            step = act()
        except errors.UnitsyncError as problem:
            raised = problem
        if what == "raises":
            self.over = True
            known = errors.Stopped if isinstance(more, errors.Stopped) else errors.Unreachable
            assert (type(raised), str(raised)) == (known, str(more))
            return
        if what == "expires":
            self.over = True
            assert isinstance(raised, errors.TimedOut) is self.is_a_wait
            assert str(more) in str(raised)
            return
        assert raised is None
        if what == "done":
            self.over = True
            assert isinstance(step, Done)
            return
        assert isinstance(step, Pause if what == "pause" else Send), (what, step)
        if more is None:
            assert step.notice is None
        else:
            self.noticed = self.now
            assert step.notice is not None
            assert more == "waits" or more in step.notice.err[0]
        if isinstance(step, Pause):
            assert 0 < step.delay_s <= min(conversation.AGAIN_S, self.deadline - self.now)
            self.now += step.delay_s
            step = self.talk.resume(self.now)
        self.step = step
        self.check_request(self.talk.sent(step))

    def check_request(self, request: Any) -> None:
        assert (request.id, request.epoch) == (self.id, self.epoch)
        assert self.step.over_by == self.deadline + conversation.OVERTIME_S
        assert self.step.reach_by <= self.step.over_by
        assert self.step.reach_by == max(self.deadline, self.began + conversation.OVERTIME_S)
        if self.is_a_wait:
            left = max(0.0, self.deadline - self.now)
            assert request.last is (left == 0)
            assert request.patience_s == (min(30.0, left) if self.patient else 0)
            assert request.waited_s == min(self.now, self.deadline) - self.began
            self.asked_last = request.last
        if isinstance(request, wire.Start):
            assert request.since_run == self.run


Machine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestConversations = Machine.TestCase
