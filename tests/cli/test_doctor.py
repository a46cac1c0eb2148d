"""``doctor`` as a real process."""

from __future__ import annotations

from cli.conftest import Cli


def test_it_changes_nothing(cli: Cli) -> None:
    """SQLite leaves files beside what it only reads."""
    cli.ok("want", "a", "b")
    for coordinator in ("runs", "was stopped"):
        if coordinator == "was stopped":
            cli.ok("stop")
        before = sorted(path.name for path in (cli.folder / "c").iterdir())
        assert ", of 1 startup or reset" in cli.ok("doctor")
        assert sorted(path.name for path in (cli.folder / "c").iterdir()) == before
