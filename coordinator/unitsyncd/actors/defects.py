"""What is logged of a defect in the coordinator, and what its client is told: also if the journal
cannot be written."""

from __future__ import annotations

from typing import Final

from unitsync import errors, wire
from unitsyncd.actors.actor import MailboxFull
from unitsyncd.actors.registry import Registry
from unitsyncd.core.state import InvalidTransition
from unitsyncd.core.store import StoreError

STORY_MAX: Final = 10
"""Entries of a unit's history that are logged."""
REQUEST_MAX: Final = 2000
"""Characters of a request that are logged."""


def while_handling(request: wire.AnyRequest, defect: Exception, registry: Registry) -> str:
    """Where *defect* was met, for the log."""
    about = defect.unit.name if isinstance(defect, InvalidTransition) else ""
    about = about or getattr(request, "unit", "")
    return f"while handling {request!r:.{REQUEST_MAX}}; {story(about, registry)}"


def story(unit: str, registry: Registry) -> str:
    """The latest events of *unit*, for the log."""
    history = registry.view.history(unit)[-STORY_MAX:]
    entries = (f"{entry.what} ({entry.reason})" for entry in history)
    return f"{unit or 'nothing'} before that: {', '.join(entries) or 'nothing'}"


def undone(defect: Exception) -> errors.UnitsyncError:
    """What to tell the client whose request has met *defect* and was undone."""
    if isinstance(defect, MailboxFull):
        return defect.limit
    return errors.InternalError(
        f"a defect in the coordinator ({type(defect).__name__}); nothing was changed",
        hint="its log has the details: coordinator.log beside its socket",
    )


def unsure() -> errors.UnitsyncError:
    """What to tell a client whose request may or may not have been carried out."""
    return errors.InternalError(
        "a defect in the coordinator; what was asked for may have been done",
        hint="unitsync list shows whether it was; see coordinator.log beside its socket",
    )


def not_kept(problem: StoreError) -> errors.NotKept:
    """What to tell a client whose change the journal could not keep."""
    return errors.NotKept(
        f"nothing was changed: the journal cannot be written ({problem})", hint=problem.hint
    )
