"""What the shells complete: unit names from the running coordinator, and choices."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

import typer

_WAIT_S = 1.0
_PLAIN = frozenset("_%+=:./-")


def requirements() -> list[str]:
    return ["success", "completion", "start"]


def owner_exits() -> list[str]:
    return ["fail", "complete", "ignore", "warn"]


def skips() -> list[str]:
    return ["exit", "wait"]


def outputs() -> list[str]:
    return ["table", "json"]


def unit_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names that begin with *incomplete*, of the first page of ``list``: registered units,
    and behind them what is only waited for.

    Starts no coordinator, and any trouble means no names: an error here would be
    printed into the line that the user is typing. Names that a shell would read as
    more than a word are left out, because shells insert (zsh: evaluate) them raw.
    """
    from unitsync import wire
    from unitsync.cli.talk import open_client

    endpoint = None
    context: typer.Context | None = ctx
    while context is not None and endpoint is None:
        endpoint = context.params.get("endpoint")
        context = context.parent  # type: ignore[assignment]
    given = set(ctx.params.get("units") or ()) | set(ctx.params.get("prerequisites") or ())
    given.add(ctx.params.get("unit"))
    try:
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, _WAIT_S)
        with open_client(endpoint, render=wire.Render.NONE, autostart=False) as client:
            reply = client.call(client.requests.list())
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Exception:
        return []
    if not isinstance(reply, wire.ListReply):
        return []
    return [
        unit.name
        for unit in reply.units
        if unit.name.startswith(incomplete)
        and unit.name not in given
        and all(char.isalnum() or char in _PLAIN for char in unit.name)
    ]


def listed_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same for the last of several names with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    given = set(before.split(","))
    return [f"{before}{comma}{name}" for name in unit_names(ctx, last) if name not in given]


def _give_up(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError
