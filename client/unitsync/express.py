"""The cheap path of the verbs that scripts call.

Starting Python takes 7 ms; loading zmq, msgspec and typer takes ten times that. Here a
verb that commandline.py can read talks to the coordinator without any of them (bare.py).
Exit status and text come ready-made in the reply, so that both paths print the same bytes;
tests/cli runs its cases through both.

Everything else is left to the full command line: tables, help, wrong usage, a
coordinator that is for us to start, a folder or peer that is not ours, an answer that is
not understood, a link that breaks. It then goes on with the same request id
(``resumed``), so that nothing happens twice, and within the same time limit.

Imports nothing but what the interpreter has loaded anyway, and ``_socket``.
"""

import os
import sys
from time import monotonic

from unitsync import surroundings
from unitsync.bare import Link, pack, reach, unpack
from unitsync.commandline import Call, Leave
from unitsync.printing import safe, silence, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeAlias

    Message: TypeAlias = dict[str, Any]

PATIENCE_S = 30
"""wire.WAITING_PATIENCE_S"""
REPLY_SLACK_S = 5
"""session.REPLY_SLACK_S"""
OVERTIME_S = 0.3
"""After the deadline of a wait the full command line asks once more: it has the rest of
session.OVERTIME_S for that, and takes a while to load."""
REQUEST_PATIENCE_S = 60
"""session.REQUEST_PATIENCE_S"""
_WITHDRAW_S = 1
LOST_LINKS_MAX = 2
"""So many links in a row are mended here."""

resumed: "Message | None" = None
"""What the full command line is to go on with: id, epoch, since_run, when it ``began`` on
the monotonic clock, whether its reply is ``overdue``. None before there was a request."""


def main() -> "NoReturn":
    """Run the verb in ``sys.argv`` and end the process with its exit status."""
    try:
        status: int | None = _run(surroundings.as_utf8(sys.argv[1:]))
    except Leave:
        status = None
    except SystemExit as exc:
        status = int(exc.code or 0)
    except KeyboardInterrupt:
        status = _interrupted()
    if status is None:
        try:
            _see_all_packages()
            from unitsync.cli import main as full
        except ImportError as problem:  # it was there when this process began
            _print_err({"err": [f"error: unitsync is not installed completely: {problem}"]})
            os._exit(1)
        full()
    # Nothing is left to be cleaned up, and the interpreter takes its time for it.
    os._exit(status)


def _see_all_packages() -> None:
    """The shim starts Python without the module site, which costs a third of the rest."""
    if sys.flags.no_site:
        import site

        site.main()


def _interrupted() -> int:
    _print_err({"err": ["error: interrupted"]})
    return 130


def _run(words: list[str]) -> int:
    """Raises Leave; SystemExit if a signal has ended it."""
    call = Call(words, os.environ)
    request, timeout_s, address = call.request, call.timeout_s, call.address
    began = _begin(request)
    # Who only looks starts none, so that there is no other's start to be waited for either.
    by = began + (REQUEST_PATIENCE_S if timeout_s is None else timeout_s)
    link = _connect(address, 0 if request["verb"] in ("status", "list", "why") else by)
    request["owner"] = _owner(call, words)
    try:
        if timeout_s is None:
            reply = _ask(link, request, REPLY_SLACK_S)
            if reply.get("code") == "not_kept":
                raise Leave  # which tries again, if that may pass
            if call.as_json and reply["result"] != "error":
                reply["out"] = _json_lines(reply)
            return _finish(reply)
        if not call.command:
            reply = _wait(link, call, began, by)
            if "any" in request and reply["result"] == "ok":
                reply["out"] = reply["units"]
            return _finish(reply)
        from unitsync.command import hold_signals

        masks: list[set[int]] = []
        reply = _wait(link, call, began, by, lambda: masks.append(hold_signals()))
        if not masks:
            return _finish(reply)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise Leave from None
    link.close()
    return _carry_out(call, reply, masks[0])


