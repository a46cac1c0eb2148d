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


def test_the_folder_may_have_any_name(cli: Cli) -> None:
    folder = cli.folder / "a #b?c%41[1]"
    place = {"UNITSYNC_ENDPOINT": f"ipc://{folder}/s"}
    assert cli("want", "a", "b", env=place).status == 0
    try:
        told = cli("doctor", env=place)
        assert " MB, of 1 startup or reset" in told.out, told
    finally:
        assert cli("stop", env=place).status == 0
