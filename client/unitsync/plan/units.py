"""A plan as those who run it see it: every unit with its command, its environment and what it
waits for, all names and paths in full."""

from __future__ import annotations

from pathlib import Path

import msgspec

from unitsync.process.supervision import BACKOFF_DEFAULT_S, GRACE_DEFAULT_S
from unitsync.wire.values import OnOwnerExit, Requirement


class Edge(msgspec.Struct, frozen=True):
    """A prerequisite, and what is needed of it. ``unit`` may be a pattern: it stands for units of
    others too, now and later."""

    unit: str
    requires: Requirement = Requirement.SUCCESS
    optional: bool = False
    pattern: str = ""
    """The pattern by which it came about, in ``after`` or in the ``before`` of another unit. The
    coordinator is told of that one, and finds this edge by itself."""


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One unit. Durations are in seconds; None is no limit. Paths are absolute."""

    name: str
    words: tuple[str, ...]
    """What is executed: ``("/bin/sh", "-e", "-c", text)`` for ``run``, the path for ``script``.
    A program without a slash is looked for on the PATH of ``env``, or else on that of the runner.
    One with a slash is meant from ``cwd``."""
    after: tuple[Edge, ...] = ()
    """Those that others named in ``before`` are among them, and for each pattern the units of the
    plan that it stands for."""
    timeout_s: float | None = None
    wait_timeout_s: float | None = None
    grace_s: float = GRACE_DEFAULT_S
    retries: int = 0
    backoff_s: float = BACKOFF_DEFAULT_S
    env: dict[str, str] = {}
    """What is added to the runner's environment, ``env-file`` included."""
    cwd: str
    user: str = ""
    stop: str = ""
    """The name of a signal, or a text for the shell; "" is SIGTERM."""
    shell: tuple[str, ...] = ("/bin/sh", "-e")
    """What runs the texts of ``stop`` and ``ready``, with ``-c`` and the text behind it."""
    ready: str = ""
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    gate: bool = False
    """It has no words: it completes by itself."""
    count: int = 0
    """How many of ``after`` a gate needs; 0 means all."""
    source: Path
    """The file that it comes from."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All units of a plan, included ones too, in the order of the files. There is at least one,
    and no cycle."""

    path: Path
    units: dict[str, UnitPlan]
    parallel: int = 0
    """How many units may run at the same time; 0 is no limit."""
    external: frozenset[str] = frozenset()
    """Units that others run, and patterns for such units: named in a plan, and no unit of it."""
    others_after: dict[str, tuple[Edge, ...]] = {}
    """What external units, and all units that match a pattern, wait for, because units named them
    in ``before``."""
    files: tuple[Path, ...] = ()
    """All files that the plan was read from."""
    notes: tuple[str, ...] = ()
    """What may be meant otherwise, and folders and programs that are missing but that a
    prerequisite may make: one line each."""
