"""Files of lines ``NAME=value``."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from unitsync.plan.mistakes import Found


def variables(path: Path, content: bytes, found: list[Found]) -> dict[str, str]:
    """The variables in *content*, that of the env-file *path*. Mistakes are added to *found*.
    A name without a value says nothing. Nothing is put in for ``$NAME``."""
    from dotenv.parser import parse_stream

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        found.append(Found(path, "the env-file is not UTF-8", "save it as UTF-8", line=line))
        return {}
    values = {}
    for binding in parse_stream(StringIO(text)):
        # The parser counts the empty lines before a variable as its own.
        skipped = binding.original.string
        line = binding.original.line + skipped[: len(skipped) - len(skipped.lstrip())].count("\n")
        hint = "lines are NAME=value; a value that has spaces or # is in quotes"
        if binding.error:
            found.append(Found(path, "this line of the env-file cannot be read", hint, line=line))
        elif binding.key is not None and binding.value is not None:
            if "\0" in binding.key + binding.value:
                message = "the env-file holds the character NUL"
                found.append(Found(path, message, line=line))
            elif not binding.key or "=" in binding.key:
                found.append(Found(path, "this is no name of a variable", hint, line=line))
            values[binding.key] = binding.value
    return values
