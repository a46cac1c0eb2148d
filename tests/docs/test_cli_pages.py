"""Claims of the pages on the command line and its variables that no other test is about."""

from __future__ import annotations

import pytest

from cli.conftest import Cli, cli, shared_cli

__all__ = ["cli", "shared_cli"]


def test_down_without_an_up(cli: Cli) -> None:
    (cli.folder / "plan.toml").write_text('[unit.a]\nrun = "true"\n')
    assert cli.here("down", f"{cli.folder}/plan.toml").err == "nothing is up\n"
    assert cli.here("down", f"{cli.folder}/missing.toml").status == 5
    assert cli("down").status == 2


@pytest.mark.parametrize("words", [("list", "--hosts"), ("what-if",)])
def test_wrong_usage(cli: Cli, words: tuple[str, ...]) -> None:
    """Without a job; without a change."""
    assert cli.here(*words).status == 2


@pytest.mark.usefixtures("shared_cli")
def test_a_unit_that_had_ended_is_not_pending_after_a_timeout(cli: Cli) -> None:
    cli.ok("want", "b")
    cli.here("complete", "b")
    assert cli.here("start", "b", "--after", "a", "--timeout", "10ms").status == 124
    assert '"status": "completed"' in cli.here("status", "b", "-o", "json").out


def test_a_module_called_unitsync_takes_over(cli: Cli) -> None:
    (cli.folder / "unitsync.py").write_text("raise SystemExit(55)\n")
    assert cli("list", env={"PYTHONPATH": str(cli.folder)}).status == 55
