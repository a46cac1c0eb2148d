"""The throw-away coordinator that users' own tests get."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unitsync import Client, errors
from unitsync.testing import coordinator, throwaway_coordinator

__all__ = ["coordinator"]

pytest_plugins = ["pytester"]


def test_is_there_and_then_gone() -> None:
    with throwaway_coordinator() as address, Client(address) as sync:
        pid = sync.ping().pid
        assert sync.list() == []
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(address.removeprefix("ipc://")).parent.exists()


def test_two_know_nothing_of_each_other() -> None:
    with throwaway_coordinator() as first, throwaway_coordinator() as second:
        with Client(first) as sync:
            sync.want("ide", "clone")
        with Client(second) as sync:
            assert sync.list() == []


def test_takes_nothing_of_the_testers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITSYNC_ALLOW", "no-such-user-here")
    with throwaway_coordinator() as address, Client(address) as sync:
        sync.ping()


def test_takes_options() -> None:
    with (
        pytest.raises(errors.Unreachable, match="no-such-user-here"),
        throwaway_coordinator(["--allow", "no-such-user-here"]),
    ):
        pytest.fail("entered")


def test_is_ended_when_it_was_stopped(coordinator: str) -> None:
    with Client() as sync:
        sync.stop()


def test_the_fixture_of_a_users_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["unitsync.testing"]')
    pytester.makepyfile(
        """
        import os
        from unitsync import Client

        def test_index(coordinator):
            assert os.environ["UNITSYNC_ENDPOINT"] == coordinator
            with Client() as sync:
                assert sync.endpoint == coordinator
                with sync.unit("index"):
                    pass
                assert sync.status("index").status == "completed"

        def test_anew(coordinator):
            with Client() as sync:
                assert sync.list() == []
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert "UNITSYNC_ENDPOINT" not in os.environ
