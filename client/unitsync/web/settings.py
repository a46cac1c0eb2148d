"""What ``web`` is told, by options and environment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from unitsync.errors import UsageError
from unitsync.link.listening import Address, address_of
from unitsync.text.printing import quoted

LISTEN: Final = "127.0.0.1:7711"
TOKEN_CHARS: Final = (16, 200)
"""Fewest and most of a token."""
_EXAMPLE: Final = f"for example {LISTEN}, [::1]:7711, or unix:/run/user/1000/unitsync-web.sock"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
"""What can stand in a link and in a cookie as it is."""
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_.~@+-]+)+", re.ASCII)
_NAME: Final = re.compile(r"(\*\.)?[A-Za-z0-9_.-]+|[0-9A-Fa-f]*(:[0-9A-Fa-f]*){2,7}", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://(\*\.)?[A-Za-z0-9_.-]+(:\d+)?", re.ASCII)


class Settings(msgspec.Struct, frozen=True):
    listen: Address
    prefix: str = ""
    """What every path begins with, without a slash at its end."""
    hosts: tuple[str, ...] = ()
    """Further names by which it may be called; ``*.example.com`` stands for all below."""
    framed_by: tuple[str, ...] = ()
    """Origins whose pages may show ours in a frame."""
    token: str = ""
    """"" if none is needed."""


def settings_of(flags: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    """Raises UsageError."""
    named, text = "UNITSYNC_WEB", environment.get("UNITSYNC_WEB") or LISTEN
    if "--listen" in flags:
        named, text = "--listen", flags["--listen"][-1]
    listen = address_of(text, f"{named}:", _EXAMPLE, any_port=True)
    return Settings(
        listen=listen,
        prefix=_prefix(flags.get("--prefix", [""])[-1]),
        hosts=tuple(_all(flags, "--allowed-host", _NAME, "is not the name of a host", _A_HOST)),
        framed_by=tuple(
            _all(flags, "--framed-by", _ORIGIN, "is not an origin", "https://coder.example.com")
        ),
        token=_token(environment, listen, needed="--no-token" not in flags),
    )


_A_HOST: Final = "as in the browser, without a port: coder.example.com, or '*.apps.example.com'"


def _prefix(text: str) -> str:
    path = text.rstrip("/")
    if path and (not _PREFIX.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise UsageError(
            f"--prefix: {quoted(text)} is not a path", hint="for example --prefix /user/alice/boot"
        )
    return path


def _all(
    flags: Mapping[str, Sequence[str]], flag: str, form: re.Pattern[str], wrong: str, hint: str
) -> Sequence[str]:
    for text in flags.get(flag, ()):
        if not form.fullmatch(text):
            raise UsageError(f"{flag}: {quoted(text)} {wrong}", hint=hint)
    return [text.lower() for text in flags.get(flag, ())]


def _token(environment: Mapping[str, str], listen: Address, *, needed: bool) -> str:
    if not needed:
        if not listen.is_local:
            raise UsageError(
                f"--no-token: whoever reaches {listen} could see everything",
                hint="listen on 127.0.0.1 or on unix:PATH, behind a proxy that asks who it is",
            )
        return ""
    token = environment.get("UNITSYNC_WEB_TOKEN", "")
    fewest, most = TOKEN_CHARS
    if token and not (fewest <= len(token) <= most and _TOKEN.fullmatch(token)):
        raise UsageError(
            f"UNITSYNC_WEB_TOKEN: a token has {fewest} to {most} letters, digits, _ and -",
            hint="for example of: openssl rand -hex 16",
        )
    return token or secrets.token_urlsafe(24)
