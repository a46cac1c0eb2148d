"""A plan from a Procfile: lines of ``NAME: COMMAND``, which all run at the same time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from unitsync.importing.draft import Draft, Place, Unit, Wrong, failed, text_of

_LINE: Final = re.compile(r"([A-Za-z0-9_-]+):\s*(.*\S)\s*")
_PORT: Final = re.compile(r"\$PORT\b|\$\{PORT\b")


def read(path: Path) -> Draft:
    """The plan for the Procfile *path*. Raises PlanError."""
    text = text_of(path)
    draft, wrong = Draft(path, path.parent), Wrong()
    draft.about = [f"The processes of {path.name}. None waits for another: see after."]
    first: dict[str, Place] = {}
    for number, line in enumerate(text.split("\n"), 1):
        place = Place(path, number)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.rstrip("\r"))
        if not found:
            draft.left_out(place, f"this is not NAME: COMMAND: {line.strip()[:60]}")
            continue
        name, command = found[1], found[2]
        if name.startswith("-"):
            draft.left_out(place, f"a unit cannot be called {name}")
            continue
        if name in first:
            wrong.add(
                place, f"there are two processes {name}; the other is in line {first[name].line}"
            )
            continue
        first[name] = place
        unit = Unit(
            name, place, {"run": command, "shell": "/bin/sh"}, [], [place.beside(path.parent)]
        )
        draft.units.append(unit)
        if _PORT.search(command):
            draft.open(place, f"unit {name}: PORT, which foreman and Heroku set")
        if name == "release":
            draft.note(place, "Heroku runs release before the others: name it in their after")
    wrong.stop()
    if not draft.units:
        raise failed(Place(path, 1), "it has no line NAME: COMMAND", "web: python -m http.server")
    if (path.parent / ".env").is_file():
        draft.note(Place(path.parent / ".env", 1), 'foreman reads it too: env-file = ".env"')
    return draft
