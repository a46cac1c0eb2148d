"""What a terminal shows of a text with control sequences."""

from __future__ import annotations

import re


def screen(text: str) -> str:
    """What is left on the screen: a display that draws itself anew does it in the same place."""
    rows, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\n":
            row, column = row + 1, 0
            rows += [""] * (row == len(rows))
        elif piece == "\r":
            column = 0
        elif piece.endswith("A"):
            row -= int(piece[2:-1] or 1)
        elif piece == "\x1b[2K":
            rows[row] = ""
        elif piece[0] != "\x1b":
            rows[row] = rows[row][:column].ljust(column) + piece
            column += len(piece)
    return "\n".join(rows)
