"""What runs the command of a unit: ``unitsync run``, ``unitsync up``, or a script of its own."""

from __future__ import annotations

from typing import Final, Literal

from unitsync import errors, wire

AGENT: Final = "unitsync mcp"
"""The owner's command of a unit whose work a coding agent does itself."""
RUNNING: Final = (wire.Status.STARTED, wire.Status.LAUNCHING)


def runner_of(owner: wire.Owner | None) -> Literal["run", "up", ""]:
    """ "" for a script that called ``unitsync start``, and if the owner is not known."""
    for name in ("run", "up"):
        if owner is not None and f"{owner.command} ".startswith(f"unitsync {name} "):
            return name
    return ""


def last_owner(info: wire.UnitInfo) -> wire.Owner | None:
    """Who ran the unit last, or has tried to."""
    heard = (entry.owner for entry in reversed(info.history) if entry.owner is not None)
    return info.owner or info.given_up_by or next(heard, None)


def known(info: wire.UnitInfo) -> wire.UnitInfo:
    """*info*, unless nobody has registered the unit. Raises UnknownUnit then."""
    if info.status is not wire.Status.NOT_REGISTERED:
        return info
    hint = f"did you mean {info.nearest}?" if info.nearest else "unitsync list shows the units"
    raise errors.UnknownUnit(
        f"{info.name} is not registered", hint=hint, unit=info.name, nearest=info.nearest
    )
