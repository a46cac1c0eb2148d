"""What a type checker, an editor and ``help`` see of the clients."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from unitsync import AsyncClient, Client

PROGRAM = """\
from unitsync import AsyncClient, Client

sync, later = Client(), AsyncClient()
reveal_type(sync.start("ide", after=["clone"]).run)
reveal_type(sync.wait("ide"))
reveal_type(sync.list())
with sync.unit("ide", timeout_s=None) as granted:
    reveal_type(granted.run)
for event in sync.events(follow=True):
    reveal_type(event)


async def main() -> None:
    reveal_type((await later.start("ide")).run)
    async with later.unit("ide") as granted:
        reveal_type(granted.run)
    async for event in later.events(since=7):
        reveal_type(event)
    later.start("ide").run
    with later.unit("ide"):
        pass


sync.start(5)
sync.start("ide", aftr=[])
sync.unit("ide", wait=False)
"""
EVENT = "unitsync.startup.analysis.events.Event"
SEEN = (
    *('4: note: Revealed type is "int"', '5: note: Revealed type is "list[str]"'),
    '6: note: Revealed type is "list[unitsync.wire.units.UnitInfo]"',
    *('8: note: Revealed type is "int"', f'10: note: Revealed type is "{EVENT}"'),
    *('14: note: Revealed type is "int"', '16: note: Revealed type is "int"'),
    *(f'18: note: Revealed type is "{EVENT}"', '19: error: "Coroutine'),
    *('20: error: "AsyncUnitBlock" has no attribute', "24: error: Argument 1"),
    *("25: error: Unexpected keyword", "26: error: Unexpected keyword"),
)


def test_a_type_checker_knows_the_verbs_of_both(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    cache = Path(__file__).parents[2] / ".mypy_cache"
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={cache}",
            program,
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    for seen in SEEN:
        assert f"program.py:{seen}" in checked.stdout, checked.stdout


VERBS = [name for name in vars(Client) if not name.startswith("_") and name != "close"]


@pytest.mark.parametrize("name", VERBS)
def test_help_says_the_same_of_both(name: str) -> None:
    one, other = getattr(Client, name), getattr(AsyncClient, name)
    assert one.__doc__
    assert inspect.getdoc(one) == inspect.getdoc(other)
    assert inspect.signature(one).parameters == inspect.signature(other).parameters
    assert inspect.iscoroutinefunction(other) is (name not in ("unit", "events"))
    assert not inspect.iscoroutinefunction(one)


def test_a_block_is_shown_as_what_it_is() -> None:
    shown = [inspect.signature(kind.unit).return_annotation for kind in (Client, AsyncClient)]
    assert shown == ["UnitBlock", "AsyncUnitBlock"]
