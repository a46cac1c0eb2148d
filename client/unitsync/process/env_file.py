"""Files of lines ``NAME=value``, for ``run --env-file`` and for plans."""

from io import StringIO


class Problem:
    """What is wrong in *line* of a file."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        self.line = line
        self.message = message
        self.hint = hint


def variables(content: bytes) -> tuple[dict[str, str], list[Problem]]:
    """The variables in *content*, that of an env-file, and what is wrong with it. A name without
    a value says nothing. Nothing is put in for ``$NAME``."""
    from dotenv.parser import parse_stream

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        return {}, [Problem(line, "the env-file is not UTF-8", "save it as UTF-8")]
    values = {}
    found = []
    for binding in parse_stream(StringIO(text)):
        # The parser counts the empty lines before a variable as its own.
        skipped = binding.original.string
        line = binding.original.line + skipped[: len(skipped) - len(skipped.lstrip())].count("\n")
        hint = "lines are NAME=value; a value that has spaces or # is in quotes"
        if binding.error:
            found.append(Problem(line, "this line of the env-file cannot be read", hint))
        elif binding.key is not None and binding.value is not None:
            if "\0" in binding.key + binding.value:
                found.append(Problem(line, "the env-file holds the character NUL"))
            elif "=" in binding.key:
                found.append(Problem(line, "this is no name of a variable", hint))
            values[binding.key] = binding.value
    return values, found