def _json_lines(reply: "Message") -> list[str]:
    """What *reply* has, for programs. Raises Leave for one of several pages."""
    from unitsync import render

    plain: Any = render.Plain(reply)
    if reply.get("next", -1) != -1:
        raise Leave
    value: object
    match reply["result"]:
        case "status":
            value = render.status_fields(plain.unit)
        case "list":
            value = [render.unit_fields(unit) for unit in plain.units]
        case "why":
            value = render.why_fields(plain)
        case _:
            value = render.pong_fields(plain)
    return render.json_text(value).split("\n")


def _begin(request: "Message") -> float:
    """Name *request*; when it began."""
    global resumed
    began = monotonic()
    request["id"] = os.urandom(8).hex()
    resumed = {"request": request, "began": began, "overdue": False}
    return began


def _owner(call: Call, words: list[str]) -> "Message":
    """For whom it is said: the calling script, or the process that was named; for a ``run``
    this process, as what that waits for is the end of its command."""
    if call.owner_pid is None and not call.command:
        return surroundings.calling_owner(sys.argv)
    fields = surroundings.owner_of(os.getpid() if call.owner_pid is None else call.owner_pid)
    if fields is None:
        raise Leave  # which says so
    if call.command:
        from unitsync.command import shown

        at = words.index("run")  # an --endpoint may stand before it
        fields["command"] = shown([*words[:at], *words[at + 1 :]])
    return fields


# --- the conversation ---------------------------------------------------------------


def _wait(
    link: "Link",
    call: Call,
    began: float,
    deadline: float,
    on_granted: "Callable[[], None]" = lambda: None,
) -> "Message":
    """Ask until there is a final answer, as session.Conversation does. A signal that
    ends the process takes the start back and raises SystemExit, until *on_granted*,
    which is called with a grant, has returned."""
    import _signal  # type: ignore[import-not-found]

    request = call.request
    noticed = -float("inf")
    bad: set[str] = set()
    patience: float = 0
    lost = 0
    for number in (_signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _end)
    try:
        while True:
            now = monotonic()
            request["last"] = now >= deadline
            if request["last"]:
                patience = 0
            request["patience_s"] = patience
            request["waited_s"] = min(now, deadline) - began
            left = max(0, deadline - now)
            try:
                reply = _ask(link, request, min(patience + REPLY_SLACK_S, left + OVERTIME_S))
                lost = 0
            except ConnectionError:
                lost += 1
                if lost > LOST_LINKS_MAX or "epoch" not in request:
                    raise Leave from None
                link.close()
                link = _connect(call.address, deadline)
                continue
            kind = reply["result"]
            if kind not in ("waiting", "ready"):
                if reply.get("code") in ("stopped", "not_kept"):
                    raise Leave
                if kind == "granted":
                    on_granted()
                return reply
            request.setdefault("epoch", reply["epoch"])
            if request["verb"] == "start":
                request.setdefault("since_run", reply.get("run", 0))
            now = monotonic()
            patience = 0
            if kind == "waiting":
                patience = max(0, min(PATIENCE_S, deadline - now))
                before = bad
                bad = {
                    edge["name"]
                    for edge in reply["waiting_for"]
                    if edge.get("owner_gone") or edge["status"] in ("failed", "skipped")
                }
                if noticed + PATIENCE_S - 1 <= now < deadline or not bad <= before:
                    noticed = now
                    _print_err(reply)
                    _print_out(reply)
    except (KeyboardInterrupt, SystemExit) as exc:
        link.close()
        _withdraw(call)
        if isinstance(exc, SystemExit):
            raise
        raise SystemExit(_interrupted()) from None


def _end(number: int, frame: object) -> "NoReturn":
    raise SystemExit(128 + number)


def _withdraw(call: Call) -> None:
    """Take a start back: nothing may be granted to somebody who is gone. By another
    connection, since nobody knows how much went through the one that was interrupted;
    the coordinator heeds it even if it comes before the start."""
    request = call.request
    if request["verb"] != "start":
        return
    back = {
        "verb": "withdraw",
        "id": os.urandom(8).hex(),
        "unit": request["unit"],
        "start_id": request["id"],
        "reason": "interrupted",
        "owner": request["owner"],
    }
    if "startup" in request:
        back["startup"] = request["startup"]
    try:
        _ask(_connect(call.address), back, _WITHDRAW_S)
    except (Leave, OSError, ValueError, KeyError):
        pass  # it is gone as well, or forgets the start by itself


