"""What a signal and a probe may be."""

from __future__ import annotations

import re
import signal
from typing import Final

from unitsync.plan.words import TAKES, brief
from unitsync.process.probes import parse
from unitsync.text.nearest import nearest

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
    """Message and hint if *text* is no probe, or begins like one of a kind that there is not."""
    prefix = _PREFIX.match(text)
    if prefix and prefix[1] not in _PROBES:
        kind, rest = prefix[1], text[prefix.end() :]
        meant = nearest(kind.lower(), _PROBES)
        hint = f"did you mean {meant}:{rest}?" if meant else TAKES["ready"][1]
        return f"there is no kind of probe {brief(kind)}", hint
    try:
        parse(text)
    except ValueError as problem:
        why, _, hint = str(problem).partition("; ")
        return f"ready = {brief(text)} {why}", hint
    if prefix and prefix[1].startswith("http") and not text[prefix.end() :].startswith("//"):
        return f"ready = {brief(text)} is no URL", "for example http://localhost:8080/health"
    return None
