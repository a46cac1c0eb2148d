"""The bounds that can be set: name, default, environment variable.

A request that would exceed one is answered with ``limit_reached``, which names the bound
and its value. A client for which there is no room is not let in. Bounds that cannot be set
stand beside the code that they bound. docs/reference/limits.md lists all of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from unitsync.errors import LimitReached, UsageError

DIGITS_MAX: Final = 18
CONNECTIONS_MIN: Final = 2
"""A client first connects once to check whether somebody is there."""


class Limits(msgspec.Struct, frozen=True):
    units: int = 2_000_000
    """Registered units."""
    edges: int = 10_000_000
    waiting: int = 100_000
    """Requests that are held back at the same time. One client may have half of them, but no
    more than 20,000."""
    waited_for: int = 2_000_000
    """Names in all held-back ``wait`` requests."""
    followers: int = 200
    """Requests for events that are held back at the same time."""
    startups: int = 10_000
    """Startups remembered since the machine started, so that changes by older ones are
    refused."""
    kept_startups: int = 20
    """Startups whose records stay in the journal, the present one included."""
    kept_mib: int = 64
    """MiB that the records of earlier startups may take. The oldest ones go first."""
    connections: int = 50_000
    """Clients at the same time. Fewer if the limit of open files leaves no room."""
    memory: int = 4_096
    """MiB that the coordinator may use before it ends and begins anew: see resources.py."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """Limits with ``UNITSYNC_MAX_UNITS``, ``…_EDGES`` and so on applied.
        Raises UsageError for anything but a positive whole number."""
        values: dict[str, int] = {}
        for name in cls.__struct_fields__:
            variable = f"UNITSYNC_MAX_{name.upper()}"
            text = environment.get(variable, "")
            if not text:
                continue
            if len(text) > DIGITS_MAX:
                raise UsageError(
                    f"{variable} has {len(text):,} digits, which is more than {DIGITS_MAX}"
                )
            if not text.isascii() or not text.isdigit() or not int(text):
                raise UsageError(f"{variable} is {text!r}, not a positive whole number")
            if name == "connections" and int(text) < CONNECTIONS_MIN:
                raise UsageError(
                    f"{variable} is {text}: one verb alone may need {CONNECTIONS_MIN} for a moment"
                )
            values[name] = int(text)
        return cls(**values)


def limit_reached(name: str, maximum: int, what: str, hint: str = "") -> LimitReached:
    """The error for a request that exceeds the bound *name*. *what* completes "the
    coordinator …". If *hint* is "", the bound must be one that can be set."""
    return LimitReached(
        f"the coordinator {what}",
        hint=hint or f"raise UNITSYNC_MAX_{name.upper()} where the coordinator is started",
        limit=name,
        maximum=maximum,
    )
