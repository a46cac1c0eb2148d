"""What each verb does: events in, a picture, a table or a file out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from unitsync import Client, errors
from unitsync.modules.loading import imported
from unitsync.output.answers import print_err, print_lines
from unitsync.output.json_output import json_text
from unitsync.output.unread import end_when_unread
from unitsync.startup.analysis.blame import blame
from unitsync.startup.analysis.compare import compare
from unitsync.startup.analysis.critical_path import critical_path
from unitsync.startup.analysis.events import Event
from unitsync.startup.analysis.values import CriticalPath, Startup
from unitsync.startup.analysis.what_if import what_if
from unitsync.startup.render import tables
from unitsync.startup.render.events import json_line, text_line
from unitsync.startup.render.lettering import UNITS_MOST
from unitsync.startup.sources import FromCoordinator, FromFile, FromJob, Source, Startups, chosen
from unitsync.text import terminal
from unitsync.text.printing import counted, quoted, safe
from unitsync.verb import commandline
from unitsync.verb.commandline import Call, number


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    perform = _PERFORM.get(call.verb.name)
    if call.verb.name == "trace" and "--follow" in call.flags:
        return _trace_all(call)
    if "--from" in call.flags:
        if "--hosts" in call.flags:
            raise errors.UsageError(
                "--hosts reads the log of the job, and --from a file", hint="leave one of both"
            )
        file = FromFile(call.flags["--from"][-1])
        if perform is None:
            _events_in(call, file)
        else:
            perform(call, file)
        return 0
    if "--hosts" in call.flags:
        _PERFORM[call.verb.name](call, FromJob(call.address))
        return 0
    with Client(call.address or None) as client:
        if perform is None:
            _events_of(call, client)
        else:
            kept = FromCoordinator(client, commandline.startup_of(os.environ))
            perform(call, kept)
            if kept.is_past and "--startup" in call.verb.flags.keys() - call.flags.keys():
                print_err(["unitsync: no unit is registered now; this is the startup before"])
    return 0


# --- events ---------------------------------------------------------------------------


def _events_of(call: Call, client: Client) -> None:
    away: list[str] = []

    def on_away(problem: errors.UnitsyncError) -> None:
        if not away:
            away.append(problem.message)
            print_err([f"unitsync: {problem.message}; waiting for its return"])

    follow = "--follow" in call.flags
    if follow:
        end_when_unread()
    for _ in _printed(call, client.events(since=_since(call), follow=follow, on_away=on_away)):
        away.clear()


def _events_in(call: Call, file: FromFile) -> None:
    if "--follow" in call.flags:
        raise errors.UsageError("--follow: nothing more comes to a file", hint="leave one of both")
    for _ in _printed(call, file.since(_since(call))):
        pass


def _since(call: Call) -> int:
    return number(call.flags["--since"][-1], "--since") if "--since" in call.flags else 0


def _printed(call: Call, events: Iterable[Event]) -> Iterable[Event]:
    line: Callable[[Event], str] = json_line if call.as_json else text_line
    for event in events:
        if not print_lines([line(event)]):
            return
        yield event


# --- one startup ----------------------------------------------------------------------


def _startup(call: Call, source: Startups) -> Startup | None:
    """The startup that is asked for; None, which is said, if there is none at all."""
    if not source.numbers():
        _nothing(call)
        return None
    return source.startup(_number(call, source))


def _number(call: Call, source: Startups) -> int:
    """The number of the startup that is asked for. Raises UsageError."""
    return chosen(source, call.flags.get("--startup", ["0"])[-1], "--startup")


def _nothing(call: Call) -> None:
    print_lines(["null" if call.as_json else "no units yet"])


def _timeline(call: Call, source: Startups) -> None:
    if (startup := _startup(call, source)) is None:
        return
    path = critical_path(startup)
    if _as_json(call, startup):
        return
    if "--output" in call.flags:
        _write(call, _TIMELINES, startup, path)
        return
    from unitsync.startup.render.bars import timeline

    print_lines(timeline(startup, path, terminal.stdout(), _most(call)))


def _critical_path(call: Call, source: Startups) -> None:
    if (startup := _startup(call, source)) is None:
        return
    unit = call.names[0] if call.names else ""
    path = critical_path(startup, unit)
    if not _as_json(call, path):
        heading = f"What decided when {safe(unit)} ended" if unit else "Critical path"
        screen = terminal.stdout()
        in_job = bool(startup.hosts)
        print_lines(tables.critical_path(path, screen, _most(call), heading, in_job=in_job))
        print_lines(tables.remarks(startup, screen))


def _blame(call: Call, source: Startups) -> None:
    if (startup := _startup(call, source)) is None:
        return
    savings = blame(startup)
    if not _as_json(call, savings):
        total = startup.ended - startup.began
        screen = terminal.stdout()
        print_lines(tables.blame(savings, total, screen, _most(call)))
        print_lines(tables.remarks(startup, screen))


def _what_if(call: Call, source: Startups) -> None:
    if (startup := _startup(call, source)) is None:
        return
    forecast = what_if(startup, call.names)
    if not _as_json(call, forecast):
        print_lines(tables.forecast(forecast, terminal.stdout(), _most(call)))


def _graph(call: Call, source: Startups) -> None:
    if (startup := _startup(call, source)) is None:
        return
    path = critical_path(startup)
    if "--output" in call.flags:
        _write(call, _GRAPHS, startup, path)
    else:
        print_lines(_drawn(_GRAPHS[".dot"], startup, path).splitlines())


def _most(call: Call) -> int:
    """How many units to show; 0 means all, as always if it is not a terminal."""
    return UNITS_MOST if "--all" not in call.flags and terminal.stdout().width else 0


def _as_json(call: Call, value: object) -> bool:
    """Whether *value* was asked for as JSON, and printed."""
    if call.as_json:
        print_lines(json_text(msgspec.to_builtins(value)).split("\n"))
    return call.as_json


# --- several startups -----------------------------------------------------------------


def _startups(call: Call, source: Startups) -> None:
    kept = [source.startup(number) for number in source.numbers()]
    if call.as_json:
        print_lines(json_text([_summary(startup) for startup in kept]).split("\n"))
    elif not kept:
        _nothing(call)
    else:
        print_lines(tables.startups(kept, time.time(), terminal.stdout()))


def _summary(startup: Startup) -> dict[str, Any]:
    fields = msgspec.to_builtins(startup)
    return {**fields, "units": len(startup.units)}


def _compare(call: Call, source: Startups) -> None:
    if (now := _startup(call, source)) is None:
        return
    first = _number(call, source)
    text = call.names[0] if call.names else str(first - 1)
    other = chosen(source, text, "compare")
    earlier = (source.startup(each) for each in source.numbers() if each < first)
    comparison = compare(source.startup(other), now, earlier)
    if not _as_json(call, comparison):
        print_lines(tables.comparison(comparison, terminal.stdout(), _most(call)))


def _export(call: Call, source: Source) -> None:
    numbers: Sequence[int] = source.numbers()
    if not numbers:
        raise errors.UsageError(
            "there is nothing to export: no unit was registered yet",
            hint="unitsync startups lists what is kept",
        )
    if "--all" not in call.flags:
        numbers = [_number(call, source)]
    events = (event for each in reversed(numbers) for event in source.events(each))
    (path,) = call.names
    if path == "-":
        print_lines(map(json_line, events))
        return
    try:
        # Command lines, reasons and notes can hold what is not for others.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        hint = ""
        if isinstance(problem, FileExistsError):
            hint = "export only writes new files: choose another name, or remove it first"
        raise errors.UsageError(f"{path}: {problem.strerror}", hint=hint) from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{json_line(event)}\n" for event in events)
    except BaseException as problem:
        os.unlink(path)  # a part of a startup would be read as another startup
        if isinstance(problem, OSError):
            raise errors.UsageError(f"{path}: {problem.strerror}") from None
        raise


def _collector(call: Call) -> str:
    from unitsync.link import collector

    return collector.endpoint(call.flags.get("--otlp", [None])[-1], os.environ)


def _trace_all(call: Call) -> int:
    from unitsync.trace.following import follow

    for flag in ("--startup", "--from"):
        if flag in call.flags:
            raise errors.UsageError(
                f"--follow sends what comes, and {flag} is about one startup",
                hint="leave one of both",
            )
    return follow(call.address, _collector(call))


def _trace(call: Call, source: Source) -> None:
    from unitsync.process.trace_context import trace_id
    from unitsync.trace import otlp
    from unitsync.trace.spans import spans

    url = _collector(call)
    if (startup := _startup(call, source)) is None:
        return
    trace, made = trace_id(startup.epoch), list(spans(startup))
    otlp.send(made, trace, url)
    print_lines([f"sent trace {trace:032x}: {counted(len(made), 'span')}"])


# --- files ----------------------------------------------------------------------------


def _write(call: Call, kinds: Mapping[str, str], startup: Startup, path: CriticalPath) -> None:
    """Write what the ending of the file's name says. Raises UsageError."""
    name = call.flags["--output"][-1]
    ending = os.path.splitext(name)[1].lower()
    if ending not in kinds:
        raise errors.UsageError(
            f"--output: {quoted(name)} does not end in one of {', '.join(kinds)}",
            hint=f"for example unitsync {call.verb.name} -o startup{next(iter(kinds))}",
        )
    text = _drawn(kinds[ending], startup, path)
    try:
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as problem:
        raise errors.UsageError(f"{name}: {problem.strerror}") from None


def _drawn(by: str, startup: Startup, path: CriticalPath) -> str:
    """What the function *by* of the room render/ draws."""
    module, function = by.split(".")
    draw: Callable[[Startup, CriticalPath], str]
    draw = getattr(imported(f"unitsync.startup.render.{module}"), function)
    return draw(startup, path)


_TIMELINES: Final = {".svg": "svg.timeline", ".html": "html.timeline", ".json": "trace.timeline"}
_GRAPHS: Final = {".svg": "graph_svg.graph", ".dot": "graph.dot", ".mmd": "graph.mermaid"}
_PERFORM: Final[dict[str, Callable[[Call, Any], None]]] = {
    "timeline": _timeline,
    "critical-path": _critical_path,
    "blame": _blame,
    "what-if": _what_if,
    "graph": _graph,
    "startups": _startups,
    "compare": _compare,
    "export": _export,
    "trace": _trace,
}
"""Without ``events``, which is not about one startup or another."""
