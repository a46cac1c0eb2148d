"""What a verb prints: one place for the wording, for all clients.

Every error is one line ``error: …``, and one line ``hint: …`` if that helps. Text from
outside (command lines, reasons) is made printable first.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from unitsync.errors import CycleError, UnitsyncError
from unitsync.names.patterns import is_pattern
from unitsync.names.remote_names import is_remote
from unitsync.text.printing import (
    NOT_HEARD_OF,
    columns,
    duration,
    gave_up,
    padded,
    safe,
    span,
    unregistered,
)
from unitsync.wire import (
    TEXT_BYTES_MAX,
    Error,
    HistoryEntry,
    OnOwnerExit,
    Owner,
    Prerequisite,
    Render,
    Requirement,
    Reset,
    Start,
    Status,
    UnitInfo,
    Wait,
)

COMMAND_SHOWN: Final = 48
"""Characters shown of a command line."""
WAITED_SAID_S: Final = 10.0
"""After this time, a notice says how long the wait has been."""
SHORT_S: Final = 0.001
"""A shorter wait does not count as one."""
WAITED_MAX_S: Final = 1e9
"""Longer waits are shown as this: a client may have sent infinity."""
EDGES_SHOWN: Final = 100
"""Prerequisites that have a line in the text about one unit."""
STARTS_SHOWN: Final = 20
"""Waiting starts of one unit that have a line in the text about it."""
NAMES_SHOWN: Final = 40
"""Width, in columns, of names that stand below each other."""
CYCLE_SHOWN_MAX: Final = 1000
"""Units of a cycle that are spelled out. Of a longer one, both ends are: half of them each."""

UNSAID: Final = "ended without `complete`"
"""The end of the reason if a unit's script has ended without saying how it went."""
KILLED: Final = "killed before it was granted"
"""The reason of a start whose client is dead."""


def printable(text: str) -> str:
    """*text* as safe() returns it, but with spaces for line breaks and tabs."""
    return safe(text.strip().replace("\n", " ").replace("\t", " "))


def cut(text: str) -> str:
    """*text*, cut to TEXT_BYTES_MAX bytes: no more is kept of text from outside."""
    if len(text) <= TEXT_BYTES_MAX // 4:
        return text
    return text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def who(owner: Owner | None) -> str:
    """``pid 321 (bash clone.sh)``."""
    if owner is None or owner.pid < 1:  # outside of its container
        return "an unknown process"
    command = shortened(printable(owner.command), COMMAND_SHOWN)
    return f"pid {owner.pid}" + (f" ({command})" if command else "")


def lost(owner: Owner) -> str:
    """Why a unit failed if its *owner* has ended without saying how it went. A ``run`` or an
    ``up`` cannot forget its ``complete``, so it has its own text."""
    if by_run(owner) or by_up(owner):
        return f"{who(owner)} was killed or could not record its end"
    return f"its script, {who(owner)}, {UNSAID}"


def running(status: Status, since: float, owner: Owner | None, now: float) -> str:
    """``started 4 s ago by pid 321 (bash clone.sh)``, ``launching for 4 s by …``."""
    passed = duration(now - since)
    when = f"for {passed}" if status is Status.LAUNCHING else f"{passed} ago"
    return f"{status.value} {when} by {who(owner)}"


def standing(shown: Prerequisite | UnitInfo, now: float) -> str:
    """``pending for 3 s: …``, ``failed 2 min ago: …``; as ``running`` says it if it runs."""
    if is_remote(shown.name) and shown.reason and not shown.since:
        return printable(shown.reason)
    passed = duration(now - shown.since)
    why = f": {printable(shown.reason)}" if shown.reason else ""
    match shown.status:
        case Status.NOT_REGISTERED:
            return "not registered yet"
        case Status.UNKNOWN:
            return NOT_HEARD_OF
        case Status.PENDING:
            return f"pending for {passed}{why}"
        case Status.LAUNCHING | Status.STARTED:
            gone = ", which is gone" if shown.owner_gone else ""
            return f"{running(shown.status, shown.since, shown.owner, now)}{gone}"
        case Status.SKIPPED | Status.COMPLETED | Status.FAILED:
            return f"{shown.status.value} {passed} ago{why}"


def prerequisite(edge: Prerequisite, now: float) -> str:
    """The state of the edge, without its name."""
    text = standing(edge, now)
    if is_pattern(edge.name) and not edge.since:
        text = "no unit matches yet" if edge.status is Status.NOT_REGISTERED else "units match"
    if edge.nearest:
        text += f" (did you mean {edge.nearest}?)"
    if edge.requires is not Requirement.SUCCESS:
        text += f", needs its {edge.requires.value}"
    if edge.optional:
        text += ", optional"
    if edge.pattern:
        text += f", matches {edge.pattern}"
    if edge.before:
        text += f", goes before {edge.before}"
    if edge.next_run:
        text += ", came later: counts from the next run"
    return text + noted(edge)


