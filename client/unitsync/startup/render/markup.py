"""What SVG and HTML have in common: escaped text, numbers, and colours for light and dark."""

from collections.abc import Mapping
from typing import Final

from unitsync.startup.render.palette import DARK, LIGHT
from unitsync.text.printing import glyphs, safe

FONT: Final = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, Ubuntu, sans-serif"

_WIDTHS: Final = (("ijlI'|.,:;! ", 0.34), ("ftr-()/[]", 0.42), ("w~+=<>", 0.84), ("mMW@%", 1.0))
_WIDTH: Final = 0.64


def escaped(text: str) -> str:
    """*text* from outside, as the content of an element or of a quoted attribute."""
    text = safe(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About the width of *text* in pixels, rather too much: of the fonts that FONT may come to,
    as wide as DejaVu Sans."""
    ems = 0.0
    for glyph, columns in glyphs(text):
        wide = next((width for letters, width in _WIDTHS if glyph[0] in letters), _WIDTH)
        ems += 0.72 if glyph.isupper() and wide == _WIDTH else wide if columns < 2 else 1.05
    return ems * size * (1.1 if bold else 1.0)


def number(value: float) -> str:
    """*value* with at most two digits behind the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def opening(width: float, height: float, title: str, rules: Mapping[str, Mapping[str, str]]) -> str:
    """The beginning of an SVG with a background. *title* is escaped; *rules* are for style()."""
    size = f'width="{number(width)}" height="{number(height)}"'
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {number(width)} {number(height)}" \
role="img" aria-labelledby="title" font-family="{FONT}" font-size="13">
<title id="title">{title}</title>
<style>{style(rules)}.halo{{stroke-width:6px;stroke-linejoin:round;paint-order:stroke}}</style>
<defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" \
patternTransform="rotate(45)"><path class="stripe" d="M0 0V6" stroke-width="5" \
stroke-opacity=".6"/></pattern></defs>
<rect class="card" x=".5" y=".5" width="{number(width - 1)}" height="{number(height - 1)}" \
rx="10"/>"""


def style(rules: Mapping[str, Mapping[str, str]]) -> str:
    """CSS that gives each selector its colours, by their names in the palette: the light ones,
    and the dark ones where the reader prefers that."""
    return f"{_css(rules, LIGHT)}@media(prefers-color-scheme:dark){{{_css(rules, DARK)}}}"


def _css(rules: Mapping[str, Mapping[str, str]], palette: Mapping[str, str]) -> str:
    return "".join(
        f"{selector}{{{';'.join(f'{name}:{palette[colour]}' for name, colour in values.items())}}}"
        for selector, values in rules.items()
    )
