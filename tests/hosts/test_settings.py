"""What a coordinator is told about its job."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unitsync.errors import UsageError
from unitsync.names.remote_names import check_host
from unitsyncd.hosts import settings as settings_module
from unitsyncd.hosts.settings import GRACE_S, HostsSettings, address, hosts_settings, own_name

SERVED = {"UNITSYNC_HOSTS": "nats://a:4222, tls://b", "UNITSYNC_JOB": "train-7"}


def options(**given: Any) -> Any:
    nothing = dict.fromkeys(("hosts", "job", "host", "hosts_expected", "on_host_lost"))
    return SimpleNamespace(**{**nothing, "take_over": False, **given})


def settings(environment: dict[str, str], **given: Any) -> HostsSettings:
    found = hosts_settings(options(**given), environment)
    assert found is not None
    return found


def test_alone() -> None:
    assert hosts_settings(options(), {}) is None
    assert hosts_settings(options(), {"UNITSYNC_JOB": "train"}) is None


def test_by_environment() -> None:
    assert settings(SERVED) == HostsSettings(
        servers=["nats://a:4222", "tls://b"], job="train-7", host=own_name()
    )
    more = {"UNITSYNC_HOST": "n1", "UNITSYNC_HOSTS_EXPECTED": "8", "UNITSYNC_ON_HOST_LOST": "fail"}
    found = settings(SERVED | more)
    assert (found.host, found.expected) == ("n1", 8)
    assert (found.fail_when_lost, found.grace_s) == (True, GRACE_S)


def test_another_api_prefix() -> None:
    assert settings(SERVED).api_prefix == "$JS.API"
    found = settings(SERVED | {"UNITSYNC_HOSTS_API_PREFIX": "us.train-7.api"})
    assert found.api_prefix == "us.train-7.api"
    for wrong in ("us.*", "a b", "us.>", "us."):
        with pytest.raises(UsageError, match="UNITSYNC_HOSTS_API_PREFIX"):
            settings(SERVED | {"UNITSYNC_HOSTS_API_PREFIX": wrong})


def test_options_come_first() -> None:
    found = settings(
        SERVED | {"UNITSYNC_HOST": "n1", "UNITSYNC_HOSTS_EXPECTED": "8"},
        hosts="c",
        job="other",
        host="n2",
        hosts_expected="3",
        take_over=True,
        on_host_lost="fail:2m",
    )
    assert found == HostsSettings(
        servers=["c"],
        job="other",
        host="n2",
        expected=3,
        take_over=True,
        fail_when_lost=True,
        grace_s=120.0,
    )


@pytest.mark.parametrize(
    ("environment", "given", "says"),
    [
        ({}, {"job": "train"}, "needs the servers"),
        ({}, {"hosts": "a"}, "needs the name of their job"),
        (SERVED, {"job": "a b"}, "'a b' is not the name of a job"),
        (SERVED, {"host": "a.b"}, "'a.b' is not the name of a host"),
        (SERVED, {"hosts": "http://a"}, "http://a is not the URL"),
        (SERVED, {"hosts": "nats://u:secret@a:x"}, "nats://a:x is not the URL"),
        (SERVED, {"hosts": "nats://sec/ret=@a:1"}, "nats://a:1 is not the URL"),
        (SERVED, {"hosts": "nats://@a:1"}, "nats://a:1 is not the URL"),
        (SERVED, {"hosts_expected": "0"}, "1 to 1,000 hosts, not 0"),
        (SERVED, {"hosts_expected": "x"}, "1 to 1,000 hosts, not x"),
        (SERVED | {"UNITSYNC_HOSTS_EXPECTED": "many"}, {}, "not many"),
        (SERVED, {"on_host_lost": "wait:3s"}, "not wait:3s"),
        (SERVED, {"on_host_lost": "fail:none"}, "not fail:none"),
        (SERVED | {"UNITSYNC_HOSTS_CREDS": "/nowhere"}, {}, "/nowhere cannot be read"),
        (SERVED | {"UNITSYNC_HOSTS_TLS_CA": "/dev/null"}, {}, "TLS files"),
    ],
)
def test_what_is_wrong(environment: dict[str, str], given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        hosts_settings(options(**given), environment)
    assert caught.value.hint or given == {"job": "a b"}


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="nats-py") as caught:
        settings(SERVED)
    assert "'.[hosts]'" in caught.value.hint


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    found = settings(SERVED | {"UNITSYNC_HOSTS": "nats://me:secret@a:1 nats://token@b c"})
    assert found.addresses == "nats://a:1, nats://b, nats://c"
    assert address("tls://b:2") == "tls://b:2"


def test_files_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node.creds").touch()
    monkeypatch.chdir(tmp_path)
    found = settings(SERVED | {"UNITSYNC_HOSTS_CREDS": "node.creds"})
    assert found.credentials == str(tmp_path / "node.creds")


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("node-1.cluster.local", "node-1"),
        ("büro", "b-ro"),
        ("-x", "x"),
        ("", "localhost"),
        ("n" * 64, "n" * 63),
    ],
)
def test_the_name_of_the_machine(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(settings_module.socket, "gethostname", lambda: machine)
    assert own_name() == name
    check_host(name)
