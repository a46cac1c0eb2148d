"""A conversation about a request of wire.py, one step at a time."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec.structs import replace

from unitsync import wire
from unitsync.link.conversation import FOREVER, Conversation, Done, Pause, Send

Step: TypeAlias = Send | Pause | Done
ADDRESS = "ipc:///tmp/x/coordinator.sock"


def tag(message: Any) -> str:
    return str(message.__struct_config__.tag)


class Talk(Conversation):
    def __init__(self, request: wire.AnyRequest) -> None:
        super().__init__(tag(request), request, request.may, ADDRESS)
        self.request = request

    def hears(self, reply: wire.AnyReply, now: float) -> Step:
        return self.received(tag(reply), reply, now)

    def sent(self, step: Step) -> Any:
        """The request as *step* sends it."""
        assert isinstance(step, Send)
        return replace(self.request, **step.changes)


def begun(request: wire.AnyRequest, timeout_s: float = FOREVER) -> Talk:
    """A conversation that began at 100."""
    talk = Talk(request)
    talk.begin(100.0, timeout_s)
    return talk


def answer(step: Step) -> Any:
    """The reply with which the conversation ends."""
    assert isinstance(step, Done)
    return step.reply