def noted(shown: Prerequisite | UnitInfo) -> str:
    """The note of a unit, as the end of a text about it. "" if it has none."""
    if not shown.note:
        return ""
    note = printable(shown.note)
    if is_remote(shown.name):
        return f"; {note}"
    if shown.status in (Status.LAUNCHING, Status.STARTED):
        return f": {note}"
    return f"; last note: {note}" if shown.status is Status.FAILED else f"; note: {note}"


def prerequisites_inline(edges: Sequence[Prerequisite], total: int, now: float) -> str:
    """``git-clone: started 4 s ago by …; deps: not registered yet; and 3 more``."""
    parts = [f"{edge.name}: {prerequisite(edge, now)}" for edge in edges]
    if total > len(edges):
        parts.append(f"and {total - len(edges):,} more")
    return "; ".join(parts)


def _name_column(edges: Sequence[Prerequisite]) -> int:
    """The width of the names. It is bounded, so one very long name does not push the text of
    all others aside."""
    return min(NAMES_SHOWN, max((columns(edge.name) for edge in edges), default=0))


def waiting(
    subject: str,
    edges: Sequence[Prerequisite],
    total: int,
    now: float,
    waited_s: float,
    *,
    one: bool = False,
) -> list[str]:
    """The notice of a verb that has waited *waited_s*. *subject* is "" for ``wait``. *one*:
    it waits for any one of them."""
    if waited_s >= WAITED_SAID_S:
        waited = span(min(waited_s, WAITED_MAX_S))
        begin = f"{subject} has waited {waited} for" if subject else f"waited {waited} so far for"
    else:
        begin = f"{subject} waits for" if subject else "waiting for"
    begin = f"unitsync: {begin}"
    if total == 1:
        return [f"{begin} {edges[0].name}: {prerequisite(edges[0], now)}"]
    width = _name_column(edges)
    lines = [f"{begin} {'one of ' if one else ''}{total:,} units:"]
    lines += [f"  {padded(edge.name, width)}  {prerequisite(edge, now)}" for edge in edges]
    if total > len(edges):
        lines.append(f"  and {total - len(edges):,} more")
    return lines


def timed_out(request: Start | Wait) -> str:
    waited_s = min(request.waited_s, WAITED_MAX_S)
    return f"timed out after {span(waited_s)}" if waited_s >= SHORT_S else "timed out"


def longer(request: Start | Wait, hint: str) -> str:
    """*hint*. For a command, it also says how to raise the time limit."""
    if request.render is Render.NONE:
        return hint
    return f"{hint}; --timeout 1h waits longer" if hint else "--timeout 1h waits longer"


def did_not_wait(unit: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - EDGES_SHOWN:,} more" if len(names) > EDGES_SHOWN else ""
    return f"{unit} did not wait for {', '.join(names[:EDGES_SHOWN])}{more}"


def is_gate(
    name: str, status: Status, edges: Sequence[Prerequisite], total: int, count: int
) -> str:
    """Why nobody starts or ends the unit: it is a gate."""
    text = f"{name} is a gate: nobody starts or ends it, it completes by itself"
    if status is not Status.PENDING:
        return f"{text}, and it is {status.value}"
    if not edges:
        return f"{text} once it has {'enough ' if count else ''}prerequisites"
    shown = ", ".join(f"{edge.name} ({_in_short(edge)})" for edge in edges)
    more = f" and {total - len(edges):,} more" if total > len(edges) else ""
    among = f"enough of {count:,} among " if count else ""
    return f"{text}; it waits for {among}{shown}{more}"


def _in_short(edge: Prerequisite) -> str:
    nothing = is_pattern(edge.name) and edge.status is Status.NOT_REGISTERED
    return "no unit matches yet" if nothing else edge.status.value


def gate(info: UnitInfo) -> str:
    """When the gate completes, for people."""
    if info.gate_count:
        return f"completes by itself when {info.gate_count:,} of its prerequisites are met"
    return "completes by itself when its prerequisites are met"


def reset_by_force(request: Reset) -> str:
    """The command that resets by force what *request* may not reset."""
    names = "--all" if request.all else shlex.join(dict.fromkeys(request.units))
    return f"unitsync reset {names} --force"


def cycle_error(cycle: list[str]) -> CycleError:
    """*cycle* begins and ends with the same unit."""
    shown, half = cycle, CYCLE_SHOWN_MAX // 2
    if len(cycle) > CYCLE_SHOWN_MAX:
        more = f"({len(cycle) - 2 * half:,} more)"
        shown = [*cycle[:half], more, *cycle[-half:]]
    return CycleError(
        f"cycle: {' → '.join(shown)}",
        hint="each of these would wait for the next; take one edge back: "
        f"unitsync unwant {shlex.join(cycle[-2:])}"
        if len(cycle) > 2
        else "a unit cannot wait for itself",
        cycle=cycle,
    )


def error(problem: UnitsyncError) -> list[str]:
    lines = [f"error: {printable(problem.message)}"]
    if problem.hint:
        lines.append(f"hint: {printable(problem.hint)}")
    return lines


def error_reply(request_id: str, epoch: str, problem: UnitsyncError) -> Error:
    """The reply for *problem*. It always has its lines, because the request may be one that
    could not be read."""
    return Error(
        id=request_id,
        epoch=epoch,
        exit=problem.exit_status,
        err=error(problem),
        code=problem.code,
        message=problem.message,
        hint=problem.hint,
        details=problem.details,
    )


