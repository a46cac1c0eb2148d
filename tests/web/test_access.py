"""Who may ask, and who may not: each breach over a real connection."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from unitsync.errors import NotPermitted
from unitsync.link.listening import Address
from unitsync.testing import throwaway_coordinator
from unitsync.web.access import Access
from web.conftest import Web, serving

PATHS = ("", "startup.json", "startups.json", "compare.json", "unit.json", "changes")
SCRIPT = "<script>alert(1)</script>"
BY_LINK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with throwaway_coordinator() as address:
        yield address


@pytest.fixture(scope="module")
def web(address: str) -> Iterator[Web]:
    names = ("--allowed-host", "coder.example.com", "--allowed-host", "*.apps.example.com")
    with serving(address, *names) as web:
        yield web


def test_the_link_gives_the_browser_a_cookie(web: Web) -> None:
    answer = web.ask(f"?{web.url.query}", Cookie="")
    assert answer.status == 303
    assert answer.headers["Location"] == "./"  # that address has no token
    cookie, *more = answer.headers["Set-Cookie"].split("; ")
    assert cookie == f"unitsync-web-{web.url.port}={web.token}"
    # Without a path it is for where the browser sees the page, also behind a proxy.
    assert sorted(word.lower() for word in more) == ["httponly", "samesite=strict"]
    assert web.ask(Cookie=cookie).status == 200


@pytest.mark.parametrize(
    ("proto", "secure"),
    [("https", True), ("HTTPS, http", True), ("http", False), ("http, https", False), ("", False)],
)
def test_a_cookie_that_came_by_https_stays_there(web: Web, proto: str, secure: bool) -> None:
    answer = web.ask(f"?{web.url.query}", Cookie="", X_Forwarded_Proto=proto)
    assert ("Secure" in answer.headers["Set-Cookie"].split("; ")) is secure


@pytest.mark.parametrize("path", [path for path in PATHS if path != "changes"])
def test_a_bearer_is_as_good(web: Web, path: str) -> None:
    assert web.ask(path, Cookie="", Authorization=f"bearer {web.token}").status != 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Cookie", ""),
        ("Cookie", "unitsync-web-1={token}"),
        ("Cookie", "{cookie}="),
        ("Cookie", "{cookie}={token}x"),
        ("Cookie", "{cookie}=" + "x" * 32),
        ("Cookie", "x{cookie}={token}"),
        ("Authorization", "Basic {token}"),
        ("Authorization", "{token}"),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer é"),
    ],
)
def test_without_the_token(web: Web, path: str, kind: str, value: str) -> None:
    value = value.format(cookie=web.cookie, token=web.token)
    answer = web.ask(path, **{"Cookie": "", kind: value})
    assert answer.status == 403
    assert b"open the link" in answer.body
    assert web.token.encode() not in answer.body


@pytest.mark.parametrize("query", ["?token=x", "?token=", "?token={token}x", "?token=%ff%00"])
def test_a_wrong_link(web: Web, query: str) -> None:
    answer = web.ask(query.format(token=web.token), Cookie="")
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", [path for path in PATHS if path])
def test_the_token_in_the_address_is_only_for_the_page(web: Web, path: str) -> None:
    assert web.ask(f"{path}?token={web.token}", Cookie="").status == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil"),
        *("127.0.0.1@evil.example", "evil.example#127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"),
        *("192.0.2.1", "0.0.0.0", "apps.example.com", "xapps.example.com"),
        *("coder.example.com.evil.example", "x.coder.example.com", "127.0.0.1, evil.example"),
        *("[::1", "[::2]", "a b", SCRIPT, "127.0.0.1/evil.example", "evil.example@127.0.0.1"),
        "127.0.0.1#evil.example",
    ],
)
def test_other_names(web: Web, path: str, host: str) -> None:
    answer = web.ask(path, Host=host.format(port=web.url.port))
    assert answer.status == 403
    assert b"does not go by the name" in answer.body
    assert b"--allowed-host" in answer.body
    assert answer.headers["Content-Type"].partition(";")[0] in ("application/json", "text/plain")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:{port}", "LOCALHOST:{port}", "[::1]:1", "127.8.8.8"),
        *("coder.example.com", "Coder.example.com:443", "web--main--alice.apps.example.com"),
    ],
)
def test_names_that_are_ours(web: Web, host: str) -> None:
    assert web.ask("startups.json", Host=host.format(port=web.url.port)).status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1", "evil"),
        *("http://localhost:{port}", "https://coder.example.com.evil.example", "file://", SCRIPT),
        "https://coder.example.com@evil.example",
    ],
)
def test_pages_of_others(web: Web, path: str, origin: str) -> None:
    answer = web.ask(path, Origin=origin.format(port=web.url.port))
    assert answer.status == 403
    assert b"may not ask" in answer.body


def test_our_own_page_says_so(web: Web) -> None:
    assert web.ask("startups.json", Origin=f"http://127.0.0.1:{web.url.port}").status == 200
    proxied = "https://coder.example.com"
    assert web.ask("startups.json", Origin=proxied).status == 200
    assert web.ask("startups.json", Origin=proxied, Host="coder.example.com").status == 200
    assert web.ask("startups.json", Origin="https://web.apps.example.com:8443").status == 200
    for site in ("same-origin", "none"):
        assert web.ask("startups.json", Sec_Fetch_Site=site).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "new-value"])
def test_what_other_sites_load(web: Web, site: str) -> None:
    for path in PATHS:
        for mode in ("no-cors", "cors", ""):
            assert web.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode=mode).status == 403
    for path in PATHS[1:]:  # only the page itself is to be linked to
        assert web.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 403


def test_a_link_on_another_site(web: Web) -> None:
    """A browser sends no cookie then. So our own page leads on, and it sends it."""
    first = web.ask(f"?{web.url.query}", Cookie="", **BY_LINK)
    assert first.status == 200
    assert web.token in first.headers["Set-Cookie"]
    later = web.ask(Cookie="", **BY_LINK)
    assert later.status == 200
    assert "Set-Cookie" not in later.headers
    for answer in (first, later):
        assert re.search(rb'http-equiv="refresh" content="0; url=\./"', answer.body)
        assert b"timeline" not in answer.body
    assert web.ask("?token=wrong", Cookie="", **BY_LINK).status == 403
    assert b"timeline" in web.ask(**BY_LINK).body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_there_is_only_get(web: Web, method: str) -> None:
    for path in (*PATHS, "nonsense"):
        answer = web.ask(path, method)
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"


def test_head(web: Web) -> None:
    for path in PATHS:
        answer = web.ask(path, "HEAD")
        as_get = web.ask("" if path == "changes" else path)
        assert (answer.status, answer.body) == (as_get.status, b"")
    connection = web.connection()
    try:  # it has an end there, too
        cookie = {"Cookie": f"{web.cookie}={web.token}"}
        for path in ("/changes", "/startups.json"):
            connection.request("HEAD", path, headers=cookie)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
    finally:
        connection.close()


@pytest.mark.parametrize("path", [*PATHS[:-1], "nonsense", "../startup.json"])
def test_headers(web: Web, path: str) -> None:
    for headers in ({}, {"Cookie": ""}, {"Host": "evil.example"}):
        answer = web.ask(path, **headers)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy


def test_the_policy_of_the_page(web: Web) -> None:
    answer = web.ask()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["connect-src"] == policy["frame-ancestors"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert re.fullmatch(r"'sha256-\S+'", policy["script-src"])


def test_several_at_once() -> None:
    access = Access("", (), Address(host="127.0.0.1", port=1))
    for headers in (
        {},
        {"host": [""]},
        {"host": ["127.0.0.1", "evil.example"]},
        {"host": ["127.0.0.1"], "origin": ["http://127.0.0.1", "https://evil.example"]},
        {"host": ["127.0.0.1"], "sec-fetch-site": ["same-origin", "cross-site"]},
    ):
        with pytest.raises(NotPermitted):
            access.check(headers, is_page=True)
    access.check({"host": ["127.0.0.1"]}, is_page=True)


def test_it_goes_by_the_address_that_it_listens_at() -> None:
    access = Access("", (), Address(host="192.0.2.7", port=1))
    access.check({"host": ["192.0.2.7:1"]}, is_page=False)
    with pytest.raises(NotPermitted):
        access.check({"host": ["192.0.2.8:1"]}, is_page=False)


@pytest.mark.parametrize("host", ["", ":80", "[]", "evil.example"])
def test_a_socket_has_no_name(host: str) -> None:
    access = Access("", (), Address(path="/run/web.sock"))
    with pytest.raises(NotPermitted):
        access.check({"host": [host]}, is_page=False)
    access.check({"host": ["localhost"]}, is_page=False)


def test_without_a_token(address: str) -> None:
    with serving(address, "--no-token", "--framed-by", "https://coder.example.com") as web:
        assert "token" not in web.link
        answer = web.ask(Cookie="")
        assert answer.status == 200
        ancestors = "frame-ancestors 'self' https://coder.example.com"
        assert ancestors in answer.headers["Content-Security-Policy"]
        assert b"timeline" in web.ask(Cookie="", **BY_LINK).body
        old_link = web.ask("?token=x", Cookie="")
        assert (old_link.status, old_link.headers["Location"]) == (303, "./")
        assert "Set-Cookie" not in old_link.headers
        assert web.ask(Cookie="", Host="evil.example").status == 403
        assert web.ask(Cookie="", Origin="https://evil.example").status == 403
        assert web.ask("startup.json", Cookie="", Sec_Fetch_Site="cross-site").status == 403


def test_a_token_of_ones_own_and_an_address_of_the_environment(address: str) -> None:
    token = "0123456789abcdef"
    with serving(address, UNITSYNC_WEB="localhost:0", UNITSYNC_WEB_TOKEN=token) as web:
        assert web.token == token
        assert web.ask().status == 200


@pytest.mark.parametrize("prefix", ["/user/alice/boot", "/boot/"])
def test_a_prefix(address: str, prefix: str) -> None:
    with serving(address, "--prefix", prefix) as web:
        assert web.url.path == f"{prefix.rstrip('/')}/"
        assert web.ask("startups.json").status == 200
        outside, name = web.url.path[:-1], web.url.path.split("/")[-2]
        connection = web.connection()
        try:
            # To where the browser keeps the cookie for what is below only.
            connection.request("GET", f"{outside}?{web.url.query}")
            response = connection.getresponse()
            response.read()
            assert response.status == 303
            assert response.headers["Location"] == f"{name}/?{web.url.query}"
            assert "Set-Cookie" not in response.headers
            for path in ("/startups.json", "/", f"{outside}x", f"{outside}x/startups.json"):
                connection.request("GET", path)
                response = connection.getresponse()
                assert response.status == 404
                assert b"--prefix" in response.read()
        finally:
            connection.close()
