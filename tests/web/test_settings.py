"""What ``web`` is told."""

from __future__ import annotations

import pytest

from unitsync.errors import UsageError
from unitsync.link.listening import Address
from unitsync.web.settings import Settings, settings_of


def settings(*words: str, **variables: str) -> Settings:
    flags: dict[str, list[str]] = {}
    for word in words:
        name, given, value = word.partition("=")
        flags.setdefault(name, []).extend([value] if given else [])
    return settings_of(flags, variables)


def test_by_default_it_is_this_machine_and_a_token() -> None:
    found = settings()
    assert found.listen == Address(host="127.0.0.1", port=7711)
    assert len(found.token) >= 32
    assert found.token != settings().token
    assert (found.prefix, found.hosts, found.framed_by) == ("", (), ())


def test_the_variables() -> None:
    found = settings(UNITSYNC_WEB="[::1]:80", UNITSYNC_WEB_TOKEN="0123456789abcdef")
    assert found.listen == Address(host="::1", port=80)
    assert found.token == "0123456789abcdef"
    found = settings("--listen=localhost:0", UNITSYNC_WEB="[::1]:80")
    assert found.listen == Address(host="127.0.0.1")
    assert settings(UNITSYNC_WEB="").listen.port == 7711
    assert settings(UNITSYNC_WEB_TOKEN="").token


def test_what_a_proxy_needs() -> None:
    found = settings(
        "--prefix=/user/alice/",
        "--allowed-host=Coder.example.com",
        "--allowed-host=*.apps.example.com",
        "--allowed-host=fd00::1",
        "--framed-by=https://coder.example.com:8443",
    )
    assert found.prefix == "/user/alice"
    assert found.hosts == ("coder.example.com", "*.apps.example.com", "fd00::1")
    assert found.framed_by == ("https://coder.example.com:8443",)
    assert settings("--prefix=/").prefix == ""


@pytest.mark.parametrize("listen", ["127.0.0.9:1", "[::1]:1", "localhost:1", "unix:/a"])
def test_without_a_token_only_where_this_machine_reaches_it(listen: str) -> None:
    assert settings(f"--listen={listen}", "--no-token").token == ""
    assert settings(f"--listen={listen}", "--no-token", UNITSYNC_WEB_TOKEN="a" * 16).token == ""


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.com:1"])
def test_others_never_come_in_without_a_token(listen: str) -> None:
    with pytest.raises(UsageError, match="whoever reaches") as caught:
        settings(f"--listen={listen}", "--no-token")
    assert "127.0.0.1" in caught.value.hint
    assert settings(f"--listen={listen}").token


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--listen=7711", "--listen: '7711': neither"),
        ("--listen=:7711", "neither"),
        ("--listen=localhost:65536", "neither"),
        ("--listen=localhost:0655350", "neither"),
        ("--listen=unix:web.sock", "not the absolute path"),
        ("--prefix=user", "not a path"),
        ("--prefix=/a/../b", "not a path"),
        ("--prefix=/a?b", "not a path"),
        ("--prefix=/a\r\nb", "not a path"),
        ("--prefix=//evil", "not a path"),
        ("--allowed-host=https://coder.example.com", "not the name of a host"),
        ("--allowed-host=coder.example.com:443", "not the name of a host"),
        ("--allowed-host=*", "not the name of a host"),
        ("--allowed-host=a.*.com", "not the name of a host"),
        ("--allowed-host=", "not the name of a host"),
        ("--framed-by=coder.example.com", "not an origin"),
        ("--framed-by=https://a; script-src *", "not an origin"),
        ("--framed-by=https://a/b", "not an origin"),
    ],
)
def test_what_is_none(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        settings(word)
    assert caught.value.hint


@pytest.mark.parametrize("token", ["short", "a" * 201, "a" * 15, "a" * 16 + ";", "ä" * 16])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(UsageError, match="16 to 200 letters") as caught:
        settings(UNITSYNC_WEB_TOKEN=token)
    assert token not in caught.value.message
