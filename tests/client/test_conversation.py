"""The conversation, without sockets and clocks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from support.requests import Requests
from support.talk import ADDRESS, Talk, answer, begun
from unitsync import errors, wire
from unitsync.link import conversation
from unitsync.link.absent import Absent, NotYet
from unitsync.link.by_hand import Plain
from unitsync.link.conversation import Pause, Send

requests = Requests(wire.Owner(pid=7), startup="boot")


def waiting(talk: Talk, run: int = 3, epoch: str = "e1") -> wire.Waiting:
    return wire.Waiting(id=talk.request.id, run=run, epoch=epoch)


class TestWaiting:
    def test_first_request_is_answered_at_once(self) -> None:
        talk = Talk(requests.start("ide", after=["clone"]))
        step = talk.begin(100.0, 60.0)
        request = talk.sent(step)
        assert (request.patience_s, request.since_run, request.epoch) == (0, -1, "")
        assert (request.unit, request.after, request.startup) == ("ide", ["clone"], "boot")
        assert not request.last
        assert isinstance(step, Send)
        assert step.reply_within_s == conversation.REPLY_SLACK_S

    def test_ready_is_the_answer_to_what_does_not_claim(self) -> None:
        talk = begun(requests.ready_to_start("ide"))
        talk.hears(waiting(talk), 100.0)
        ready = wire.Ready(id=talk.request.id, epoch="e1")
        assert answer(talk.hears(ready, 101.0)) == ready

    def test_what_says_nothing_of_a_claim_claims(self) -> None:
        """As the command line, which leaves out what has a default."""
        fields = {"verb": "start", "id": "1", "unit": "ide", "epoch": ""}
        talk = conversation.Conversation("start", Plain(fields), wire.Start.may, "ipc:///x")
        talk.begin(100.0)
        step = talk.received("ready", wire.Ready(id="1", epoch="e1"), 101.0)
        assert isinstance(step, Send)
        assert step.changes["patience_s"] == 0

    def test_waiting_repeats_the_same_request_with_patience(self) -> None:
        talk = begun(requests.start("ide"))
        reply = waiting(talk)
        step = talk.hears(reply, 100.0)
        request = talk.sent(step)
        assert (request.id, request.patience_s) == (talk.request.id, 30.0)
        assert (request.since_run, request.epoch) == (3, "e1")
        assert isinstance(step, Send)
        assert step.notice is not None
        assert step.notice.reply == reply
        assert step.reply_within_s == 30.0 + conversation.REPLY_SLACK_S

    def test_a_late_reply_to_an_earlier_request_is_no_reply_to_the_last(self) -> None:
        """It is asked again on the connection on which the reply is overdue."""
        talk = begun(requests.start("ide"), 10.0)
        talk.lost(105.0, overdue=True)
        assert talk.sent(talk.hears(waiting(talk), 110.0)).last
        assert talk.sent(talk.hears(waiting(talk), 110.0)).last
        with pytest.raises(errors.ProtocolError):
            talk.hears(waiting(talk), 110.0)

    def test_run_and_epoch_are_those_of_the_first_reply(self) -> None:
        talk = begun(requests.start("ide"))
        talk.hears(waiting(talk, run=3, epoch="e1"), 100.0)
        request = talk.sent(talk.hears(waiting(talk, run=9, epoch="e2"), 130.0))
        assert (request.since_run, request.epoch) == (3, "e1")

    def test_ready_is_claimed_at_once(self) -> None:
        talk = begun(requests.start("ide"))
        talk.hears(waiting(talk), 100.0)
        step = talk.hears(wire.Ready(id=talk.request.id, run=3, epoch="e1"), 110.0)
        request = talk.sent(step)
        assert (request.id, request.patience_s, request.last) == (talk.request.id, 0, False)
        granted = wire.Granted(id=talk.request.id, run=4)
        assert answer(talk.hears(granted, 110.0)) == granted

    def test_a_claim_that_came_too_late_waits_on(self) -> None:
        talk = begun(requests.start("ide"))
        talk.hears(waiting(talk), 100.0)
        talk.hears(wire.Ready(id=talk.request.id), 110.0)
        assert talk.sent(talk.hears(waiting(talk), 110.0)).patience_s == 30.0

    def test_patience_ends_with_the_deadline_and_then_one_last_claim(self) -> None:
        talk = begun(requests.start("ide"), 40.0)
        assert talk.sent(talk.hears(waiting(talk), 100.0)).patience_s == 30.0
        assert talk.sent(talk.hears(waiting(talk), 130.0)).patience_s == 10.0
        step = talk.hears(waiting(talk), 140.0)
        request = talk.sent(step)
        assert (request.patience_s, request.last) == (0, True)
        assert isinstance(step, Send)
        assert step.notice is None

    def test_timeout_zero_asks_once(self) -> None:
        talk = Talk(requests.start("ide"))
        assert talk.sent(talk.begin(100.0, 0)).last

    def test_notice_at_once_and_then_every_30_s(self) -> None:
        talk = begun(requests.start("ide"))
        noticed = []
        for now in (100.0, 101.0, 115.0, 130.0, 130.5, 160.0):
            step = talk.hears(waiting(talk), now)
            assert isinstance(step, Send)
            if step.notice is not None:
                noticed.append(now)
        assert noticed == [100.0, 130.0, 160.0]

    @pytest.mark.parametrize(
        "news", [{"owner_gone": True}, *({"status": wire.Status(s)} for s in ("failed", "skipped"))]
    )
    def test_what_has_failed_is_news_at_once(self, news: dict[str, Any]) -> None:
        """And once; with ``warn`` and ``--on-skip wait`` everybody who waits is to say so."""
        talk = begun(requests.start("ide"))
        edge = wire.Prerequisite("clone", wire.Requirement.SUCCESS, wire.Status.STARTED, False)
        noticed = []
        for now, bad in ((100.0, False), (101.0, True), (102.0, True), (131.0, True)):
            told = replace(waiting(talk), waiting_for=[replace(edge, **news) if bad else edge])
            step = talk.hears(told, now)
            assert isinstance(step, Send)
            if step.notice is not None:
                noticed.append(now)
        assert noticed == [100.0, 101.0, 131.0]
        step = talk.hears(waiting(talk), 132.0)
        assert isinstance(step, Send)
        assert step.notice is None  # good news waits its turn

    def test_wait_is_a_long_poll_too(self) -> None:
        talk = begun(requests.wait("a", "b", any=True), 10.0)
        request = talk.sent(talk.hears(waiting(talk), 100.0))
        assert (request.units, request.any, request.patience_s) == (["a", "b"], True, 10.0)

    @pytest.mark.parametrize("reply", [wire.Waiting(id="1"), wire.Ready(id="1")])
    def test_other_requests_are_never_told_to_wait(self, reply: wire.AnyReply) -> None:
        talk = begun(requests.want("a", "b"))
        with pytest.raises(errors.ProtocolError):
            talk.hears(reply, 100.0)

    @pytest.mark.parametrize(
        "request_",
        [
            *(requests.start("ide"), requests.wait("ide"), requests.complete("ide")),
            *(requests.status("ide"), requests.list(), requests.why(), requests.ping()),
        ],
        ids=lambda request_: type(request_).__name__,
    )
    def test_only_what_was_asked_for_is_an_answer(self, request_: wire.AnyRequest) -> None:
        """A script must not go on because of anything else that has no error in it."""
        unit = wire.UnitInfo("ide", wire.Status.PENDING, True)
        answers: list[wire.AnyReply] = [
            wire.Ok(id="1"),
            wire.Granted(id="1", run=1),
            wire.StatusReply(id="1", unit=unit),
            wire.ListReply(id="1", units=[], total=0),
            wire.WhyReply(id="1"),
            wire.Pong(
                id="1", version="", protocol=1, pid=1, startup="", units=0, edges=0, since=0.0
            ),
        ]
        taken = 0
        for reply in answers:
            try:
                assert answer(begun(request_).hears(reply, 100.0)) == reply
                taken += 1
            except errors.ProtocolError:
                pass
        assert taken == 1

    def test_the_last_claim_is_answered_finally(self) -> None:
        talk = begun(requests.start("ide"), 0)
        with pytest.raises(errors.ProtocolError):
            talk.hears(waiting(talk), 100.0)


class TestLostLink:
    def test_repeats_the_same_request(self) -> None:
        talk = begun(requests.complete("ide"))
        request = talk.sent(talk.lost(101.0))
        assert (request.id, request.unit) == (talk.request.id, "ide")

    def test_a_wait_outlasts_any_number_of_them(self) -> None:
        """It was held back, so that there was nothing to reply. After some it keeps
        still for a moment each time, lest it be the cause of them."""
        talk = begun(requests.start("ide"), 60.0)
        talk.hears(waiting(talk), 100.0)
        for number in range(1, 20):
            step = talk.lost(101.0)
            if isinstance(step, Pause):
                assert number >= conversation.LOST_LINKS_MAX
                assert conversation.LOOK_EVERY_S <= step.delay_s <= conversation.AGAIN_S
                step = talk.resume(101.0)
            assert talk.sent(step).epoch == "e1"
        assert isinstance(talk.lost(159.5), Pause)
        assert talk.sent(talk.resume(160.0)).last
        with pytest.raises(errors.TimedOut, match="ends before it answers"):
            talk.lost(160.0)

    def test_resumes_a_wait_with_what_is_left_of_it(self) -> None:
        talk = begun(requests.start("ide"), 20.0)
        talk.hears(waiting(talk), 100.0)
        request = talk.sent(talk.lost(105.0))
        assert (request.patience_s, request.epoch, request.since_run) == (15.0, "e1", 3)
        assert talk.sent(talk.lost(121.0)).last

    def test_goes_on_until_the_deadline(self) -> None:
        talk = begun(requests.ping())
        for number in range(50):
            step = talk.lost(100.0 + number)
            if isinstance(step, Pause):
                step = talk.resume(100.0 + number)
            assert talk.sent(step).id == talk.request.id
        with pytest.raises(errors.Unreachable) as caught:
            talk.lost(100.0 + conversation.REQUEST_PATIENCE_S)
        assert caught.value.endpoint == ADDRESS

    def test_gives_up_sooner_on_one_that_does_not_answer(self) -> None:
        talk = begun(requests.ping())
        talk.lost(105.0, overdue=True)
        with pytest.raises(errors.Unreachable, match="does not answer"):
            talk.lost(110.0, overdue=True)

    @pytest.mark.parametrize("request_", [requests.start("ide"), requests.wait("ide")])
    def test_a_wait_beside_one_that_does_not_answer_times_out(
        self, request_: wire.AnyRequest
    ) -> None:
        """A second after its deadline, and says on the way that it is not answered."""
        talk = Talk(request_)
        first, second = talk.begin(100.0, 7.0), talk.lost(105.0, overdue=True)
        assert isinstance(first, Send)
        assert isinstance(second, Send)
        assert [first.reply_by(100.0), second.reply_by(105.0)] == [105.0, 108.0]
        assert (first.notice, second.notice is None) == (None, False)
        last = talk.lost(108.0, overdue=True)
        assert talk.sent(last).last
        assert isinstance(last, Send)
        assert last.reply_by(108.0) == 108.0
        with pytest.raises(errors.TimedOut, match="does not answer") as caught:
            talk.lost(108.0, overdue=True)
        assert "coordinator.log" in caught.value.hint

    def test_no_reply_is_waited_for_beyond_the_end(self) -> None:
        step = conversation.Send({}, 35.0, 110.0, 111.0)
        assert (step.reply_by(70.0), step.reply_by(80.0)) == (105.0, 111.0)

    def test_a_time_limit_of_what_does_not_wait_means_nothing(self) -> None:
        talk = Talk(requests.ping())
        step = talk.begin(100.0, 0.0)
        assert isinstance(step, Send)
        assert step.reply_within_s == conversation.REPLY_SLACK_S
        assert step.reach_by == 100.0 + conversation.REQUEST_PATIENCE_S
        assert isinstance(talk.lost(105.0, overdue=True), Send)

    def test_a_reply_begins_the_count_anew(self) -> None:
        talk = begun(requests.start("ide"))
        for _ in range(3 * conversation.LOST_LINKS_MAX):
            talk.lost(100.0)
            talk.hears(waiting(talk), 100.0)

    def test_the_next_coordinator_has_as_much_time_to_answer(self) -> None:
        talk = begun(requests.ping())
        talk.lost(105.0, overdue=True)
        talk.lost(106.0)
        assert isinstance(talk.lost(111.0, overdue=True), Send)

    def test_is_what_stop_asked_for(self) -> None:
        step = begun(requests.stop()).lost(100.0)
        assert answer(step) is None
        assert isinstance(begun(requests.stop()).lost(105.0, overdue=True), Send)


class TestNobodyThere:
    @pytest.mark.parametrize(
        "request_",
        [replace(requests.complete("ide"), epoch="e1"), replace(requests.fail("ide"), epoch="e1")],
    )
    def test_the_end_of_a_run_outlasts_it(self, request_: wire.AnyRequest) -> None:
        talk = begun(request_)
        assert isinstance(talk.away(Absent("no"), 100.0), Pause)
        assert talk.sent(talk.resume(101.0)).id == talk.request.id
        with pytest.raises(errors.Unreachable, match="no"):  # which says more than the last
            talk.away(NotYet("killed"), 100.0 + conversation.REQUEST_PATIENCE_S)

    @pytest.mark.parametrize(
        "request_", [requests.start("ide"), requests.wait("ide"), requests.complete("ide")]
    )
    def test_what_nobody_was_told_of_yet_ends_at_once(self, request_: wire.AnyRequest) -> None:
        with pytest.raises(errors.Unreachable, match="no"):
            begun(request_).away(Absent("no"), 100.0)

    def test_what_ends_a_run_outlasts_that_it_cannot_be_kept(self) -> None:
        full = wire.Error(id="1", code="not_kept", message="the disk is full")
        assert isinstance(begun(requests.complete("ide")).hears(full, 100.0), Pause)
        assert answer(begun(requests.want("ide")).hears(full, 100.0)) == full

    @pytest.mark.parametrize(
        ("request_", "what"),
        [
            (requests.complete("ide"), "end"),
            (requests.fail("ide"), "end"),
            (requests.retry("ide"), "end"),
            (requests.ready("ide"), "readiness"),
        ],
    )
    def test_what_is_said_of_a_report_that_is_delayed(self, request_: Any, what: str) -> None:
        full = wire.Error(id="1", code="not_kept", message="the disk is full")
        talk = begun(replace(request_, render=wire.Render.TEXT))
        assert isinstance(talk.hears(full, 100.0), Pause)
        step = talk.hears(full, 103.0)
        assert isinstance(step, Pause)
        assert step.notice is not None
        assert step.notice.err == [
            f"unitsync: the {what} of ide is not recorded yet: the disk is full; trying again"
        ]

    def test_it_is_told_at_once_and_looked_for_less_and_less_often(self) -> None:
        talk = begun(requests.start("ide"))
        talk.hears(waiting(talk), 100.0)
        pauses = [talk.away(NotYet("killed"), 101.0) for _ in range(5)]
        assert [step.delay_s for step in pauses] == [0.1, 0.2, 0.4, 0.8, 1.0]
        assert [step.notice is not None for step in pauses] == [True] + 4 * [False]

        talk.hears(waiting(talk), 105.0)
        again = talk.away(NotYet("killed"), 106.0)
        assert (again.delay_s, again.notice is not None) == (0.1, True)

    def test_it_is_looked_for_as_long_as_it_takes(self) -> None:
        talk = begun(requests.start("ide"))
        talk.hears(waiting(talk), 100.0)
        steps = [talk.away(NotYet("killed"), 101.0 + number) for number in range(2000)]
        assert steps[-1].delay_s == conversation.AGAIN_S

    @pytest.mark.parametrize("render", [wire.Render.TEXT, wire.Render.CODER])
    @pytest.mark.parametrize(
        ("kind", "problem", "err"),
        [
            (
                "start",
                NotYet("killed", hint="log"),
                ["unitsync: killed; trying again", "hint: log"],
            ),
            ("start", errors.NotKept("full"), ["unitsync: full; trying again"]),
            ("start", Absent("gone"), ["unitsync: gone; waiting for its return"]),
            ("wait", errors.Stopped("done"), ["unitsync: done; waiting for its return"]),
            ("ping", NotYet("killed", hint="log"), ["unitsync: killed; trying again"]),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_what_is_said_of_it(
        self, kind: str, problem: errors.UnitsyncError, err: list[str], render: wire.Render
    ) -> None:
        """On stdout only where a script expects the lines of Coder's start."""
        build: Any = getattr(Requests(None, render=render), kind)
        talk = begun(build() if kind == "ping" else build("ide"))
        if kind != "ping":
            talk.hears(waiting(talk), 100.0)
        error = wire.Error(id=talk.request.id, code="not_kept", message=problem.message)
        not_kept = isinstance(problem, errors.NotKept)
        steps: list[Any] = [
            talk.hears(error, now) if not_kept else talk.away(problem, now)
            for now in (101.0, 103.0)
        ]
        step = steps[1 if kind == "ping" else 0]
        coder = render is wire.Render.CODER and kind == "start"
        assert (step.notice.out, step.notice.err) == ((err, []) if coder else ([], err))

    def test_it_does_not_keep_still_beyond_the_deadline(self) -> None:
        talk = begun(requests.start("ide"), 10.0)
        step = talk.away(NotYet("killed"), 109.95)
        assert isinstance(step, Pause)
        assert step.delay_s == pytest.approx(0.05)


