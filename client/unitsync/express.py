"""The command line of the shim, and how it goes on where typer is needed.

The script ``unitsync`` does the same in two steps, because each module costs a verb 0.1 ms.
"""

import os

from unitsync.verb import perform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the verb in ``sys.argv`` and end the process with its exit status."""
    perform.main()
    full_command_line()


def full_command_line() -> "NoReturn":
    """The same for words that ``perform.main`` leaves."""
    try:
        from unitsync.modules import module_path

        module_path.see_all_packages()
        from unitsync.cli import main as full
    except ImportError as problem:  # it was there when this process began
        from unitsync.output.answers import print_err

        print_err([f"error: unitsync is not installed completely: {problem}"])
        os._exit(1)
    full()
