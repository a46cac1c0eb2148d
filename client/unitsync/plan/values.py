"""What a signal and a probe may be."""

from __future__ import annotations

import re
import signal
from typing import Final

from unitsync.nearest import nearest
from unitsync.plan.words import TAKES, brief

_SIGNALS: Final = frozenset(signal.Signals.__members__)
_PROBES: Final = ("tcp", "http", "https", "line")
_PREFIX: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):(?=\S)")


def wrong_stop(text: str) -> tuple[str, str] | None:
    """Message and hint if *text* is meant as a signal and is none, or is one that does not end
    a command."""
    word = text.strip()
    if word in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT", "SIGCHLD"):
        return f"{word} does not end a command", TAKES["stop"][1]
    if text in _SIGNALS:
        return None
    if f"SIG{word.upper()}" in _SIGNALS or word.upper() in _SIGNALS:
        name = word.upper().removeprefix("SIG")
        return f"{brief(text)} is not the name of a signal", f"did you mean SIG{name}?"
    if re.fullmatch(r"SIG[A-Z0-9+-]+", word):
        meant = nearest(word, sorted(_SIGNALS))
        hint = f"did you mean {meant}?" if meant else "kill -l lists them"
        return f"there is no signal {word}", hint
    if word.isdecimal():
        return "a signal is given by its name, not its number", TAKES["stop"][1]
    return None


def wrong_probe(text: str) -> tuple[str, str] | None:
    """Message and hint if *text* begins like a probe and is none."""
    from unitsync.plan.words import TAKES

    hint = TAKES["ready"][1]
    prefix = _PREFIX.match(text)
    if text.partition(":")[0] in ("tcp", "line") and not text.partition(":")[2].strip():
        what = "port" if text.startswith("tcp") else "text"
        return (f"{brief(text)} has no {what}", hint) if ":" in text else None
    if not prefix:
        return None
    kind, rest = prefix[1], text[prefix.end() :]
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
            return f"{brief(port)} is not a port, in ready = {brief(text)}", "1 to 65535"
        if any(char.isspace() for char in host):
            return f"{brief(host)} is not a host", hint
    elif kind in ("http", "https"):
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(text)
            good = bool(parts.hostname) and parts.port != 0 and rest.startswith("//")
        except ValueError:
            good = False
        if not good or any(char.isspace() for char in text):
            return f"{brief(text)} is not a URL", 'ready = "http://localhost:8080/health"'
    elif kind != "line":
        meant = nearest(kind.lower(), _PROBES)
        found = f"did you mean {meant}:{rest}?" if meant else hint
        return f"there is no kind of probe {brief(kind)}", found
    return None
