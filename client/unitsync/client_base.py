"""What both Python clients share: their constructor and its settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from unitsync import endpoint as endpoints
from unitsync import owner as owners
from unitsync import session, wire
from unitsync.autostart import is_allowed
from unitsync.requests import Requests

Names: TypeAlias = list[str]
Units: TypeAlias = list[wire.UnitInfo]
ListPages: TypeAlias = list[wire.ListReply]
WhyPages: TypeAlias = list[wire.WhyReply]
OnWaiting: TypeAlias = Callable[[wire.Waiting], None]


class ClientBase:
    """See ``Client`` for what the arguments mean."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        autostart: bool | None = None,
        startup: str | None = None,
        owner: wire.Owner | None = None,
        on_waiting: OnWaiting | None = None,
        render: wire.Render = wire.Render.NONE,
    ) -> None:
        self._endpoint = endpoints.resolve(endpoint)
        self._autostart = is_allowed(autostart)
        self._startup = session.startup_of(startup, os.environ)
        self._owner = owner
        self._render = render
        self._on_waiting = on_waiting
        self._requests: Requests | None = None
        self._pid = os.getpid()
        self._prepare()

    def _prepare(self) -> None:
        """Make what the client needs for its connection, without opening one."""
        raise NotImplementedError

    @property
    def endpoint(self) -> str:
        return self._endpoint.address

    @property
    def requests(self) -> Requests:
        """Builds requests for ``call``."""
        if self._requests is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._requests = Requests(
                self._owner or owners.this_process(), startup=self._startup, render=self._render
            )
        return self._requests
