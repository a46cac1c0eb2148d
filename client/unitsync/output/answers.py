"""What a verb prints, and its exit status: the lines in a reply, tables and trees for people,
JSON for programs, Coder's columns through the shim, and errors.

Imports only what the interpreter has already loaded, and ``_json``.
"""

import sys

from unitsync.text.printing import safe, silence, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    class Call(Protocol):
        """What was asked: see verb/commandline.py."""

        verb: Any
        names: Any
        request: dict[str, Any]
        as_json: bool
        columns: list[str]
        shim: bool


def show(call: "Call", pages: "list[Any]") -> int:
    """Print the *pages* of the final reply, usually one. If the last one is an error, print only
    that: the others are not the whole answer. Returns the exit status."""
    reply = pages[-1]
    if reply.result == "error":
        return finish(reply)
    if reply.result == "status":
        return _status(call, reply)
    if reply.result == "list":
        return _list(call, pages)
    if reply.result == "why":
        return _why(call, pages)
    if reply.result == "hosts":
        return _hosts(call, reply)
    if reply.result == "pong" and call.as_json:
        from unitsync.output import json_output

        return _json(reply, json_output.pong_fields(reply))
    if call.verb.name == "wait":
        return finish(reply, map(safe, reply.units) if call.request.get("any") else ())
    return finish(reply, done=reply.result == "ok")


def _json(reply: "Any", fields: object) -> int:
    from unitsync.output import json_output

    return finish(reply, json_output.json_text(fields).split("\n"))


def _status(call: "Call", reply: "Any") -> int:
    if call.as_json:
        from unitsync.output import json_output

        return _json(reply, json_output.status_fields(reply.unit, shim=call.shim))
    if call.shim:
        from unitsync.coder import output as coder_output

        lines = map(safe, coder_output.status(reply.unit, call.columns)) if call.columns else None
        return finish(reply, lines)
    from unitsync.text import terminal

    return finish(reply, terminal.folded(reply.out, terminal.stdout()))


def _list(call: "Call", pages: "list[Any]") -> int:
    units = [unit for page in pages for unit in page.units]
    if call.shim:
        from unitsync.coder import output as coder_output

        units = coder_output.registered(units)
        print_err(safe(coder_output.gone(unit.name)) for unit in units if unit.owner_gone)
    if call.as_json:
        from unitsync.output import json_output

        return _json(pages[0], [json_output.unit_fields(unit, shim=call.shim) for unit in units])
    if call.shim:
        return finish(pages[0], map(safe, coder_output.listed(units, call.columns)))
    if not units:
        return finish(pages[0], ["no unit matches" if call.names else "no units yet"])
    from unitsync.output import tables
    from unitsync.text import terminal

    return finish(pages[0], tables.list_table(units, terminal.stdout(), call.columns))


def _why(call: "Call", pages: "list[Any]") -> int:
    from unitsync.output import json_output

    groups = json_output.merged([group for page in pages for group in page.groups])
    tree = pages[0].tree
    if call.as_json:
        fields: object = [json_output.group_fields(group) for group in groups]
        return _json(pages[0], fields if tree is None else json_output.tree_fields(tree))
    from unitsync.output import tables
    from unitsync.text import terminal

    if tree is not None:
        return finish(pages[0], tables.why_tree(tree, terminal.stdout()))
    if all(page.out for page in pages):  # no unit matches
        return finish(pages[0])
    return finish(pages[0], tables.why_groups(groups, terminal.stdout()))


def _hosts(call: "Call", reply: "Any") -> int:
    if call.as_json:
        from unitsync.output import json_output

        return _json(reply, json_output.hosts_fields(reply))
    import os

    from unitsync.output import tables
    from unitsync.text import terminal

    named = os.environ.get("UNITSYNC_JOB", "") if os.environ.get("UNITSYNC_HOSTS") else ""
    return finish(reply, tables.hosts_table(reply, terminal.stdout(), named))


# --- lines ---------------------------------------------------------------------------


def finish(reply: "Any", out: "Iterable[str] | None" = None, *, done: bool = False) -> int:
    """Print the lines of *reply* and return its exit status. *out*, already safe(), replaces
    its lines for stdout.

    If stdout cannot be written to, the exit status is 1. But if the request was *done* or
    granted, the status stays and there is only a warning."""
    if reply.result == "error" and not reply.err:
        from unitsync.errors import from_code

        return report(from_code(reply.code, reply.message, reply.hint, {}))
    print_err(map(safe, reply.err))
    if problem := print_out(map(safe, reply.out) if out is None else out):
        done = done or reply.result == "granted"
        print_err([f"{'warning' if done else 'error'}: {problem}"])
        return int(reply.exit) if done else 1
    return int(reply.exit)


def error_lines(message: str, hint: str) -> list[str]:
    """The lines in which every error is printed."""
    return [f"error: {message}", *([f"hint: {hint}"] if hint else [])]


def report(problem: "Any") -> int:
    """Print *problem*, a UnitsyncError. Returns its exit status."""
    print_err(map(safe, error_lines(problem.message, problem.hint)))
    return int(problem.exit_status)


def report_any(problem: BaseException) -> int:
    """Print any exception in one line, without a traceback. Returns its exit status."""
    if hasattr(problem, "exit_status"):  # a UnitsyncError
        return report(problem)
    if isinstance(problem, KeyboardInterrupt):
        print_err(error_lines("interrupted", ""))
        return 130
    text, hint = " ".join(str(problem).split()), ""
    if isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        text = f"{where}{problem.strerror or problem}"
    elif isinstance(problem, ImportError):  # it was there when this process began
        text = f"unitsync is not installed completely any more: {text}"
        hint = "install it again, and call this verb again"
    else:
        text = f"this is a defect of unitsync: {type(problem).__name__}: {text}"
        hint = "please report it with what you called"
    print_err(map(safe, error_lines(text, hint)))
    return 1


def print_out(lines: "Iterable[str]") -> str:
    """Print *lines* on stdout. Returns why that failed (for example a full disk); "" if it
    succeeded, or if nobody reads stdout any more."""
    try:
        write_lines(sys.stdout, lines)
    except BrokenPipeError:
        silence(1)
    except OSError as problem:
        return _unwritten(problem)
    return ""


def _unwritten(problem: OSError) -> str:
    silence(1)
    return f"cannot write to stdout: {(problem.strerror or str(problem)).lower()}"


def print_err(lines: "Iterable[str]") -> None:
    """Print *lines* on stderr. Never raises, because nobody could be told."""
    try:
        write_lines(sys.stderr, lines)
    except OSError:
        silence(2)


def print_lines(lines: "Iterable[str]") -> bool:
    """Print *lines* on stdout that are not from a reply. Returns False if nobody reads stdout any
    more. Raises UnitsyncError if printing fails."""
    try:
        write_lines(sys.stdout, lines)
    except BrokenPipeError:
        silence(1)
        return False
    except OSError as problem:
        from unitsync.errors import UnitsyncError

        raise UnitsyncError(_unwritten(problem)) from None
    return True