class TestUnheard:
    """A coordinator begins to listen for a unit on another host when it is asked about it."""

    @staticmethod
    def unknown(talk: Talk, reason: str = "not heard of yet") -> wire.StatusReply:
        unit = wire.UnitInfo("data@h1", wire.Status.UNKNOWN, False, reason=reason)
        return wire.StatusReply(id=talk.request.id, epoch="e1", unit=unit)

    def test_it_is_asked_again_until_something_was_heard(self) -> None:
        talk = begun(requests.status("data@h1"))
        pauses = [talk.hears(self.unknown(talk), 100.0 + at) for at in (0, 0.05)]
        assert [pause.delay_s for pause in pauses if isinstance(pause, Pause)] == [0.05, 0.1]
        assert talk.sent(talk.resume(100.15)) == talk.request
        unit = wire.UnitInfo("data@h1", wire.Status.COMPLETED, False)
        heard = wire.StatusReply(id=talk.request.id, epoch="e1", unit=unit)
        assert answer(talk.hears(heard, 100.2)) == heard

    def test_what_is_said_after_two_seconds_counts(self) -> None:
        talk = begun(requests.status("data@h1"))
        now, asked = 100.0, 0
        while isinstance(step := talk.hears(self.unknown(talk), now), Pause):
            now, asked = now + step.delay_s, asked + 1
        assert answer(step) == self.unknown(talk)
        assert (asked, now) == (5, pytest.approx(101.55))

    def test_without_a_link_nothing_is_heard_soon(self) -> None:
        talk = begun(requests.status("data@h1"))
        reply = self.unknown(talk, "no link to the log")
        assert answer(talk.hears(reply, 100.0)) == reply

    def test_why_does_the_same(self) -> None:
        talk = begun(requests.why("data@h1"))
        tree = wire.WhyNode(self.unknown(talk).unit)
        reply = wire.WhyReply(id=talk.request.id, epoch="e1", tree=tree)
        assert isinstance(talk.hears(reply, 100.0), Pause)
        groups = wire.WhyReply(id=talk.request.id, epoch="e1")
        assert answer(talk.hears(groups, 100.05)) == groups
