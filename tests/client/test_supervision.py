"""What becomes of a command: time limits, readiness, retries and stops, without any process."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.process.supervision import (
    BACKOFF_MAX_S,
    END,
    FOREVER,
    KILL,
    LOOK,
    READY,
    RETRY,
    SPAWN,
    TERMINATE,
    TIMED_OUT,
    Order,
    Supervision,
)


def begun(**rules: Any) -> Supervision:
    life = Supervision(**rules)
    assert life.begin(0.0) == (Order(SPAWN),)
    return life


@pytest.mark.parametrize("other", [Order(KILL), Order(END, "x"), Order(END, "", 1), "end"])
def test_orders_are_equal_if_all_of_them_is(other: object) -> None:
    assert Order(END) == Order(END)
    assert Order(END) != other
    assert Order(RETRY, "", 1, 2) != Order(RETRY, "", 1, 3)


def test_a_command_that_succeeds_completes_its_unit() -> None:
    life = begun(retries=1)
    assert life.deadline == FOREVER
    assert life.exited(0, "", 5.0) == (Order(END),)
    assert life.over


def test_a_command_that_fails_gives_its_reason_and_status() -> None:
    assert begun().exited(7, "exit status 7", 5.0) == (Order(END, "exit status 7", 7),)


def test_a_command_that_takes_too_long_is_asked_to_end_and_then_killed() -> None:
    life = begun(timeout_s=60, grace_s=10)
    assert life.deadline == 60
    assert life.tick(59.9) == ()
    assert life.tick(60) == (Order(TERMINATE),)
    assert life.deadline == 70
    assert life.tick(70) == (Order(KILL),)
    assert life.deadline == FOREVER  # the kernel may take its time
    ended = life.exited(137, "killed by SIGKILL", 70.1)
    assert ended == (Order(KILL), Order(END, "timed out after 1 min", TIMED_OUT))


def test_the_rest_of_its_group_has_until_the_end_of_the_grace() -> None:
    life = begun(timeout_s=60, grace_s=10)
    life.tick(60)
    assert life.exited(143, "killed by SIGTERM", 61) == (Order(LOOK),)
    assert life.running
    assert life.tick(life.deadline) == (Order(LOOK),)
    assert life.tick(69.99) == (Order(LOOK),)
    assert life.deadline == 70
    assert life.group_ended(70) == (Order(END, "timed out after 1 min", TIMED_OUT),)


def test_the_rest_of_its_group_is_killed_at_the_end_of_the_grace() -> None:
    life = begun(timeout_s=60, grace_s=10)
    life.tick(60)
    life.exited(143, "killed by SIGTERM", 61)
    assert life.tick(70) == (Order(KILL), Order(END, "timed out after 1 min", TIMED_OUT))


def test_what_a_command_leaves_behind_that_nobody_asked_to_end_is_left_alone() -> None:
    assert begun(timeout_s=60).exited(0, "", 1) == (Order(END),)


def test_a_command_that_becomes_ready_has_no_time_limit_any_more() -> None:
    life = begun(timeout_s=60, probed=True)
    assert life.launching
    assert life.ready() == (Order(READY),)
    assert (life.launching, life.deadline) == (False, FOREVER)
    assert life.ready() == ()
    assert life.exited(0, "", 500) == (Order(END),)


def test_the_reason_of_a_command_that_does_not_become_ready_is_the_last_probe() -> None:
    life = begun(timeout_s=60, grace_s=1, probed=True)
    life.not_ready("connection refused")
    assert life.tick(60) == (Order(TERMINATE),)
    assert life.ready() == ()  # too late
    life.exited(0, "", 60.5)
    text = "not ready after 1 min: connection refused"
    assert life.group_ended(60.6) == (Order(END, text, TIMED_OUT),)


def test_a_command_that_ends_before_it_is_ready_has_failed() -> None:
    ended = begun(probed=True).exited(0, "", 1)
    assert ended == (Order(END, "ended before it was ready", 1),)


def test_a_command_that_cannot_be_run_is_not_tried_again() -> None:
    ended = begun(retries=3).cannot_run(127, "no such program")
    assert ended == (Order(END, "no such program", 127),)


def test_retries_come_after_pauses_that_double_up_to_a_limit() -> None:
    life = begun(retries=10, backoff_s=100)
    now, pauses = 0.0, []
    while (order := life.exited(1, "exit status 1", now)[0]).kind == RETRY and len(pauses) < 20:
        assert order.reason == "exit status 1"
        pauses.append(life.deadline - now)
        assert order.delay_s == pauses[-1]
        now = life.deadline
        assert life.tick(now) == (Order(SPAWN),)
    assert pauses == [100, 200, *[BACKOFF_MAX_S] * 8]
    assert order == Order(END, "exit status 1", 1)


def test_a_timeout_is_tried_again_with_the_whole_time() -> None:
    life = begun(retries=1, backoff_s=1, timeout_s=60, grace_s=0)
    life.tick(60)
    life.exited(143, "killed by SIGTERM", 60)
    assert life.deadline == 61
    life.tick(61)
    assert life.deadline == 121
    assert life.exited(0, "", 90) == (Order(END),)


@pytest.mark.parametrize(
    ("runs_again", "ends"),
    [
        (False, Order(END, "stopped between two tries", 1)),
        (True, Order(END, "killed by SIGTERM", 143)),
    ],
    ids=["between", "again"],
)
def test_a_stop_after_a_timeout_was_tried_again_is_no_timeout(
    runs_again: bool, ends: Order
) -> None:
    life = begun(retries=1, backoff_s=1, timeout_s=60, grace_s=0)
    life.tick(60)
    life.exited(143, "killed by SIGTERM", 60)
    if runs_again:
        life.tick(61)
    orders = life.stop(62)
    if runs_again:
        orders = life.exited(143, "killed by SIGTERM", 62)
    assert orders[-1] == ends


def test_what_the_probe_of_one_try_said_is_not_the_reason_of_the_next() -> None:
    life = begun(retries=1, backoff_s=1, timeout_s=60, grace_s=0, probed=True)
    life.not_ready("connection refused")
    for now in (60.0, 121.0):
        life.tick(now)
        orders = life.exited(143, "killed by SIGTERM", now)
        life.tick(now + 1)
    assert orders[-1] == Order(END, "not ready after 1 min", TIMED_OUT)


def test_each_try_has_to_become_ready_anew() -> None:
    life = begun(retries=1, backoff_s=1, probed=True)
    life.ready()
    life.exited(1, "exit status 1", 10)
    life.tick(11)
    assert life.launching
    assert life.ready() == (Order(READY),)


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        (None, Order(END, "killed by SIGTERM", 143)),
        ("", Order(END)),
        ("stopped", Order(END, "stopped", 1)),
    ],
)
def test_a_stop_ends_it_without_a_retry(reason: str | None, ends: Order) -> None:
    life = begun(retries=3)
    assert life.stop(1, reason) == (Order(TERMINATE),)
    assert life.stop(2, reason) == ()
    life.exited(143, "killed by SIGTERM", 3)
    assert life.group_ended(3) == (ends,)


def test_of_two_stops_the_reason_of_the_latest_counts() -> None:
    life = begun()
    life.stop(1, "stopped")
    life.stop(2, "interrupted")
    life.exited(143, "killed by SIGTERM", 3)
    assert life.group_ended(3) == (Order(END, "interrupted", 1),)


def test_one_that_ends_well_when_asked_need_not_have_been_ready() -> None:
    life = begun(probed=True)
    life.stop(1)
    life.exited(0, "", 2)
    assert life.group_ended(2) == (Order(END),)


def test_what_somebody_else_has_asked_to_end_is_not_tried_again() -> None:
    life = begun(retries=3)
    life.no_more_retries()
    assert life.exited(9, "exit status 9", 1) == (Order(END, "exit status 9", 9),)


def test_a_stop_between_two_tries_ends_it_at_once() -> None:
    life = begun(retries=3)
    life.exited(1, "exit status 1", 1)
    assert life.stop(1.1, "interrupted") == (Order(END, "interrupted", 1),)


def test_a_second_stop_kills() -> None:
    life = begun(grace_s=10)
    assert life.kill() == ()  # nobody has asked it to end
    life.stop(1)
    assert life.kill() == (Order(KILL),)
    assert life.deadline == FOREVER
    ended = life.exited(137, "killed by SIGKILL", 1.1)
    assert ended == (Order(KILL), Order(END, "killed by SIGKILL", 137))


def test_a_second_stop_kills_the_rest_of_its_group_too() -> None:
    life = begun(grace_s=10)
    life.stop(1)
    life.exited(143, "killed by SIGTERM", 2)
    assert life.kill() == (Order(KILL),)
    assert life.deadline < 2
    assert life.tick(2)[-1] == Order(END, "killed by SIGTERM", 143)


def test_nothing_follows_once_it_is_over() -> None:
    life = begun(timeout_s=60)
    life.exited(0, "", 1)
    assert life.deadline == FOREVER
    assert life.stop(2) == life.kill() == life.ready() == life.tick(FOREVER) == ()


EVENTS = st.sampled_from(["exit 0", "exit 1", "tick", "ready", "stop", "kill", "group ended"])


@given(st.lists(EVENTS, max_size=60), st.integers(0, 3), st.booleans())
def test_whatever_happens_there_is_one_end_and_no_two_commands_at_a_time(
    events: list[str], retries: int, probed: bool
) -> None:
    life = Supervision(retries=retries, backoff_s=1, timeout_s=60, grace_s=5, probed=probed)
    alive, ends, spawned, now, asked = False, 0, 0, 0.0, False
    orders = list(life.begin(now))
    for event in [*events, *["exit 1", "group ended", "tick"] * 8]:
        for order in orders:
            assert not ends, "nothing may follow the end"
            if order.kind == SPAWN:
                assert not alive
                assert not asked
                alive, spawned = True, spawned + 1
            ends += order.kind == END
            assert not (alive and order.kind in (END, RETRY, LOOK))
        now += 1
        if event == "tick":
            now = max(now, life.deadline) if life.deadline < FOREVER else now
            orders = list(life.tick(now))
        elif event.startswith("exit"):
            status, orders = int(event[-1]), []
            if alive:
                alive = False
                orders = list(life.exited(status, f"exit status {status}" if status else "", now))
        elif event == "ready":
            orders = list(life.ready())
        elif event == "stop":
            asked = True
            orders = list(life.stop(now))
        elif event == "kill":
            orders = list(life.kill())
        else:
            orders = list(life.group_ended(now)) if not alive else []
    ends += sum(order.kind == END for order in orders)
    assert ends == 1
    assert spawned <= retries + 1
