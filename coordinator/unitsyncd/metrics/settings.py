"""Where a coordinator is told to show its metrics, by options and environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
from loguru import logger

from unitsync.errors import UsageError
from unitsync.link.listening import Address, address_of
from unitsync.link.startup_id import machine_startup
from unitsyncd.storage.lines import kept_lines, replace_lines

FILE: Final = "metrics"
"""In the coordinator's folder: where the metrics are, and how many coordinators have shown them."""
PER_UNIT_MAX: Final = 10_000
_EXAMPLE: Final = "for example 127.0.0.1:9711, or unix:/run/unitsync/metrics.sock"


class Options(Protocol):
    """Of ``serve``: None where the option is not given."""

    metrics: str | None
    metrics_per_unit: str | None


class MetricsSettings(msgspec.Struct, frozen=True):
    address: str
    """As it was given."""
    path: str = ""
    """Of a unix socket; "" if it is ``host`` and ``port``."""
    host: str = ""
    port: int = 0
    per_unit: int = 0
    """How many units are shown by name."""

    @property
    def place(self) -> Address:
        return Address(self.path, self.host, self.port)


def metrics_settings(options: Options, environment: Mapping[str, str]) -> MetricsSettings | None:
    """None if nobody wants metrics. Raises UsageError."""
    address = options.metrics or environment.get("UNITSYNC_METRICS", "")
    many = options.metrics_per_unit or environment.get("UNITSYNC_METRICS_PER_UNIT", "")
    if not address:
        if options.metrics_per_unit is not None or options.metrics is not None:
            raise UsageError("metrics need an address", hint=f"--metrics ADDRESS, {_EXAMPLE}")
        return None
    return settings_of(address, many)


def settings_of(address: str, many: str = "") -> MetricsSettings:
    """Raises UsageError."""
    per_unit = _per_unit(many)
    found = address_of(address, "metrics at", _EXAMPLE)
    if not found.is_local:
        raise UsageError(
            f"metrics at {address!a}: only this machine may ask for them",
            hint=f"{_EXAMPLE}; for others, put a proxy that knows who may before it",
        )
    return MetricsSettings(address, found.path, found.host, found.port, per_unit)


def _per_unit(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= PER_UNIT_MAX):
        raise UsageError(
            f"metrics can show 0 to {PER_UNIT_MAX:,} units by name, not {text}",
            hint="--metrics-per-unit N, or UNITSYNC_METRICS_PER_UNIT",
        )
    return int(text)


def forget_metrics(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, FILE))


def kept_metrics(folder: str) -> MetricsSettings | None:
    """What was shown last in this startup."""
    try:
        address, many, _, _ = kept_lines(os.path.join(folder, FILE))
        return settings_of(address, many)
    except (ValueError, UsageError):
        return None


def count_begin(folder: str, settings: MetricsSettings, journal: str) -> int:
    """Remember *settings*, so that a coordinator that a verb starts again has them too. How many
    coordinators have begun with that *journal*, this one included, as far as they had metrics."""
    begins = 0
    with contextlib.suppress(OSError, ValueError):
        *_, of, text = _lines(folder)
        begins = int(text) if of == journal else 0
    lines = (machine_startup(), settings.address, settings.per_unit, journal, begins + 1)
    try:
        replace_lines(os.path.join(folder, FILE), map(str, lines))
    except OSError as problem:
        logger.error("the metrics cannot be kept: {}", problem)
    return begins + 1


def _lines(folder: str) -> list[str]:
    """Five of them. Raises OSError, ValueError."""
    with open(os.path.join(folder, FILE), encoding="utf-8") as file:
        lines = file.read().splitlines()
    if len(lines) != 5:
        raise ValueError("it was written by another version")
    return lines
