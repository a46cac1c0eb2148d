"""Replies to requests that only look, if there are no units. A client uses them if no state is
kept and no coordinator runs; a coordinator, for a startup that it has not seen."""

from unitsync import wire
from unitsync.coder import output as coder_output
from unitsync.names.patterns import any_matcher, is_pattern
from unitsync.names.remote_names import is_remote, remote_name
from unitsync.names.unit_names import check_name
from unitsync.text.printing import unregistered


def reply(request: wire.AnyRequest, epoch: str = "") -> wire.AnyReply:
    """The reply to *request*: List, StatusOf, Why, Hosts or Startups. Raises InvalidName."""
    if isinstance(request, wire.Hosts):
        return wire.HostsReply(id=request.id, epoch=epoch)
    if isinstance(request, wire.Startups):
        return wire.StartupsReply(
            id=request.id, epoch=epoch, journal="", epochs=[], oldest=0, next_seq=0
        )
    if isinstance(request, wire.List):
        any_matcher(request.units)
        return wire.ListReply(id=request.id, epoch=epoch, units=[], total=0)
    assert isinstance(request, wire.StatusOf | wire.Why)
    if isinstance(request, wire.Why) and (not request.unit or is_pattern(request.unit)):
        any_matcher([request.unit])
        lines = no_match(request) if request.unit else []
        return wire.WhyReply(id=request.id, epoch=epoch, out=lines)
    remote = is_remote(request.unit)
    if remote:
        remote_name(request.unit)
        unit = wire.UnitInfo(request.unit, wire.Status.UNKNOWN, False, reason="not heard of yet")
    else:
        check_name(request.unit)
        unit = wire.UnitInfo(request.unit, wire.Status.NOT_REGISTERED, True)
    if isinstance(request, wire.Why):
        return wire.WhyReply(id=request.id, epoch=epoch, tree=wire.WhyNode(unit))
    lines = []
    if request.render is wire.Render.TEXT:
        lines = unregistered(request.unit, remote=remote)
    elif request.render is wire.Render.CODER:
        lines = coder_output.status(unit)
    return wire.StatusReply(id=request.id, epoch=epoch, unit=unit, out=lines)


def no_match(request: wire.Why) -> list[str]:
    """The lines of a page on which no unit matches the pattern."""
    return [] if request.render is wire.Render.NONE else ["no unit matches"]
