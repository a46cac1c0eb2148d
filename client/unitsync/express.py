"""Where the command ``unitsync`` begins. Verbs that commandline.py can read are performed
without typer, everything else by the full command line.

Imports only what the interpreter has already loaded.
"""

from __future__ import annotations

import os
import sys

from unitsync import surroundings
from unitsync.commandline import Leave, read
from unitsync.output import error_lines, print_err, report_any
from unitsync.perform import perform, see_all_packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the verb in ``sys.argv`` and end the process with its exit status."""
    status = run(surroundings.as_utf8(sys.argv[1:]))
    if status is None:
        try:
            see_all_packages()
            from unitsync.cli import main as full
        except ImportError as problem:  # it was there when this process began
            print_err(error_lines(f"unitsync is not installed completely: {problem}", ""))
            os._exit(1)
        full()
    # There is nothing to clean up, and the interpreter's own cleanup takes time.
    os._exit(status)


def run(words: list[str]) -> int | None:
    """Perform the verb in *words*. Returns its exit status, or None for words that are left
    to the full command line. Errors have been printed on stderr by then."""
    try:
        return perform(read(words, os.environ))
    except Leave:
        return None
    except SystemExit as exc:  # by a signal
        return int(exc.code or 0)
    except BaseException as problem:
        return report_any(problem)
