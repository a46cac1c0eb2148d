"""What would be kept of a request for ever is bounded before anything is done with it."""

from __future__ import annotations

from msgspec.structs import replace

from unitsync import wire
from unitsync.errors import LimitReached
from unitsyncd.core.wording import cut


def bounded(request: wire.AnyRequest) -> wire.AnyRequest:
    """*request* with its owner's command line cut. Raises LimitReached for an id that is
    too long: what is left of it might be another one's."""
    for name, text in (("id", request.id), ("startup", request.startup)):
        if len(text) > wire.TEXT_BYTES_MAX // 4 and len(text.encode()) > wire.TEXT_BYTES_MAX:
            raise LimitReached(
                f"the {name} of a request has at most {wire.TEXT_BYTES_MAX:,} bytes",
                limit=name,
                maximum=wire.TEXT_BYTES_MAX,
            )
    owner = request.owner
    if owner is None or (command := cut(owner.command)) is owner.command:
        return request
    return replace(request, owner=replace(owner, command=command))
