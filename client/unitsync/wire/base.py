"""What all messages have in common. Everybody takes it from wire.py."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from unitsync.link.conversation import May
from unitsync.wire.values import Owner, Render

PROTOCOL: Final = 1

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer message is answered with ``limit_reached``."""
PREREQUISITES_PER_REQUEST_MAX: Final = 200_000
"""How many units one request may name. For Declare, units and prerequisites together."""


class Request(
    msgspec.Struct, tag_field="verb", frozen=True, omit_defaults=True, kw_only=True, gc=False
):
    """What every request carries.

    ``id`` names the request: repeating it at once (after a lost reply) has no second
    effect. docs/reference/wire-protocol.md says what a later repetition does.
    ``epoch`` is the state under which this wait began, "" for a new wait.
    ``startup`` is the startup to which the caller belongs, "" for the newest.
    """

    may: ClassVar[May]
    """What the request may do."""

    id: str
    v: int = 1
    """Protocol version. If left out, it is 1."""
    epoch: str = ""
    startup: str = ""
    owner: Owner | None = None
    render: Render = Render.NONE

    def reserved(self) -> str:
        """The part of the request that only the coordinator's own user and root may ask for, for
        messages. "" if there is none."""
        return ""


class Reply(
    msgspec.Struct, tag_field="result", frozen=True, omit_defaults=True, kw_only=True, gc=False
):
    """``exit`` is the exit status of the command line, ``out`` and ``err`` are the lines that
    it prints. The lines are there only if the request asked for them (``render``)."""

    id: str
    epoch: str = ""
    exit: int = 0
    out: list[str] = []
    err: list[str] = []
