"""What a coordinator is told about its metrics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync.errors import UsageError
from unitsyncd.metrics.settings import (
    MetricsSettings,
    count_begin,
    forget_metrics,
    kept_metrics,
    metrics_settings,
)


def settings(environment: dict[str, str], **given: Any) -> MetricsSettings | None:
    nothing = dict.fromkeys(("metrics", "metrics_per_unit"))
    return metrics_settings(SimpleNamespace(**{**nothing, **given}), environment)


def test_none() -> None:
    assert settings({}) is None
    assert settings({"UNITSYNC_METRICS_PER_UNIT": "3"}) is None


def test_addresses() -> None:
    assert settings({}, metrics="127.0.0.1:9711") == MetricsSettings(
        "127.0.0.1:9711", host="127.0.0.1", port=9711
    )
    assert settings({}, metrics="localhost:80") == MetricsSettings(
        "localhost:80", host="127.0.0.1", port=80
    )
    assert settings({}, metrics="[::1]:80") == MetricsSettings("[::1]:80", host="::1", port=80)
    assert settings({"UNITSYNC_METRICS": "unix:/run/m"}) == MetricsSettings(
        "unix:/run/m", path="/run/m"
    )


def test_options_come_first() -> None:
    variables = {"UNITSYNC_METRICS": "unix:/a", "UNITSYNC_METRICS_PER_UNIT": "3"}
    assert settings(variables) == MetricsSettings("unix:/a", path="/a", per_unit=3)
    found = settings(variables, metrics="unix:/b", metrics_per_unit="0")
    assert found == MetricsSettings("unix:/b", path="/b")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("9711", "neither HOST:PORT nor unix:PATH"),
        (":9711", "neither HOST:PORT nor unix:PATH"),
        ("localhost", "neither HOST:PORT nor unix:PATH"),
        ("localhost:0", "neither HOST:PORT nor unix:PATH"),
        ("localhost:65536", "neither HOST:PORT nor unix:PATH"),
        ("localhost:٣", "neither HOST:PORT nor unix:PATH"),
        ("0.0.0.0:9711", "only this machine"),
        ("[::]:9711", "only this machine"),
        ("192.0.2.1:9711", "only this machine"),
        ("localhost.example.org:9711", "only this machine"),
        ("unix:metrics.sock", "not the absolute path"),
        ("unix:", "not the absolute path"),
        (f"unix:/{'m' * 107}", "not the absolute path"),
    ],
)
def test_wrong_addresses(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        settings({"UNITSYNC_METRICS": address})
    assert "127.0.0.1:9711" in caught.value.hint


@pytest.mark.parametrize("many", ["-1", "many", "10001", "9" * 5000])
def test_wrong_numbers(many: str) -> None:
    with pytest.raises(UsageError, match="0 to 10,000 units"):
        settings({}, metrics="localhost:1", metrics_per_unit=many)


def test_units_without_an_address() -> None:
    with pytest.raises(UsageError, match="need an address"):
        settings({}, metrics_per_unit="3")


def test_what_is_kept(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert kept_metrics(folder) is None
    shown = MetricsSettings("unix:/a", path="/a", per_unit=3)
    assert [count_begin(folder, shown, "j1") for _ in range(3)] == [1, 2, 3]
    assert kept_metrics(folder) == shown
    assert count_begin(folder, shown, "j2") == 1  # another journal
    forget_metrics(folder)
    assert kept_metrics(folder) is None


@pytest.mark.parametrize("line", range(5))
def test_a_file_that_makes_no_sense_counts_for_nothing(tmp_path: Path, line: int) -> None:
    folder = str(tmp_path)
    shown = MetricsSettings("unix:/a", path="/a")
    count_begin(folder, shown, "j")
    lines = (tmp_path / "metrics").read_text().splitlines()
    lines[line] = "?\n?"
    (tmp_path / "metrics").write_text("\n".join(lines))
    assert kept_metrics(folder) is None
    assert count_begin(folder, shown, "j") == 1
