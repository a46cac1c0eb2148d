"""Where traces are sent: a collector of OpenTelemetry. Does not load OpenTelemetry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from unitsync.errors import UsageError, not_installed

VARIABLE: Final = "UNITSYNC_OTLP"
_OTHERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER: Final = "opentelemetry-exporter-otlp-proto-http"


def endpoint(url: str | None, environment: Mapping[str, str]) -> str:
    """Where to send traces: *url*, or what *environment* says if that is None. Raises
    UsageError."""
    if url is None:
        found = ((name, environment.get(name, "")) for name in (VARIABLE, *_OTHERS))
        name, text = next(((name, text) for name, text in found if text), ("", ""))
    else:
        name, text = "--otlp", url
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"{name}: {shown(text)!a} is not the URL of a collector"
            if name
            else "where to send it?",
            hint=f"--otlp http://localhost:4318, {VARIABLE}, or {_OTHERS[1]}",
        )
    if name == _OTHERS[1] or parts.path in ("", "/"):
        parts = parts._replace(path=f"{parts.path.rstrip('/')}/v1/traces")
    return urlunsplit(parts)


def check_installed() -> None:
    """Raises UsageError if what sends traces is not installed."""
    from importlib.metadata import PackageNotFoundError, distribution  # few coordinators need it

    try:
        distribution(_EXPORTER)
    except PackageNotFoundError:
        raise not_installed("unitsync sends traces", "opentelemetry", "otlp") from None


def shown(url: str) -> str:
    """*url* without what may be secret in it. It need not be a URL."""
    start = re.match(r"(?:[a-z]+://)?", url)
    scheme = start.group() if start else ""
    where, _, query = url.removeprefix(scheme).partition("?")
    if "@" in query:  # it may be a password with a ? in it
        return f"{scheme}..."
    return scheme + where.rpartition("@")[2]


def without_password(url: str) -> str:
    """What stays the same if the password of *url* is changed."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}"))


def hiding(url: str, text: str) -> str:
    """*text* without what may be secret in *url*."""
    parts = urlsplit(url)
    secrets = {
        secret for each in (parts.password, parts.query) for secret in (each, unquote(each or ""))
    }
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text
