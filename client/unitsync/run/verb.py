"""The verb ``run``: a start, its command, and how that ended, in one process.

The command line without typer uses it, so it imports only what the interpreter has already
loaded, and what the flags of a call ask for.
"""

import os
import sys

from unitsync.link.conversation import ACT, ACT_IF_THERE
from unitsync.owner.calling_script import owner_of
from unitsync.run import plain
from unitsync.verb import perform
from unitsync.verb.commandline import as_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from unitsync.verb.commandline import Call, Message


def main(call: "Call") -> int:
    """Perform *call*. Returns the exit status of the command, or of what kept it from running.
    Raises UnitsyncError, and SystemExit if a signal ended the wait."""
    if call.notes:
        perform.print_lines(err=call.notes)
    call.request["owner"] = _owner()
    request, unit = call.request, call.request["unit"]
    masks: list[set[int]] = []
    options = None
    if call.options:
        from unitsync.run.options import Options

        options = Options(call.options)
        if options.probe:
            request["launching"] = True
    granted = perform.converse(
        call.address,
        request,
        call.verb.may,
        call.timeout_s,
        on_granted=lambda: masks.append(plain.hold_signals()),
    )
    if not perform.is_silent(granted):
        from unitsync.output.answers import finish

        status = finish(granted)
        if not masks:
            return status
    inherited = masks[0]

    def tell(verb: str, **more: "Any") -> "Any":
        return _tell(call, granted.epoch, verb, **more)

    if options is None:
        ended = plain.carry_out(
            call.command,
            unit,
            granted.epoch,
            granted.run,
            inherited,
            lambda text: tell("note", text=text, run=granted.run),
        )
        plain.let_signals_go(inherited)
    else:
        from unitsync.run.supervised import SupervisedRun

        supervised = SupervisedRun(call, options, granted, inherited, tell)
        ended = supervised.carry_out()
    why = None if ended.recorded else _record_end(call, granted.epoch, ended.reason)
    if why is not None:
        plain.warn_not_recorded(unit, *why)
    if ended.told:
        perform.print_lines(err=ended.told)
    if options is not None and why != _INTERRUPTED:  # otherwise nobody waits for the output
        supervised.finish()
    return ended.status


def _owner() -> "Message":
    """This process, because it waits for the end of its command."""
    words = as_utf8(sys.argv[1:])
    at = words.index("run")  # an --endpoint may stand before it
    return {**owner_of(os.getpid()), **plain.shown([*words[:at], *words[at + 1 :]])}


def _record_end(call: "Call", epoch: str, reason: str) -> tuple[str, str] | None:
    """Tell the coordinator how the run that was granted under *epoch* ended: completed, or
    failed for *reason*. Returns None, or why it could not be recorded and a hint. Never raises.

    The command's own status counts. If the coordinator cannot be told, or no longer knows the
    run, that is only a warning. If there is no coordinator, one is started, even if it was
    stopped: it still knows the run and would otherwise record it as failed.
    """
    try:
        if reason:
            reply = _tell(call, epoch, "fail", reason=reason)
        else:
            reply = _tell(call, epoch, "complete")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ImportError as problem:
        return f"unitsync is not installed completely any more: {problem}", ""
    except Exception as problem:
        return str(problem), getattr(problem, "hint", "")
    if reply.result == "error":
        return reply.message, reply.hint
    if reply.err:
        perform.print_lines(err=reply.err)
    return None


_INTERRUPTED = ("interrupted", "")


def _tell(call: "Call", epoch: str, verb: str, **more: "Any") -> "Any":
    """The reply to a request with the tag *verb* about the run that was granted under *epoch*.
    Raises as ``converse`` does."""
    lines, may = ("none", ACT_IF_THERE) if verb == "note" else ("text", ACT)
    request = {
        "verb": verb,
        **perform.from_start(call.request),
        "epoch": epoch,
        "render": lines,
        **more,
    }
    return perform.converse(call.address, request, may)
