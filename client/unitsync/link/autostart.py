"""Whether a verb that finds no coordinator starts one, and the error that it gets if not."""

import math
import os
from collections.abc import Mapping
from typing import Final

from unitsync import errors
from unitsync.link import endpoint as endpoints
from unitsync.link.absent import STARTED_BY, Absent, NothingKept
from unitsync.link.conversation import Autostart
from unitsync.link.startup_id import has_kept_state

_OFF: Final = ("0", "no", "false", "off")
_ON: Final = ("1", "yes", "true", "on")


def ensure(
    endpoint: endpoints.Endpoint,
    *,
    when: str,
    autostart: bool = True,
    told: bool = False,
    by: float = math.inf,
) -> None:
    """Return once our coordinator listens at *endpoint*. Raise at *by* (monotonic clock) at
    the latest.

    If there is no coordinator, *when* says whether the verb asks for one to be started, and
    *autostart* whether that is allowed. *told* is for a wait that a coordinator already
    knows of: it does not start one that was stopped.

    Raises Absent, NothingKept with IF_STATE_IS_KEPT and IF_THERE_IS_A_JOURNAL, Stopped,
    Unreachable or NotPermitted.
    """
    if endpoints.is_there(endpoint, by):
        return
    if told and os.path.exists(endpoint.stopped):
        raise errors.Stopped(
            f"the coordinator at {endpoint.address} was stopped",
            hint="unitsync ping starts it again",
        )
    if when == Autostart.IF_STATE_IS_KEPT and not has_kept_state(endpoint.journal):
        raise NothingKept(
            f"no coordinator runs at {endpoint.address}, and this startup has kept nothing",
            endpoint=endpoint.address,
        )
    if when == Autostart.IF_THERE_IS_A_JOURNAL and not os.path.exists(endpoint.journal):
        raise NothingKept(
            f"no coordinator runs at {endpoint.address}, and none has kept anything",
            endpoint=endpoint.address,
        )
    if when == Autostart.NEVER:
        raise Absent(
            f"no coordinator runs at {endpoint.address}",
            hint=STARTED_BY,
            endpoint=endpoint.address,
        )
    if not autostart:
        raise Absent(
            f"no coordinator runs at {endpoint.address}, and starting one is turned off",
            hint="unitsync ping starts it unless UNITSYNC_AUTOSTART is off; unitsync serve always",
            endpoint=endpoint.address,
        )
    from unitsync.link import spawn  # its imports are slow, and rarely needed

    spawn.start(endpoint, by)


def is_allowed(chosen: bool | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """*chosen*, else UNITSYNC_AUTOSTART. Raises UsageError if that is neither on nor off."""
    if chosen is not None:
        return chosen
    text = environ.get("UNITSYNC_AUTOSTART", "")
    said = text.strip().lower()
    if said in _OFF:
        return False
    if text and said not in _ON:
        raise errors.UsageError(
            f"UNITSYNC_AUTOSTART: {text!a} is neither on nor off",
            hint=f"one of {', '.join((*_OFF, *_ON))}",
        )
    return True
