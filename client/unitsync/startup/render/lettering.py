"""Text on a screen: painted, in the characters that it has, and in the room that there is.

At a terminal no line is wider than the terminal, and names are shortened in the middle. Elsewhere
nothing is shortened. Colours only support what the characters tell.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from unitsync.startup.render.palette import TERMINAL
from unitsync.text.printing import columns, glyphs, padded, safe
from unitsync.text.terminal import Screen, beside, cut

UNITS_MOST: Final = 60
"""How many units are shown if not all are wanted."""
GLUE: Final = "\u00a0"
_NAME_MIN: Final = 4


def painted(text: str, colour: str, screen: Screen) -> str:
    """*text* in one of palette.TERMINAL, "" for none."""
    if not (screen.colour and colour and text.strip(" ")):
        return text
    return f"\x1b[{TERMINAL[colour]}m{text}\x1b[0m"


def plain(text: str, screen: Screen) -> str:
    """*text* in the characters that *screen* has."""
    if not screen.ascii_only:
        return text
    for shown, ascii_text in (("→", "->"), ("…", "..."), (GLUE, " ")):
        text = text.replace(shown, ascii_text)
    return text.encode("ascii", "backslashreplace").decode()


def shortened(text: str, width: int, screen: Screen) -> str:
    """*text* in at most *width* columns: its beginning and its end, which tell it from others."""
    if columns(text) <= width:
        return text
    head = max(1, (width - 1) * 2 // 3)
    tail, used = "", 0
    for glyph, wide in reversed(list(glyphs(text))):
        if used + wide > width - 1 - head:
            break
        tail, used = glyph + tail, used + wide
    return cut(text, head).rstrip(" ") + ("~" if screen.ascii_only else "…") + tail


def name_in(text: str, width: int, screen: Screen) -> str:
    """The name *text* in exactly *width* columns."""
    return padded(shortened(plain(safe(text), screen), width, screen), width)


def names_width(names: Iterable[str], screen: Screen, most: int) -> int:
    """The columns for *names*: at a terminal *most* of them."""
    width = max((columns(plain(safe(name), screen)) for name in names), default=0)
    return min(width, max(_NAME_MIN, most)) if screen.width else width


def folded(text: str, screen: Screen) -> Iterator[str]:
    """The lines of *text*. They are not broken at GLUE, which becomes a space."""
    if screen.ascii_only:
        text = GLUE.join(plain(part, screen) for part in text.split(GLUE))
    for line in beside("", 0, [text], screen.width):
        yield line.replace(GLUE, " ")


def more(left: int, screen: Screen) -> Iterator[str]:
    """Says that *left* more are not shown, if there are any."""
    if left > 0:
        yield from folded(f"and {left:,} more; add --all to see them", screen)
