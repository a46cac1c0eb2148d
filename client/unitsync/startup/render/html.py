"""The timeline as a page to look around in: one file that loads nothing, or a page that a server
feeds again and again. The same script draws both.

Its policy allows only its own style and script, by their hashes. What comes from outside is data
that no browser runs, and the script writes it as text.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import msgspec

from unitsync.names.remote_names import is_remote
from unitsync.startup.analysis.values import Comparison, CriticalPath, Edge, Span, Startup
from unitsync.startup.render.markup import escaped
from unitsync.startup.render.palette import DARK, LIGHT
from unitsync.startup.render.rows import (
    WORDS,
    Part,
    Row,
    label,
    links,
    rows,
    summed_up,
    title,
    width_s,
)
from unitsync.startup.render.tables import NONE_DIFFERS, cells, noise_last, verdict
from unitsync.startup.render.times import took
from unitsync.text.printing import columns, safe

_PAGE: Final = Path(__file__).parent / "page"
_MORE_COLOURS: Final = {
    "light": {"control": "#868f99", "focus": "#0969da", "hover": "#f1f3f6"},
    "dark": {"control": "#6b737c", "focus": "#58a6ff", "hover": "#161b22"},
}


def timeline(startup: Startup, path: CriticalPath) -> str:
    """The page in one file. It holds all units."""
    data = page_data(startup, path)
    return _page(
        style := _palette() + _texts("page.css"),
        script := _texts("page.js"),
        policy=_policy(style, script),
        title=escaped(data["title"]),
        summary=escaped("; ".join((data["summary"], *data["notes"]))),
        data=msgspec.json.encode(data).decode().replace("<", "\\u003c"),
    )


def live_page() -> str:
    """The page without data. Its script asks for them beside the page, and again when they have
    changed. It loads nothing else."""
    return _page(
        *_live(), policy=live_policy(), live=_texts("live.html"), title="Startup", data="null"
    )


def live_policy() -> str:
    """The Content-Security-Policy of live_page(), also for its header."""
    return _policy(*_live(), "connect-src 'self'; ")


def _live() -> tuple[str, str]:
    return _palette() + _texts("page.css", "live.css"), _texts("page.js", "live.js", "unit.js")


def page_data(startup: Startup, path: CriticalPath, seq: int = 0) -> dict[str, Any]:
    """What the script of the page draws. *seq* is the number of the last event that is in it."""
    made = rows(startup, path)
    places = {row.name: place for place, row in enumerate(made)}
    return {
        "startup": startup.epoch,
        "seq": seq,
        "over": startup.over,
        "title": safe(title(startup, path)),
        "summary": summed_up(made),
        "notes": [safe(note) for note in startup.notes],
        "width": width_s(made, startup),
        "links": [
            (places[link.before], places[link.after], link.at)
            for link in links(path, startup.began)
            if link.before in places and link.after in places
        ],
        "units": [_unit(row, startup, places) for row in made],
    }


def page_comparison(compared: Comparison) -> dict[str, Any]:
    """What the script of the page makes a table of."""
    changes = noise_last(compared)
    return {
        "verdict": verdict(compared),
        "changes": [
            {"kind": "noise" if change.is_noise else change.kind, "cells": cells(change)}
            for change in changes
        ],
        "notes": [*([] if changes else [NONE_DIFFERS]), *map(safe, compared.notes)],
    }


def _page(style: str, script: str, **values: str) -> str:
    values |= {"style": style, "script": script}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values.get(found[1], ""), _texts("page.html"))


def _texts(*files: str) -> str:
    return "".join((_PAGE / file).read_text("utf-8") for file in files)


def _policy(style: str, script: str, more: str = "") -> str:
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"{more}base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _palette() -> str:
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in {**palette, **more}.items())
        for palette, more in ((LIGHT, _MORE_COLOURS["light"]), (DARK, _MORE_COLOURS["dark"]))
    )
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _unit(row: Row, startup: Startup, places: dict[str, int]) -> dict[str, Any]:
    last = next((span for span in reversed(row.unit.spans) if span.counts), None)
    edges = row.unit.edges if last is None else last.edges
    text, colour = label(row)
    state = WORDS.get(row.state, row.state)
    spoken = f"{state}, waited {took(row.waited_s)}, took {took(row.own_s)}"
    busy = [part.ended for part in row.parts if part.kind != "up"]
    return {
        "name": safe(row.name),
        "shown": safe(row.shown),
        "host": safe(row.host),
        "columns": columns(safe(row.shown)),
        "state": state,
        "spoken": spoken + (", critical path" if row.critical else ""),
        "critical": row.critical,
        "gate": row.ended if row.unit.gate and row.state == "completed" else -1,
        "parts": [(part.kind, part.began, part.ended, _tone(part)) for part in row.parts],
        "retries": row.retries,
        "label": text,
        "labelAt": busy[-1] if busy else row.ended,
        "tone": colour.removesuffix("-text"),
        "facts": _facts(row, startup, last),
        "edges": [_edge(edge, startup, places) for edge in edges],
    }


def _tone(part: Part) -> str:
    """The class that gives a part its colour."""
    if part.kind in ("waiting", "up"):
        return ""
    return "failed" if part.failed else "critical" if part.critical else ""


def _facts(row: Row, startup: Startup, last: Span | None) -> list[tuple[str, str]]:
    found = []
    if last is not None:
        found.append(("asked", f"at {took(last.asked - startup.began)}"))
    if row.waited_s:
        found.append(("waited", took(row.waited_s)))
    for kind, word in (("launching", "launched in"), ("running", "ran")):
        lasted = sum(part.lasted_s for part in row.parts if part.kind == kind)
        if any(part.kind == kind for part in row.parts):
            found.append((word, took(lasted)))
    if last is not None and last.retries:
        found.append(("tried again", f"{len(last.retries):,} times"))
    if row.unit.gate:
        needs = f"needs {row.unit.gate_count:,} of them" if row.unit.gate_count else "needs all"
        found.append(("gate", needs))
    if row.reason:
        found.append(("reason", safe(row.reason)))
    if row.unit.note:
        found.append(("note", safe(row.unit.note)))
    return found


def _edge(edge: Edge, startup: Startup, places: dict[str, int]) -> dict[str, Any]:
    place = places.get(edge.prerequisite, -1)
    words = "" if place >= 0 else safe(edge.prerequisite or edge.pattern)
    if edge.requires != "success":
        words += f", its {edge.requires}"
    if edge.optional:
        words += ", if it is there"
    if edge.pattern and edge.prerequisite:
        how = "is one of" if is_remote(edge.pattern) else "matches"
        words += f", as it {how} {safe(edge.pattern)}"
    met = None if edge.met is None else edge.met - startup.began
    words += ": not met" if met is None and not edge.optional else ""
    words += f": met at {took(met)}" if met is not None else ""
    return {"unit": place, "text": words, "met": met}
