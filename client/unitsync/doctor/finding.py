"""What a check of ``doctor`` finds, and what a check knows from the checks before it."""

import os
from dataclasses import dataclass
from typing import NamedTuple

from unitsync import errors, wire
from unitsync.link import endpoint as endpoints
from unitsync.link.endpoint import Endpoint


class Finding(NamedTuple):
    """``level`` is ok, note (good to know) or problem (something will not work)."""

    level: str
    about: str
    text: str
    hint: str = ""


@dataclass
class Setup:
    """What the checks so far have found out."""

    address: str | None
    """What ``--endpoint`` says."""
    endpoint: Endpoint | None = None
    """None before its check, or if the address cannot be one."""
    usable: bool = False
    """Whether we may look into the folder."""
    pong: wire.Pong | None = None
    """None if no coordinator answers."""
    pid: int = 0
    """The coordinator's pid as we see it; 0 if it cannot be seen from here."""
    refused: errors.UnitsyncError | None = None
    """The error that the coordinator would answer a change with; None if it would make it."""

    @property
    def server(self) -> int:
        """The uid as which the coordinator runs, or would run."""
        assert self.endpoint is not None
        for path in (self.endpoint.path, self.endpoint.folder):
            try:
                return os.lstat(path).st_uid
            except OSError:
                continue
        return endpoints.serving_user(self.endpoint)

    def advice(self, what: str) -> str:
        """The hint to do *what*, addressed to whoever may do it."""
        if os.geteuid() in (0, self.server):
            return what
        return f"ask {endpoints.user_name(self.server)}: {what}"


def problem(about: str, error: errors.UnitsyncError) -> Finding:
    return Finding("problem", about, error.message, error.hint)
