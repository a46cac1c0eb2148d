"""The page on files has every file that a coordinator leaves or makes."""

from __future__ import annotations

import re
from pathlib import Path

import docpages as pages
from unitsync import Client
from unitsync.testing import coordinator

__all__ = ["coordinator"]


def described() -> set[str]:
    return {
        name
        for row in pages.rows(pages.read("reference/files.md"))
        for name in pages.code(row[0])
        if not name.startswith("-")
    }


def test_each_file_is_on_the_page(coordinator: str) -> None:
    folder = Path(coordinator.removeprefix("ipc://")).parent
    with Client() as client:
        client.want("ide", "clone")
        while_it_runs = {path.name for path in folder.iterdir()}
        client.stop()
    afterwards = {path.name for path in folder.iterdir()}
    assert {"coordinator.sock", "journal.db", "journal.db.mark"} <= while_it_runs
    assert {"stopped", "stops"} <= afterwards
    assert (while_it_runs | afterwards) <= described()


def test_names_in_the_sources_are_on_the_page() -> None:
    sources = [
        *pages.ROOT.glob("coordinator/unitsyncd/**/*.py"),
        *pages.ROOT.glob("client/unitsync/link/*.py"),
    ]
    text = "".join(path.read_text() for path in sources)
    names = set(re.findall(r'^\w*(?:_NAME|_FILE): Final = "([a-z.]+)"$', text, re.MULTILINE))
    assert len(names) > 4
    assert names <= described()
