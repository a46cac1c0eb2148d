"""What the tests have survived, for the summary at the end of the run.

Counts travel with the report of the test that made them: with ``pytest -n`` that is the
only way from the process that ran it to the one that shows the summary.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest

_CRASHES: Final = "crashes of the coordinator"
_SOAK: Final = "soak"


@pytest.fixture
def survived(request: pytest.FixtureRequest) -> dict[str, int]:
    """Counts crashes of the coordinator by where they struck."""
    return _counts(request, _CRASHES)


@pytest.fixture
def soaked(request: pytest.FixtureRequest) -> dict[str, int]:
    """Counts what a soak has survived, by what it is."""
    return _counts(request, _SOAK)


def _counts(request: pytest.FixtureRequest, title: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    request.node.user_properties.append((title, counts))
    return counts


def pytest_terminal_summary(terminalreporter: Any) -> None:
    totals: dict[str, Counter[str]] = {_CRASHES: Counter(), _SOAK: Counter()}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for title, counts in report.user_properties:
                    if title in totals:
                        totals[title].update(counts)
    crashes, soak = totals[_CRASHES], totals[_SOAK]
    if crashes:
        each = ", ".join(f"{number:,} at {point!r}" for point, number in sorted(crashes.items()))
        terminalreporter.write_line(f"survived {crashes.total():,} {_CRASHES}: {each}")
    if soak:
        each = ", ".join(f"{number:,} {what}" for what, number in soak.items())
        terminalreporter.write_line(f"survived in the soak: {each}")
