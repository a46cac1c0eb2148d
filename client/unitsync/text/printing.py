"""Text for people, and lines on stdout and stderr. Clients and the coordinator use it."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

TEXT_BYTES_MAX = 4096
"""Reasons and owners' command lines are cut to this many bytes. A longer id is refused."""
NOTE_CHARS_MAX = 200
"""A note is cut to this many characters."""
RUN_AGAIN_MAX = 300
"""At most so many characters of a command are shown in "run again"."""


def safe(text: str) -> str:
    """*text* on one line. Characters that are not printable become escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else quoted(char)[1:-1]  # as \n, \x1b or \u202e
        for char in text
    )


def one_line(text: str) -> str:
    """*text* on one line, encodable as UTF-8 and within TEXT_BYTES_MAX."""
    line = " ".join(text.split()).encode("utf-8", "replace")
    return line[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def note_line(text: str) -> str:
    """*text* as a note: one line that can be printed, of at most NOTE_CHARS_MAX characters."""
    line = safe(" ".join(text[: 10 * NOTE_CHARS_MAX].split()))
    return line if len(line) <= NOTE_CHARS_MAX else f"{line[: NOTE_CHARS_MAX - 1]}…"


def quoted(text: str) -> str:
    """*text* in quotes and in ASCII, as by ascii(). A byte that is not UTF-8 is ``\\xff``."""
    shown = ascii(text)
    for char in set(text):
        if "\udc80" <= char <= "\udcff":  # PEP 383
            shown = shown.replace(ascii(char)[1:-1], f"\\x{ord(char) - 0xDC00:02x}")
    return shown


def columns(text: str) -> int:
    """How many columns *text* takes on a terminal. ``クローン`` takes eight."""
    if text.isascii():
        return len(text)
    return sum(width for _, width in glyphs(text))


def glyphs(text: str) -> "Iterator[tuple[str, int]]":
    """The characters of *text*, each with its combining characters, and the columns it takes.

    Terminals disagree about some of them, for example Indian vowel signs or skin tones. Then
    it is the larger number, so that no line is wider than counted.
    """
    from unicodedata import category, east_asian_width

    glyph, width = "", 0
    for char in text:
        if char == "\ufe0f":  # asks for a character's emoji, which is wide
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


NAMES_WIDE = 20
"""Columns that names get at most in front of lines of output."""


def padded(text: str, width: int) -> str:
    """*text*, filled up with spaces to *width* columns."""
    return text + " " * (width - columns(text))


def counted(number: int, what: str) -> str:
    """``1 unit``, ``2 units``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def required_status(requires: str) -> str:
    """The status that a requirement asks for, as Coder names it."""
    return "started" if requires == "start" else "completed"


def unregistered(name: str, *, remote: bool = False) -> list[str]:
    """What ``unitsync status`` prints for a unit that nobody has registered; if it is *remote*,
    for one on another host of which nothing is known."""
    unit = f"Unit:    {name}"
    if remote:
        return [unit, "Status:  not heard of yet"]
    return [unit, "Status:  not registered yet", "Ready:   yes", "", "No prerequisites."]


def gave_up(end: str, command: str, missing: str = "", why: str = "") -> str:
    """What became of the last start of a unit.

    *end* says how it ended (UnitInfo.given_up), *missing* what it was waiting for, *why* for what
    reason it was refused, and *command* what to run again. Each but the first may be "" for
    unknown."""
    if end == "refused":
        if len(command) > RUN_AGAIN_MAX:
            command = f"{command[: RUN_AGAIN_MAX - 1]}…"
        text = f"a start by {command or 'an unknown process'} was refused"
        return f"{text}: {why}" if why else text
    text = start_ended(end)
    text += f" waiting for {missing}" if missing else ""
    text += "; nobody waits to start it"
    if len(command) > RUN_AGAIN_MAX:  # a script in an argument, without its line breaks
        return f"{text}; its script has to run again: {command[: RUN_AGAIN_MAX - 1]}…"
    return f"{text}; run again: {command}" if command else text


def start_ended(end: str) -> str:
    """``its start timed out``, ``its start was skipped``: the beginning of gave_up(), unless
    the start was refused."""
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
    """How long a wait took: ``250 ms``, ``1.5 s``, ``40 s``, ``1 min 30 s``. Up to ten minutes
    it is exact to the second or better; beyond that it is what duration() gives."""
    whole = round(seconds, 3)
    if whole < 1:
        return f"{whole * 1000:.0f} ms"
    if whole < 10:
        return f"{round(whole, 2):g} s"
    minutes, rest = divmod(int(whole), 60)
    if 0 < minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    return duration(whole)


SILENT_S = 10.0
"""A host that is not heard of for so long is called silent: three heartbeats are missing."""


def not_heard_of(silent_s: float) -> str:
    """``not heard of for 38 s``; "" if it is not silent."""
    return f"not heard of for {duration(silent_s)}" if silent_s >= SILENT_S else ""


def name_taken(host: str, job: str) -> str:
    return f"another coordinator is host {host} of job {job}"


TIME_MAX = 1e11
"""Unix time, in the year 5138. What is beyond cannot be shown as a time."""
NOT_HEARD_OF = "not heard of yet"
LOG_FULL = "the log is full"
"""What ``standing`` ends with while that is so."""


def job_over(job: str) -> str:
    return f"job {job} has ended"


def reaching(hint: str) -> str:
    """*hint*, with the ``--endpoint`` of this process's command line added to each call of
    ``unitsync`` in it. Without it these calls would reach another coordinator."""
    address = ""
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--":
            break
        if word[:10] == "--endpoint" and word[10:11] in ("", "="):
            address = word[11:] or next(words, "")
    if not address or "unitsync " not in hint:
        return hint
    from unitsync.owner.calling_script import shell_word

    given = f"unitsync --endpoint {shell_word(address)} "
    text, *calls = hint.split("unitsync ")
    quotes = 0
    for call in calls:
        # Text in quotes is an argument of the previous call, and help is the same everywhere.
        # For a shim --endpoint means something else.
        verb = call[:1].islower() and call[:5] != "shim " and "--help" not in call
        verb = verb and "--endpoint" not in call
        apart = not text or text[-1] in " :|&("
        text += (given if verb and apart and not quotes % 2 else "unitsync ") + call
        quotes += call.count("'")
    return text


def write_lines(stream: "TextIO | None", lines: "Iterable[str]") -> None:
    """Write and flush *lines* in the encoding of the locale. If the caller closed the stream
    (None), the lines are dropped. Raises OSError."""
    if stream is None:
        return
    if text := joined(lines):
        if not text.isascii():
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        stream.write(text)
        stream.flush()


def joined(lines: "Iterable[str]") -> str:
    """The text of *lines*. Hints go through reaching()."""
    return "".join(
        f"{safe(reaching(line)) if line[:5] in ('hint:', 'Hint:') else line}\n" for line in lines
    )


def silence(descriptor: int) -> None:
    """Send what is still buffered for *descriptor* to /dev/null: Python would complain at exit."""
    nothing = null()
    os.dup2(nothing, descriptor)
    os.close(nothing)


def null() -> int:
    """A descriptor of /dev/null, or of an empty memory file in a chroot without /dev/null."""
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        return os.memfd_create("null")
