"""The command line. ``main`` is all that a process loads before it knows its verb."""

from __future__ import annotations

import os
import sys

from unitsync.surroundings import as_utf8, installed_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the verb in ``sys.argv`` and end the process with its exit status.

    Whatever happens, the user sees lines of ``error:`` and ``hint:``, never a traceback.
    """
    installed_first()
    try:
        try:
            from unitsync.cli.app import run_app
        except ImportError as problem:
            sys.exit(f"error: unitsync is not installed completely: {problem}")
        status = run_app(as_utf8(sys.argv[1:]))
    except KeyboardInterrupt:  # while modules were still being loaded
        status = 130
    if sys.flags.inspect:  # PYTHONINSPECT: it would stay for more to be typed
        os._exit(status)
    sys.exit(status)
