"""What another host may write into the log, and what is read."""

from __future__ import annotations

import msgspec
import pytest

from unitsync.output import json_output
from unitsync.text.printing import TIME_MAX
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import COMMAND_MAX, REASON_MAX, Claim, Report

FAILED, UNKNOWN = Condition.FAILED, Condition.UNKNOWN


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report(3, "epoch", FAILED, 2, 5.0, "exit status 1", 811, "./data.sh", ["a@h1"], 1.0)
    assert messages.decode_report(messages.encode(report)) == report


@pytest.mark.parametrize(
    "report",
    [
        Report(3, "epoch", UNKNOWN, 2),
        Report(3, "epoch", Condition.SEVERAL_MMM, 2),
        Report(3, "epoch", FAILED, 2, since=float("nan")),
        Report(3, "epoch", FAILED, 2, since=1e300),
        Report(3, "epoch", FAILED, 2, since=-1.0),
        Report(3, "epoch", FAILED, 2, registered=float("inf")),
        Report(3, "epoch", FAILED, 2, began=float("nan")),
    ],
)
def test_what_no_unit_of_one_host_can_say_is_unknown(report: Report) -> None:
    assert messages.decode_report(messages.encode(report)) == Report(3, "epoch", UNKNOWN)


def test_each_time_can_be_shown() -> None:
    assert str(json_output.iso(TIME_MAX)).startswith("5138-")


def test_what_is_too_long_is_cut() -> None:
    """It is kept by each host that needs the unit."""
    report = Report(3, "epoch", FAILED, reason="r" * 9999, command="c" * 9999)
    read = messages.decode_report(messages.encode(report))
    assert (len(read.reason), len(read.command)) == (REASON_MAX, COMMAND_MAX)


def test_an_id_has_a_length() -> None:
    with pytest.raises(msgspec.DecodeError):
        messages.decode_report(messages.encode(Report(3, "e" * 9999, FAILED)))
    with pytest.raises(msgspec.DecodeError):
        messages.decode_claim(messages.encode(Claim("journal", "e" * 9999)))
