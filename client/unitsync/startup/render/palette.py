"""The colours of all pictures, for light and dark surroundings, and for terminals.

Text has a contrast of 4.5 or more with the background, and what carries a meaning of 3 or more.
No meaning is told by colour alone: launching is striped, failed has a cross.
"""

from typing import Final

LIGHT: Final = {
    "background": "#ffffff",
    "border": "#d1d9e0",
    "grid": "#e8ecf0",
    "text": "#1f2328",
    "muted": "#59636e",
    "waiting": "#848d97",
    "running": "#4f8fd0",
    "critical": "#d9620a",
    "critical-text": "#b04a00",
    "failed": "#b3143c",
    "skipped": "#8a6fb8",
    "skipped-text": "#7455a8",
    "gate": "#0f8a7e",
}
DARK: Final = {
    "background": "#0d1117",
    "border": "#30363d",
    "grid": "#21262d",
    "text": "#e6edf3",
    "muted": "#9198a1",
    "waiting": "#6e7681",
    "running": "#4b8fd8",
    "critical": "#f08a3c",
    "critical-text": "#f5a05c",
    "failed": "#f85878",
    "skipped": "#a58bd6",
    "skipped-text": "#b79fe3",
    "gate": "#2bb3a3",
}
TINT: Final = {
    "running": "#deebf8",
    "failed": "#fadfe6",
    "skipped": "#ebe4f6",
    "waiting": "#eceff2",
}
"""For each colour of a state, what text in LIGHT["text"] stands on where there is one look only."""
TERMINAL: Final = {
    "muted": "2",
    "heading": "1",
    "waiting": "2",
    "running": "38;5;32",
    "up": "2;38;5;32",
    "critical": "38;5;166",
    "critical-text": "1;38;5;166",
    "completed": "32",
    "failed": "31",
    "skipped": "33",
}
"""The parameters of SGR. Of the 256 colours, so that they are readable on white and on black."""

STATE: Final = {
    "completed": "running",
    "running": "running",
    "launching": "running",
    "up": "running",
    "failed": "failed",
    "waiting": "waiting",
    "pending": "waiting",
    "not registered": "waiting",
    "unknown": "waiting",
}
"""The colour of each state of rows.py and graph.py; that of all others is "skipped"."""


def of_state(state: str) -> str:
    """The name of the colour for a state of rows.py."""
    return STATE.get(state, "skipped")