def note(text: str) -> str:
    """A remark on a request that was carried out."""
    return f"unitsync: {printable(text)}"


def left_out(unit: str, names: Sequence[str]) -> str:
    """*names* match a pattern of *unit*."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{unit} does not wait for {', '.join(names[:5])}{more}, which waited for {unit}"


def not_watched(unit: str, owner: Owner) -> str:
    return f"{unit} is not watched: the coordinator cannot tell when {who(owner)} ends"


def status(
    info: UnitInfo, now: float, starts: Sequence[tuple[Owner | None, Sequence[str]]] = ()
) -> list[str]:
    """The text of ``unitsync status UNIT``. *starts* are the waiting starts, if there are
    several: the owner of each, and what it waits for."""
    if is_remote(info.name):
        return _elsewhere(info, now)
    if info.status is Status.NOT_REGISTERED:
        lines = unregistered(info.name)
        if info.nearest:
            lines.insert(3, f"Similar: {info.nearest}")
        return lines
    lines = [f"Unit:    {info.name}", f"Status:  {standing(info, now)}"]
    lines.append(f"Ready:   {'yes' if info.is_ready else 'no'}")
    if info.note:
        lines.insert(2, f"Note:    {printable(info.note)}")
    if info.gate:
        lines[2:] = [f"Gate:    {gate(info)}"]
    runs = info.status in (Status.LAUNCHING, Status.STARTED)
    if runs and info.owner is not None and not info.owner.watched:
        lines.append("Owner:   not watched: the coordinator cannot tell when it ends")
    lines += _end_hint(info)
    if info.waiting_clients:
        lines.append(f"Waiting: {info.waiting_clients:,} to start it")
        for owner, names in starts:
            others = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
            lines.append(f"         {who(owner)}, for {', '.join(names[:5])}{others}")
        if starts and (more := info.waiting_clients - len(starts)) > 0:
            lines.append(f"         and {more:,} more")
    elif info.given_up:
        command = info.given_up_by.command if info.given_up_by is not None else ""
        why = printable(info.given_up_why)
        lines.append(f"Start:   {gave_up(info.given_up, printable(command), why=why)}")
    if info.still_runs and info.owner is not None:
        lines.append(f"Owner:   {who(info.owner)} is still there: its command goes on")
    if info.prerequisites:
        lines += ["", "Prerequisites:"]
        edges = info.prerequisites
        if len(edges) > EDGES_SHOWN:  # those that are not met come first
            edges = sorted(edges, key=lambda edge: edge.met)[:EDGES_SHOWN]
        width = _name_column(edges)
        for edge in edges:
            met = "met" if edge.met else "not met"
            lines.append(f"  {padded(edge.name, width)}  {met:<7}  {prerequisite(edge, now)}")
        if (more := info.prerequisites_total - len(edges)) > 0:
            lines.append(f"  and {more:,} more")
    else:
        lines += ["", "No prerequisites."]
    if info.history:
        lines += ["", "History:", *(_history(entry, now) for entry in info.history)]
    return lines


def _elsewhere(info: UnitInfo, now: float) -> list[str]:
    """The same for a unit on other hosts."""
    lines = [f"Unit:    {info.name}", f"Status:  {standing(info, now)}{noted(info)}"]
    width = _name_column(info.prerequisites)
    lines += [
        f"  {padded(one.name, width)}  {prerequisite(one, now)}" for one in info.prerequisites
    ]
    if (more := info.prerequisites_total - len(info.prerequisites)) > 0:
        lines.append(f"  and {more:,} more")
    return lines


def _end_hint(info: UnitInfo) -> list[str]:
    """What to do if the script of the unit has ended without saying how it went."""
    name = shlex.quote(info.name)
    if info.status is Status.FAILED and info.reason.endswith(UNSAID):
        return [
            f"Hint:    let run report how it ends: unitsync run {name} -- COMMAND",
            "         or set the traps that unitsync complete --help shows;",
            "         if it may end like that, start it with --on-owner-exit complete",
        ]
    if info.owner_gone and info.on_owner_exit is OnOwnerExit.WARN:
        return [f"Hint:    say how it went: unitsync complete {name}, or unitsync fail {name}"]
    return []


def by_run(owner: Owner | None) -> bool:
    """Whether the owner is a ``run``. A ``run`` reports how it went, unless it is killed."""
    return owner is not None and owner.command.startswith("unitsync run ")


def by_up(owner: Owner | None) -> bool:
    """Whether the owner is an ``up``, which has many commands."""
    return owner is not None and f"{owner.command} ".startswith("unitsync up ")


def _history(entry: HistoryEntry, now: float) -> str:
    text = f"  {duration(now - entry.at) + ' ago':>12}  {entry.what}"
    if entry.run:
        text += f", run {entry.run}"
    if entry.owner is not None:
        text += f", by {who(entry.owner)}"
    if entry.reason:
        text += f": {printable(entry.reason)}"
    return text
