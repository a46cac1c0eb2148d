"""Each block of Python on the pages about it stands alone: copied into a file, it runs."""

from __future__ import annotations

import pytest

import docpages as pages
from unitsync import Client
from unitsync.testing import throwaway_coordinator

PAGES = ("reference/python-api.md", "reference/events.md", "how-to/python-agent.md")
BLOCKS = [
    pytest.param(block, id=f"{page.rpartition('/')[2]}:{block.line}")
    for page in PAGES
    for block in pages.blocks(pages.DOCS / page)
    if block.language == "python"
]
THEIRS = {"build_index": lambda: None}
"""What the pages say is the reader's own."""


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs_as_it_is(block: pages.Block, monkeypatch: pytest.MonkeyPatch) -> None:
    with throwaway_coordinator() as address:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", address)
        with Client() as sync:
            for done in ("git-clone", "deps", "db", "mirror-a"):
                sync.start(done)
                sync.complete(done)
        names = {"__name__": "block", **THEIRS}
        exec(compile(block.text, f"{block.page}:{block.line}", "exec"), names)
        with Client() as sync:
            sync.reset(all=True)
        for name, value in names.items():
            if name.startswith("test_"):
                value(address)  # type: ignore[operator]


def test_what_is_the_readers_own_is_said_to_be() -> None:
    assert "`build_index()` stands for" in pages.read("how-to/python-agent.md")
    assert len(BLOCKS) > 8
