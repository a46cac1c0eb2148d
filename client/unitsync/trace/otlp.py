"""Sends spans with the official SDK and exporter, over OTLP/HTTP. Nothing else knows them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Final

from unitsync._version import __version__
from unitsync.errors import UnitsyncError
from unitsync.link import collector
from unitsync.trace.spans import TraceSpan

BATCH: Final = 512
"""Spans in one request, as the SDK does it."""
_LOGGER: Final = "opentelemetry"
_NEVER: Final = re.compile(r"\bcode: (400|413)\b")
"""What the exporter logs if a collector will not take this, however often it is asked."""


class Unwanted(UnitsyncError):
    """It makes no sense to send it again."""


def send(
    spans: Sequence[TraceSpan],
    trace: int,
    url: str,
    *,
    begin: int = 0,
    taken: Callable[[int], None] = lambda count: None,
) -> None:
    """Send *spans* of the trace with that id to *url*, from the one with the index *begin* on.
    *taken* is told how many of all have been taken, after each request. Raises UsageError if the
    extra is not installed, and UnitsyncError if they were not taken."""
    collector.check_installed()
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
    exporter = OTLPSpanExporter(endpoint=url)

    def export(part: Sequence[ReadableSpan]) -> None:
        try:
            if exporter.export(part) is SpanExportResult.SUCCESS:
                return
            said = why.text
        except Exception as problem:  # whatever it is, it can hold secrets of the URL
            said = str(problem)
        reason = collector.hiding(url, said) or "no reason was given"
        raise (Unwanted if _NEVER.search(said) else UnitsyncError)(
            f"the trace was not taken: {reason}",
            hint=f"does a collector take OTLP over HTTP at {collector.shown(url)}?",
        )

    try:
        for first in range(begin, len(spans), BATCH):
            part = [made(span) for span in spans[first : first + BATCH]]
            export(part)
            taken(first + len(part))
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
        logger.removeHandler(why)


class _LastWords(logging.Handler):
    """What the exporter has logged last: it says there why it failed."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = " ".join(record.getMessage().split())


def _ns(at: float) -> int:
    return round(at * 1e6) * 1000
