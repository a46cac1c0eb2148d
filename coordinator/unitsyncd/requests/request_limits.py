"""Bounds the parts of a request that would be kept forever, before it is handled."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from unitsync import wire
from unitsync.errors import LimitReached
from unitsyncd.core.wording import cut

_CERTAINLY_SHORT: Final = wire.TEXT_BYTES_MAX // 4
"""So many characters have at most TEXT_BYTES_MAX bytes."""


def bounded(request: wire.AnyRequest) -> wire.AnyRequest:
    """*request* with the texts about its owner cut. Raises LimitReached for an id that is
    too long. It cannot be cut, because the rest might equal another id."""
    if len(request.id) > _CERTAINLY_SHORT or len(request.startup) > _CERTAINLY_SHORT:
        _check_length("id", request.id)
        _check_length("startup", request.startup)
    if type(request) is wire.Withdraw:
        _check_length("start_id", request.start_id)
    owner = request.owner
    if owner is None:
        return request
    command, cwd = cut(owner.command), cut(owner.cwd)
    if command is owner.command and cwd is owner.cwd:
        return request
    return replace(request, owner=replace(owner, command=command, cwd=cwd))


def check_count(names: int) -> None:
    """Raises LimitReached for a request that names too many units."""
    if names > wire.PREREQUISITES_PER_REQUEST_MAX:
        raise LimitReached(
            f"a request names at most {wire.PREREQUISITES_PER_REQUEST_MAX:,} units, "
            f"this one {names:,}",
            hint="spread them over several requests",
            limit="prerequisites per request",
            maximum=wire.PREREQUISITES_PER_REQUEST_MAX,
        )


def _check_length(name: str, text: str) -> None:
    if len(text.encode()) > wire.TEXT_BYTES_MAX:
        raise LimitReached(
            f"the {name} of a request has at most {wire.TEXT_BYTES_MAX:,} bytes",
            limit=name,
            maximum=wire.TEXT_BYTES_MAX,
        )
