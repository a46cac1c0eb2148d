"""The verb ``watch``."""

from __future__ import annotations

import codecs
import locale
import os
import sys

from unitsync import AsyncClient, Client, errors
from unitsync.errors import not_installed
from unitsync.names.patterns import any_matcher
from unitsync.output.answers import print_lines
from unitsync.output.unread import end_when_unread
from unitsync.startup.analysis.events import first_event
from unitsync.startup.render.events import text_line
from unitsync.verb.commandline import Call


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    names = list(dict.fromkeys(call.names))
    any_matcher(names)
    if not at_terminal():
        return _lines(call, names)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise errors.UnitsyncError(
            "this terminal cannot move its cursor (TERM is dumb, or not set)",
            hint="unitsync events --follow prints what happens in lines",
        )
    try:
        from unitsync.watch.app import Watch
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "textual":
            raise
        raise not_installed("watch draws", "textual", "watch") from None
    for name in ("COLUMNS", "LINES"):  # Textual would not ask the terminal, and it can be resized
        os.environ.pop(name, None)
    # It only looks: it begins no state, and does not undo a stop.
    client = AsyncClient(call.address or None, autostart=False, startup="")
    watch = Watch(client, names, encoding())
    status = watch.run(mouse=False)  # the terminal's own selection goes on working
    if watch.problem is not None:
        raise watch.problem
    return watch.return_code or 0 if status is None else status


def at_terminal() -> bool:
    """Whether keys can be read and lines be drawn: Textual draws on stderr."""
    return all(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    )


def encoding() -> str:
    """What the terminal can show. Python itself writes UTF-8 in the C locale too."""
    of_locale = locale.nl_langinfo(locale.CODESET)
    if of_locale.upper() == "UTF-8":
        return sys.stderr.encoding
    try:
        return codecs.lookup(of_locale).name
    except LookupError:
        return "ascii"


def _lines(call: Call, names: list[str]) -> int:
    """What happens in this startup, as lines, until Ctrl-C or until nobody reads them."""
    match = any_matcher(names or ["*"])
    with Client(call.address or None, autostart=False, startup="") as client:
        epochs = client.startups().epochs
        since = first_event(epochs[-1]) - 1 if epochs else 0
        end_when_unread()
        for event in client.events(since=since, follow=True):
            if (not event.unit or match(event.unit)) and not print_lines([text_line(event)]):
                break
    return 0
