"""Values as text, read back by the official client's parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metrics.scraping import values
from unitsyncd.metrics.text import Family, Histogram, Sample, by_label, one, render


def test_as_it_is_written() -> None:
    seconds = Histogram((0.5, 1))
    for value in (0.25, 1):
        seconds.observe(value)
    seconds.observe(2, times=3)
    families = [
        Family("units", "gauge", "Units.", by_label("state", {"failed": 2, "pending": 0})),
        Family("run_seconds", "histogram", "Runs.", seconds.samples()),
    ]
    assert render(families).splitlines() == [
        "# HELP units Units.",
        "# TYPE units gauge",
        'units{state="failed"} 2',
        'units{state="pending"} 0',
        "# HELP run_seconds Runs.",
        "# TYPE run_seconds histogram",
        'run_seconds_bucket{le="0.5"} 1',
        'run_seconds_bucket{le="1"} 2',
        'run_seconds_bucket{le="+Inf"} 5',
        "run_seconds_sum 7.25",
        "run_seconds_count 5",
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_label_comes_back(label: str) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = render([Family("u", "gauge", "Units.", [Sample(1, (("unit", label),))])])
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"unit": label}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_comes_back(number: float) -> None:
    assert values(render([Family("u", "gauge", "Units.", one(number))])) == {"u": number}
