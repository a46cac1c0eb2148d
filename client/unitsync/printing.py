"""Text for people and lines on stdout and stderr, for the express path, the full command
line and the coordinator alike."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

TEXT_BYTES_MAX = 4096
"""Reasons and owner command lines are cut to this many bytes; a longer id is refused."""
RUN_AGAIN_MAX = 300
"""Characters of a command that is shown to be called again."""
_PLAIN = frozenset("%+,-./0123456789:=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
"""What means nothing to a shell; as shlex.quote() has it."""


def safe(text: str) -> str:
    """*text* on one line, with all that is not printable shown as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else quoted(char)[1:-1]  # as \n, \x1b or \u202e
        for char in text
    )


def one_line(text: str) -> str:
    """*text* on one line and within the bound of the wire, encodable as UTF-8."""
    line = " ".join(text.split()).encode("utf-8", "replace")
    return line[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def quoted(text: str) -> str:
    """*text* in quotes and in ASCII, as ascii() has it; a byte that is no UTF-8 as ``\\xff``."""
    shown = ascii(text)
    for char in set(text):
        if "\udc80" <= char <= "\udcff":  # PEP 383
            shown = shown.replace(ascii(char)[1:-1], f"\\x{ord(char) - 0xDC00:02x}")
    return shown


def shell_word(text: str) -> str:
    """*text* as a word that a shell takes for it."""
    if text and _PLAIN.issuperset(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def columns(text: str) -> int:
    """How many columns of a terminal *text* takes: ``クローン`` takes eight."""
    if text.isascii():
        return len(text)
    return sum(width for _, width in glyphs(text))


def glyphs(text: str) -> "Iterator[tuple[str, int]]":
    """The characters of *text*, each with all that stands on it, and the columns it takes.

    Where terminals do not agree, as about the vowel signs of India or the tones of skin, it
    is the larger number: no line is wider than was counted.
    """
    from unicodedata import category, east_asian_width

    glyph, width = "", 0
    for char in text:
        if char == "\ufe0f":  # asks for the picture of a character, which is wide
            glyph, width = glyph + char, min(2, width * 2)
            continue
        stands_on_it = (
            category(char) in ("Mn", "Me", "Cf")
            or "\u1160" <= char <= "\u11ff"  # vowels and final consonants of Korean syllables
            or "\ud7b0" <= char <= "\ud7ff"
        )
        if stands_on_it:
            glyph += char
            continue
        if glyph:
            yield glyph, width
        glyph, width = char, 2 if east_asian_width(char) in "WF" else 1
    if glyph:
        yield glyph, width


def padded(text: str, width: int) -> str:
    """*text*, and as many spaces as make *width* columns of it."""
    return text + " " * (width - columns(text))


def counted(number: int, what: str) -> str:
    """``1 unit``, ``2 units``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def unregistered(name: str) -> list[str]:
    """The text of ``unitsync status`` for a unit that nobody has registered."""
    return [
        f"Unit:    {name}",
        "Status:  not registered yet",
        "Ready:   yes",
        "",
        "No prerequisites.",
    ]


def gave_up(end: str, command: str, missing: str = "") -> str:
    """What became of the last start of a unit, which ended so (UnitInfo.given_up), what was
    *missing* then, and what there is to be run again: *command*; "" for what is not known."""
    if end == "refused":
        return f"a start by {command or 'an unknown process'} was refused"
    text = start_ended(end)
    text += f" waiting for {missing}" if missing else ""
    text += "; nobody waits to start it"
    if len(command) > RUN_AGAIN_MAX:  # a script in an argument, without its line breaks
        return f"{text}; its script has to run again: {command[: RUN_AGAIN_MAX - 1]}…"
    return f"{text}; run again: {command}" if command else text


def start_ended(end: str) -> str:
    """``its start timed out``, ``its start was skipped``: how gave_up() begins, but for one
    that was refused."""
    return f"its start {'' if end == 'timed out' else 'was '}{end}"


def duration(seconds: float) -> str:
    """``4 s``, ``3 min``, ``2 h 5 min``, ``3 d``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{hours // 24} d"


def span(seconds: float) -> str:
    """How long a wait took, from half a second to ten minutes to the second at least:
    ``250 ms``, ``1.5 s``, ``40 s``, ``1 min 30 s``; beyond that as duration() has it."""
    whole = round(seconds, 3)
    if whole < 1:
        return f"{whole * 1000:.0f} ms"
    if whole < 10:
        return f"{round(whole, 2):g} s"
    minutes, rest = divmod(int(whole), 60)
    if 0 < minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    return duration(whole)


def reaching(hint: str) -> str:
    """*hint*, whose calls of ``unitsync`` lead to the coordinator that ``--endpoint`` names
    in the command line of this process, if it does: without it they would reach another."""
    address = ""
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--":
            break
        if word[:10] == "--endpoint" and word[10:11] in ("", "="):
            address = word[11:] or next(words, "")
    if not address or "unitsync " not in hint:
        return hint
    given = f"unitsync --endpoint {shell_word(address)} "
    text, *calls = hint.split("unitsync ")
    quotes = 0
    for call in calls:
        # What is in quotes is a word of the call before, and help is the same everywhere.
        # The endpoint of a shim is another matter.
        verb = call[:1].islower() and call[:5] != "shim " and "--help" not in call
        verb = verb and "--endpoint" not in call
        apart = not text or text[-1] in " :|&("
        text += (given if verb and apart and not quotes % 2 else "unitsync ") + call
        quotes += call.count("'")
    return text


def write_lines(stream: "TextIO | None", lines: "Iterable[str]") -> None:
    """Write and flush *lines*, in whatever encoding the locale gives; hints as reaching() has
    them. A stream that the caller closed (None) takes them all. Raises OSError."""
    if stream is None:
        return
    text = ""
    for line in lines:
        if line[:5] in ("hint:", "Hint:"):
            line = safe(reaching(line))
        text += f"{line}\n"
    if text:
        if not text.isascii():
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        stream.write(text)
        stream.flush()


def silence(descriptor: int) -> None:
    """Let what is still buffered for *descriptor* go nowhere, so that the end of the
    interpreter does not complain about it."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a chroot that somebody made by hand
        null = os.memfd_create("null")
    os.dup2(null, descriptor)
    os.close(null)
