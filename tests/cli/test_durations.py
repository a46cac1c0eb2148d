"""Durations as ``--timeout`` and UNITSYNC_TIMEOUT take them."""

from __future__ import annotations

import math
import os

import pytest

from unitsync.errors import UsageError
from unitsync.verb import commandline


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h0m30s", 3630.0),
        ("500ms", 0.5),
        ("1m500ms", 60.5),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("1\u03bcs", 1e-6),
        ("1ns", 1e-9),
        (" 5M ", 300.0),
        ("none", math.inf),
        ("NONE", math.inf),
    ],
)
def test_read(text: str, seconds: float) -> None:
    assert commandline.parse_duration(text, "--timeout") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "-5m",
        "5 m",
        "5x",
        "m",
        "1h-30m",
        "5m3",
        "inf",
        "nan",
        "1e3",
        "٣s",
        "1..5",
        "1.2.3s",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        commandline.parse_duration(text, "UNITSYNC_TIMEOUT")
    assert caught.value.message == f"UNITSYNC_TIMEOUT: {text!a} is not a duration"
    assert "1h30m" in caught.value.hint


def test_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNITSYNC_CODER_SHIM", raising=False)
    monkeypatch.delenv("UNITSYNC_TIMEOUT", raising=False)
    assert commandline.timeout_s(None, os.environ) == 300
    assert commandline.timeout_s("10s", os.environ) == 10
    monkeypatch.setenv("UNITSYNC_TIMEOUT", "2m")
    assert commandline.timeout_s(None, os.environ) == 120
    assert commandline.timeout_s("10s", os.environ) == 10
    assert commandline.timeout_s("0", os.environ) == 0
    monkeypatch.setenv("UNITSYNC_TIMEOUT", "soon")
    with pytest.raises(UsageError, match="UNITSYNC_TIMEOUT: 'soon'"):
        commandline.timeout_s(None, os.environ)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", math.inf), ("-0s", math.inf), ("-5m", math.inf), ("+5m", 300.0), (" 5m", 300.0)],
)
def test_through_the_shim_it_has_a_sign_and_zero_is_no_limit(text: str, seconds: float) -> None:
    assert commandline.timeout_s(text, {"UNITSYNC_CODER_SHIM": "1"}) == seconds
