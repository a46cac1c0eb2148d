"""Where traces go, what of that is shown, and what is remembered of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unitsync.link.collector import endpoint, hiding, shown
from unitsync.trace.taken import Taken

URL = "http://me:s3%20cret@host:4318/v1/traces?token=t0ken"


@pytest.mark.parametrize(
    ("url", "variables", "found"),
    [
        ("http://h", {}, "http://h/v1/traces"),
        ("http://h/", {}, "http://h/v1/traces"),
        ("http://h/x", {"UNITSYNC_OTLP": "http://other"}, "http://h/x"),
        (None, {"UNITSYNC_OTLP": "https://h"}, "https://h/v1/traces"),
        (None, {"UNITSYNC_OTLP": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h/x/"}, ""),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h/x"}, "http://h/x"),
    ],
)
def test_endpoints(url: str | None, variables: dict[str, str], found: str) -> None:
    assert endpoint(url, variables) == (found or "http://h/x/v1/traces")


def test_what_may_be_secret_is_not_shown() -> None:
    assert shown(URL) == "http://host:4318/v1/traces"
    assert shown("me:s3cret@host") == "host"
    assert shown("http://me:se/cr@et@host/path") == "http://host/path"
    assert shown("host:4318") == "host:4318"
    assert shown("http://me:s3?cret@host/path") == "http://..."
    assert shown("http://host/path?mail=me@t0ken") == "http://..."
    assert shown("me:s3?cret@host") == "..."
    said = hiding(URL, "Max retries with url: /v1/traces?token=t0ken, me:s3%20cret, s3 cret")
    assert said == "Max retries with url: /v1/traces?…, me:…, …"
    assert hiding("http://host", "host is away") == "host is away"


def opened(folder: Path, url: str = URL) -> Taken:
    return Taken(str(folder), url, on_wait=lambda: pytest.fail("nobody has it"))


def test_what_was_taken_is_known_to_the_next_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert (first.epoch, first.spans, first.before("long-epoch")) == ("", None, 0)
    first.keep("long-epoch", 512)
    other = opened(tmp_path, "http://elsewhere")
    assert other.epoch == ""
    first.close()
    second = opened(tmp_path, URL.replace("s3%20cret", "another"))
    assert (second.before("long-epoch"), second.before("other")) == (512, 0)
    second.keep("e", None)
    second.close()
    third = opened(tmp_path)
    assert (third.epoch, third.spans, third.before("e")) == ("e", None, 0)
    for each in (third, other):
        each.close()


@pytest.mark.parametrize("url", [URL.replace("t0ken", "x"), URL.replace("me:", "you:")])
def test_collectors_that_differ_in_user_or_query_are_two(tmp_path: Path, url: str) -> None:
    first = opened(tmp_path)
    first.keep("e", None)
    other = opened(tmp_path, url)
    assert other.epoch == ""
    for each in (first, other):
        each.close()


def test_a_file_that_makes_no_sense_counts_for_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (kept,) = tmp_path.iterdir()
    for text in ("", "e", "e x", "e -1", "e all more", "\xff" * 300):
        kept.write_text(text)
        taken = opened(tmp_path)
        assert (taken.epoch, taken.spans) == ("", None)
        taken.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    taken = opened(tmp_path)
    taken.keep("e", 5)
    assert taken.before("e") == 5
    assert list(tmp_path.iterdir()) == []