def _carry_out(call: Call, granted: "Message", inherited: "set[int]") -> int:
    """What is left to be done of ``run``, once it was *granted*; its exit status."""
    from unitsync import command

    _finish(granted)
    ended = command.carry_out(call.command, call.request["unit"], inherited)
    command.let_signals_go(inherited)
    _record_end(call, granted["epoch"], ended.reason)
    _print_err({"err": ended.told})
    return ended.status


def _record_end(call: Call, epoch: str, reason: str) -> None:
    """As cli.run.record_end does, which it is left to where the coordinator does not
    simply take note of it."""
    from unitsync.command import warn_not_recorded

    request, unit = call.request, call.request["unit"]
    report: Message = {
        "verb": "fail" if reason else "complete",
        "unit": unit,
        "epoch": epoch,
        "owner": request["owner"],
        "render": "text",
    }
    if reason:
        report["reason"] = reason
    if "startup" in request:
        report["startup"] = request["startup"]
    try:
        began = _begin(report)
        try:
            reply = _ask(_connect(call.address, began + REQUEST_PATIENCE_S), report, REPLY_SLACK_S)
            if reply["result"] == "ok":
                return _print_err(reply)
        except (Leave, OSError, ValueError, KeyError):
            pass
        _see_all_packages()
        surroundings.installed_first()
        from unitsync.cli.run import record_end
        from unitsync.wire import Owner

        record_end(call.address or None, unit, epoch, Owner(**request["owner"]), reason)
    except KeyboardInterrupt:
        warn_not_recorded(unit, "interrupted")
    except ImportError as problem:
        warn_not_recorded(unit, f"unitsync is not installed completely any more: {problem}")


def _finish(reply: "Message") -> int:
    """Print what *reply* brings; its exit status."""
    if reply["result"] == "error" and not reply.get("err"):
        raise Leave
    _print_err(reply)
    status = int(reply.get("exit", 0))
    if why := _print_out(reply):
        done = reply["result"] == "granted" or (reply["result"] == "ok" and not reply.get("units"))
        kind = "warning" if done else "error"
        _print_err({"err": [f"{kind}: cannot write to stdout: {why}"]})
        return status if done else 1
    return status


def _print_out(reply: "Message") -> str:
    """Why stdout takes no more; "" if it did, or if nobody reads it any more."""
    try:
        write_lines(sys.stdout, map(safe, reply.get("out", ())))
    except BrokenPipeError:
        silence(1)
    except OSError as exc:
        silence(1)
        return (exc.strerror or str(exc)).lower()
    return ""


def _print_err(reply: "Message") -> None:
    try:
        write_lines(sys.stderr, map(safe, reply.get("err", ())))
    except OSError:
        silence(2)


# --- ZMTP ---------------------------------------------------------------------------


def _connect(address: str, by: float = 0) -> "Link":
    """As bare.reach(); raises Leave."""
    try:
        return reach(address, by)
    except (OSError, ValueError, ImportError):
        raise Leave from None


def _ask(link: "Link", request: "Message", reply_within_s: float) -> "Message":
    """The reply to *request*. Raises OSError, ValueError, KeyError."""
    try:
        reply = understood(link.ask(pack(request), reply_within_s))
    except TimeoutError:
        if resumed is not None:
            resumed["overdue"] = True
        raise
    if reply["id"] != request["id"]:
        raise ValueError("another one's reply")
    return reply


def understood(frame: bytes) -> "Message":
    """The reply in *frame*. Raises ValueError if it is none that can be printed."""
    try:
        reply, end = unpack(frame, 0)
    except (IndexError, RecursionError, TypeError):
        raise ValueError("not msgpack") from None
    if (
        end != len(frame)
        or type(reply) is not dict
        or type(reply.get("id")) is not str
        or type(reply.get("result")) is not str
        or type(reply.get("exit", 0)) is not int
        or not _are_lines(reply.get("out", []))
        or not _are_lines(reply.get("err", []))
    ):
        raise ValueError("not a reply")
    return reply


def _are_lines(value: object) -> bool:
    return type(value) is list and all(type(line) is str for line in value)
