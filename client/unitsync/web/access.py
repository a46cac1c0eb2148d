"""Who may ask: by what name, from which page, with which token. Pure.

A page in a browser can ask every server that the browser reaches, also under a name of its own that
stands for 127.0.0.1. So the name (``Host``) has to be one of ours, and who asks has to be our own
page (``Origin``, ``Sec-Fetch-Site``). Other users of the machine reach the port as well. So there
is a token, in the link that is printed, and then in a cookie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Final
from urllib.parse import urlsplit

from unitsync.errors import NotPermitted
from unitsync.link.listening import Address, is_loopback
from unitsync.text.printing import quoted

Headers = Mapping[str, Sequence[str]]
"""By name in small letters, each with all of its values."""

_SHOWN_MAX: Final = 100
_OURS: Final = ("", "none", "same-origin")
"""Sec-Fetch-Site of what our own page asks for, or the user; "" of other clients."""


class Access:
    def __init__(self, token: str, hosts: Iterable[str], listens: Address) -> None:
        """*token* is "" if none is needed. *listens* has its final port."""
        self._token = token.encode()
        self.needs_token = bool(token)
        self._hosts = {host for host in hosts if not host.startswith("*.")}
        self._below = tuple(host[1:] for host in hosts if host.startswith("*."))
        self._listens = listens
        self.cookie = f"unitsync-web-{listens.port or 'socket'}"
        """Its name. A browser sends a cookie to all ports of a host."""

    def check(self, headers: Headers, *, is_page: bool) -> None:
        """Raises NotPermitted for what is asked under a name that is not ours, or by a page that is
        not ours. *is_page*: it is the page itself that is asked for, to which others may link."""
        hosts = headers.get("host", ())
        if len(hosts) != 1 or not self._is_ours(_name_in(hosts[0])):
            asked = quoted(", ".join(hosts)[:_SHOWN_MAX])
            raise NotPermitted(
                f"this server does not go by the name {asked}",
                hint="call it by the address in its link; if that is the name of a proxy: "
                "unitsync web --allowed-host NAME",
            )
        for origin in headers.get("origin", ()):
            if not self._is_same(origin, hosts[0]):
                raise NotPermitted(
                    f"a page of {quoted(origin[:_SHOWN_MAX])} may not ask",
                    hint="if that is the name of a proxy: unitsync web --allowed-host NAME",
                )
        if is_from_elsewhere(headers) and not (is_page and _navigates(headers)):
            raise NotPermitted(
                "a page of another site may not ask", hint="open the link that was printed"
            )

    def knows(self, headers: Headers) -> bool:
        """Whether a token comes with it, or none is needed."""
        if not self.needs_token:
            return True
        given = [
            value
            for line in headers.get("cookie", ())
            for name, _, value in (each.strip().partition("=") for each in line.split(";"))
            if name == self.cookie
        ]
        for value in headers.get("authorization", ()):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                given.append(token.strip())
        return any(list(map(self.is_token, given)))

    def is_token(self, text: str) -> bool:
        return compare_digest(text.encode("utf-8", "replace"), self._token)

    def _is_ours(self, name: str) -> bool:
        return bool(name) and (
            is_loopback(name)
            or name == self._listens.host.lower()
            or name in self._hosts
            or name.endswith(self._below)
        )

    def _is_same(self, origin: str, host: str) -> bool:
        """Whether *origin* is that of a page that was asked for by *host*, or by a name that a
        proxy in between has."""
        netloc = origin.partition("://")[2].lower()
        name = _name_in(netloc)
        return bool(netloc) and (
            netloc == host.lower() or name in self._hosts or name.endswith(self._below)
        )


def is_from_elsewhere(headers: Headers) -> bool:
    """Whether a page of another site asks, or has linked to us. Its cookies are then missing."""
    return any(site not in _OURS for site in headers.get("sec-fetch-site", ()))


def _navigates(headers: Headers) -> bool:
    return list(headers.get("sec-fetch-mode", ())) == ["navigate"]


def _name_in(host: str) -> str:
    """The name in a Host header, which may have a port; "" if there is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
        plain = parts.netloc == host and parts.username is None
        return (parts.hostname or "") if plain else ""
    except ValueError:
        return ""
