"""Sends spans with the official SDK and exporter, over OTLP/HTTP. Nothing else knows them."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from unitsync import extras
from unitsync._version import __version__
from unitsync.errors import UnitsyncError, UsageError
from unitsync.tracing.spans import TraceSpan

BATCH: Final = 512
"""Spans in one request, as the SDK does it."""
_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_LOGGER: Final = "opentelemetry"


def endpoint(url: str) -> str:
    """Where to send traces: *url*, or what the variables of OpenTelemetry say. Raises
    UsageError."""
    traces, common = (os.environ.get(name, "") for name in _VARIABLES)
    text = url or traces or common
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"--otlp: {text!a} is not the URL of a collector" if text else "where to send it?",
            hint=f"--otlp http://localhost:4318, or {_VARIABLES[1]}",
        )
    if text is common or parts.path in ("", "/"):
        parts = parts._replace(path=f"{parts.path.rstrip('/')}/v1/traces")
    return urlunsplit(parts)


def send(spans: Sequence[TraceSpan], trace: int, url: str) -> None:
    """Send *spans* of the trace with that id to *url*. Raises UsageError if the extra is not
    installed, and UnitsyncError if they were not taken."""
    if importlib.util.find_spec("opentelemetry") is None:
        raise extras.missing("unitsync sends traces", "opentelemetry", "otlp")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

    def context(span: int) -> SpanContext:
        return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags.get_default())

    def made(span: TraceSpan) -> ReadableSpan:
        status = Status(StatusCode.ERROR, span.failure) if span.failure else Status()
        return ReadableSpan(
            name=span.name,
            context=context(span.id),
            parent=context(span.parent) if span.parent else None,
            resource=resource,
            attributes=span.attributes,
            events=[Event("ready", timestamp=_ns(span.ready))] if span.ready is not None else (),
            links=[Link(context(other), about) for other, about in span.links],
            status=status,
            start_time=_ns(span.began),
            end_time=_ns(span.ended),
            instrumentation_scope=InstrumentationScope("unitsync", __version__),
        )

    name = os.environ.get("OTEL_SERVICE_NAME") or "unitsync"
    resource = Resource.create({"service.name": name, "service.version": __version__})
    why = _LastWords()
    logger = logging.getLogger(_LOGGER)
    logger.addHandler(why)
    logger.propagate = False
    exporter = OTLPSpanExporter(endpoint=url)
    try:
        for first in range(0, len(spans), BATCH):
            part = [made(span) for span in spans[first : first + BATCH]]
            if exporter.export(part) is not SpanExportResult.SUCCESS:
                raise UnitsyncError(
                    f"the trace was not taken: {why.text or 'no reason was given'}",
                    hint=f"does a collector take OTLP over HTTP at {shown(url)}?",
                )
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
        logger.removeHandler(why)


class _LastWords(logging.Handler):
    """What the exporter has logged last: it says there why it failed."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = " ".join(record.getMessage().split())


def shown(url: str) -> str:
    """*url* without a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _ns(at: float) -> int:
    return round(at * 1e6) * 1000
