"""Refreshes the parts of the docs that are made from the code.

Usage: ``python docs/generate.py`` (or ``make docs``). What is made stands between
``<!-- begin NAME -->`` and ``<!-- end NAME -->``; tests/docs fails when it is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from unitsyncd.core.diagram import state_diagram

DOCS: Final = Path(__file__).parent


def _mermaid(text: str) -> str:
    return f"```mermaid\n{text}\n```"


BLOCKS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "state-diagram": ("explanation/architecture.md", lambda: _mermaid(state_diagram())),
}
"""Name of the block → the page that it is on, and what makes it."""


def refreshed(page: str, name: str, text: str) -> str:
    """*page* with *text* in its block *name*. Raises ValueError if it has no such block."""
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    result, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} blocks called {name}")
    return result


def main() -> int:
    for name, (page, make) in BLOCKS.items():
        path = DOCS / page
        before = path.read_text(encoding="utf-8")
        after = refreshed(before, name, make())
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"docs/{page}: {name} was stale")
    return 0


if __name__ == "__main__":
    sys.exit(main())
