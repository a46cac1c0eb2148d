"""The accessibility checks of axe, in a page that is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from support.browser import Page

AXE: Final = Path(__file__).parents[2] / "build/axe/package/axe.min.js"
needs_axe: Final = pytest.mark.skipif(
    not AXE.exists(), reason="needs axe in build/axe; .ci/run fetches it with npm"
)


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical. It is run from outside: the page's policy allows no other
    script."""
    if page.value("typeof axe") == "undefined":
        page.value(AXE.read_text("utf-8") + ";0")
    found: list[Any] = page.value("axe.run().then((result) => result.violations)")
    return [
        f"{each['id']} ({each['impact']}): {[node['html'] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
