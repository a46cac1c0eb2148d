"""The verb ``mcp``."""

from __future__ import annotations

import signal
import sys

from unitsync.agents.tool import Workspace
from unitsync.errors import not_installed
from unitsync.output.answers import print_err
from unitsync.verb.commandline import Call


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    workspace = Workspace(call.address or None)
    try:
        from unitsync.agents.server import serve
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise not_installed("mcp talks to agents", "mcp", "mcp") from None
    if sys.stdin is not None and sys.stdin.isatty():
        print_err(["unitsync: an agent is to start this, and to talk to it; Ctrl-C ends it"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # otherwise it would wait for the end of stdin
    serve(workspace, changes="--allow-changes" in call.flags)
    return 0
