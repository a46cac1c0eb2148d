"""The requests that the verbs of the Python clients send, without a client."""

from __future__ import annotations

from typing import Any

from unitsync import wire
from unitsync.clients.verbs import Verbs


class Asked(Exception):
    def __init__(self, request: wire.AnyRequest) -> None:
        super().__init__()
        self.request = request


class _Asking(Verbs):
    def _prepare(self) -> None:
        pass

    async def _call(self, request: wire.AnyRequest, *_: Any) -> Any:
        raise Asked(request)


class Requests:
    """``want("ide", "clone")`` is the request that ``client.want("ide", "clone")`` sends."""

    def __init__(self, owner: wire.Owner | None, *, startup: str = "", **options: Any) -> None:
        self.client = _Asking("ipc:///nowhere/s", owner=owner, startup=startup, **options)

    def __getattr__(self, verb: str) -> Any:
        def build(*args: Any, **kwargs: Any) -> Any:
            try:
                getattr(self.client, verb)(*args, **kwargs).send(None)
            except Asked as asked:
                return asked.request
            raise AssertionError(f"{verb} asked for nothing")

        return build

    def withdraw(self, start: wire.Start, reason: str) -> wire.Withdraw:
        said = self.client.said()
        return wire.Withdraw(**said, unit=start.unit, start_id=start.id, reason=reason)
