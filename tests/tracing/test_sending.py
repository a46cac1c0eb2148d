"""``unitsync trace`` and what commands are told, with a collector made of the official
definitions."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from cli.conftest import Cli, cli
from tracing.receiver import WITHOUT_EXTRA, Receiver, attributes, receiving
from unitsync.errors import UnitsyncError
from unitsync.trace import otlp
from unitsync.trace.spans import TraceSpan

__all__ = ["cli"]

SAY = 'echo "$TRACEPARENT,$TRACESTATE"'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def parent_of(text: str) -> tuple[str, str]:
    """The trace and the span that a command was told."""
    traceparent, _, tracestate = text.strip().partition(",")
    version, trace, span, flags = traceparent.split("-")
    assert (version, flags, tracestate) == ("00", "01", "")
    return trace, span


def named(spans: list[Span], name: str) -> Span:
    (span,) = [span for span in spans if span.name == name]
    return span


def test_a_startup(cli: Cli, receiver: Receiver) -> None:
    outer = {"TRACEPARENT": f"00-{'1' * 32}-{'2' * 16}-00", "TRACESTATE": "x=1"}
    told = cli("run", "clone", "--", "sh", "-c", SAY, env=outer).out
    assert cli("run", "deps", "--after", "clone", "--", "sh", "-c", "exit 3").status == 3
    assert cli("run", "ide", "--after", "deps", "--", "true").status == 3

    said = cli.ok("trace", "--otlp", receiver.url)
    spans = receiver.spans
    trace, span = parent_of(told)
    assert said == f"sent trace {trace}: {len(spans)} spans\n"
    assert {each.trace_id.hex() for each in spans} == {trace}
    assert receiver.paths == ["/v1/traces"]
    assert receiver.resource["service.name"] == "unitsync"
    root, clone, deps, ide = (named(spans, name) for name in ("startup", "clone", "deps", "ide"))
    assert not root.parent_span_id
    assert {each.parent_span_id for each in (clone, deps, ide)} == {root.span_id}
    (ran,) = [each for each in spans if each.parent_span_id == clone.span_id]
    assert (ran.name, ran.span_id.hex()) == ("running", span)
    assert attributes(ran.attributes)["process.command_line"].startswith("unitsync run clone")
    (link,) = deps.links
    assert (link.span_id, link.trace_id) == (clone.span_id, clone.trace_id)
    assert attributes(link.attributes)["unitsync.requires"] == "success"
    codes = [each.status.code for each in (root, clone, deps, ide)]
    error, unset = Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET
    assert codes == [error, unset, error, error]
    assert deps.status.message == "exit status 3"
    assert attributes(ide.attributes)["error.type"] == "skipped"
    for each in spans:
        assert root.start_time_unix_nano <= each.start_time_unix_nano <= each.end_time_unix_nano
        assert each.end_time_unix_nano <= root.end_time_unix_nano
    again = receiver.spans
    cli.ok("trace", "--otlp", receiver.url)
    assert receiver.spans[len(again) :] == again  # the same ids: nothing depends on the sender


def test_supervised_runs_and_retries(cli: Cli, receiver: Receiver) -> None:
    code = f"{SAY}; test -e again || {{ touch again; exit 1; }}"
    words = ("--retries", "1", "--backoff", "10ms", "--", "sh", "-c", code)
    result = cli("run", "flaky", "--cwd", str(cli.folder), *words)
    assert result.status == 0
    first, second = (parent_of(line)[1] for line in result.out.splitlines())
    cli.ok("trace", "--otlp", receiver.url)
    ran = {each.span_id.hex(): each for each in receiver.spans if each.name == "running"}
    assert list(ran) == [first, second]
    assert ran[first].status.code == Status.STATUS_CODE_ERROR
    assert ran[second].status.code == Status.STATUS_CODE_UNSET


def test_plans(cli: Cli, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "unitsync.toml").write_text(
        f"""
        [unit.clone]
        run = '''{SAY} > {tmp_path}/clone'''
        [unit.own]
        run = '''{SAY} > {tmp_path}/own'''
        env = {{ TRACEPARENT = "mine" }}
        """
    )
    assert cli("up", str(tmp_path / "unitsync.toml")).status == 0
    cli.ok("trace", "--otlp", receiver.url)
    clone = named(receiver.spans, "clone")
    (ran,) = [
        each
        for each in receiver.spans
        if each.parent_span_id == clone.span_id and each.name == "running"
    ]
    assert parent_of((tmp_path / "clone").read_text()) == (ran.trace_id.hex(), ran.span_id.hex())
    assert (tmp_path / "own").read_text() == "mine,\n"


def test_earlier_startups_files_and_variables(cli: Cli, receiver: Receiver, tmp_path: Path) -> None:
    cli.ok("run", "first", "--", "true")
    cli.ok("reset", "--all")
    cli.ok("run", "second", "--", "true")
    cli.ok("trace", "--startup", "-1", "--otlp", f"{receiver.url}/somewhere")
    assert receiver.paths == ["/somewhere"]
    assert {"first"} == {each.name for each in receiver.spans} - {"startup", "running", "waiting"}
    receiver.requests.clear()
    cli.ok("export", str(tmp_path / "file"))
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{receiver.url}/base",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        "OTEL_SERVICE_NAME": "workspace-7",
    }
    said = cli("trace", "--from", str(tmp_path / "file"), env=variables)
    assert said.status == 0, said
    assert named(receiver.spans, "second")
    assert receiver.paths[1:] == ["/base/v1/traces"]
    assert receiver.headers[1]["authorization"] == "secret"
    assert receiver.resource["service.name"] == "workspace-7"


def test_many_spans_take_several_requests(receiver: Receiver) -> None:
    made = [TraceSpan(f"unit-{number}", number + 1, 0, 1, 2, {}) for number in range(1100)]
    taken: list[int] = []
    otlp.send(made, 7, f"{receiver.url}/v1/traces", taken=taken.append)
    assert [span.name for span in receiver.spans] == [span.name for span in made]
    assert taken == [512, 1024, 1100]


def test_nothing_to_send(cli: Cli, receiver: Receiver) -> None:
    cli.ok("ping")
    assert cli.ok("trace", "--otlp", receiver.url) == "no units yet\n"
    assert not receiver.requests


@pytest.mark.parametrize(
    "url", ["localhost:4318", "ftp://x", "http://", "http://a:b", "http://x:0"]
)
def test_what_is_no_collector(cli: Cli, url: str) -> None:
    result = cli("trace", "--otlp", url)
    assert result.status == 2
    assert result.err.startswith(f"error: --otlp: '{url}' is not the URL of a collector\nhint: ")


def test_no_collector_is_named(cli: Cli) -> None:
    result = cli("trace")
    assert result.status == 2
    assert (
        "hint: --otlp http://localhost:4318, UNITSYNC_OTLP, or OTEL_EXPORTER_OTLP_ENDPOINT"
        in result.err
    )


def test_a_collector_that_refuses(cli: Cli, receiver: Receiver) -> None:
    cli.ok("run", "clone", "--", "true")
    receiver.status = 401
    result = cli("trace", "--otlp", receiver.url.replace("http://", "http://me:secret@"))
    assert result.status == 1
    assert result.err.startswith("error: the trace was not taken: ")
    assert "401" in result.err
    assert "secret" not in result.err
    assert len(result.err.splitlines()) == 2


def test_no_collector_is_there(cli: Cli) -> None:
    cli.ok("run", "clone", "--", "true")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    variables = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    result = cli("trace", "--otlp", f"http://127.0.0.1:{port}", env=variables)
    assert result.status == 1
    assert "the trace was not taken" in result.err
    assert f"hint: does a collector take OTLP over HTTP at http://127.0.0.1:{port}" in result.err


def test_an_exporter_that_raises_what_it_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those before 1.41 do. Its text holds the whole URL."""
    url = "http://me:s3cret@host/v1/traces?token=t0ken"

    def export(*_: object) -> None:
        raise OSError(f"cannot reach {url}")

    monkeypatch.setattr(OTLPSpanExporter, "export", export)
    with pytest.raises(UnitsyncError, match="cannot reach") as failed:
        otlp.send([TraceSpan("clone", 1, 0, 1, 2, {})], 7, url)
    text = f"{failed.value.message} {failed.value.hint}"
    assert "s3cret" not in text
    assert "t0ken" not in text


def test_without_the_extra(cli: Cli) -> None:
    cli.ok("run", "clone", "--", "true")
    result = cli.exec(sys.executable, "-c", WITHOUT_EXTRA, "trace", "--otlp", "http://localhost:1")
    assert result.status == 2
    assert "opentelemetry, which is not installed" in result.err
    assert "pip install '.[otlp]'" in result.err
