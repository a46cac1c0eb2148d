"""The full command line, made with typer.

This module itself loads only what ``main`` needs.
"""

from __future__ import annotations

import os
import sys

from unitsync.modules.module_path import installed_first
from unitsync.verb.commandline import as_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the verb in ``sys.argv`` and end the process with its exit status.

    Whatever happens, the user sees ``error:`` and ``hint:`` lines, never a traceback.
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
    if sys.flags.inspect:  # PYTHONINSPECT: Python would open a prompt
        os._exit(status)
    sys.exit(status)
