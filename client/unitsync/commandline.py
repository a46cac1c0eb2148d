"""The command line of the verbs that scripts call, read without typer.

One table says for each verb how many names it takes, and which flags; one for each flag what
it becomes in the request. What is wrong or rare is left to the full command line, which says
what is wrong: tests/fuzz/test_express.py holds that both ask for the same.

Imports nothing but what the interpreter has loaded anyway.
"""

import os

from unitsync import surroundings
from unitsync.printing import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]

TIMEOUT_DEFAULT_S = 300.0
EXIT_CODE_MAX = 255
FOR_EVER = float("inf")

_MANY = 1 << 30
_REQUIREMENTS = ("success", "completion", "start")
_OWNER_EXITS = ("fail", "complete", "ignore", "warn")
_SKIPS = ("exit", "wait")
_UNIT_S = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ns": 1e-9,
}
_DIGITS = frozenset("0123456789.")

SWITCHES = {
    "--optional": ("optional", True),
    "--no-wait": ("wait", False),
    "--even-so": ("even_so", True),
    "--any": ("any", True),
    "--all": ("all", True),
    "--force": ("force", True),
}
"""Flags without a value: the field of the request, and what it is set to."""

_STARTING = ("--after", "--requires", "--optional", "--timeout", "--on-skip")
VERBS = {
    # verb: (names at least, names at most, flags)
    "want": (1, _MANY, ("--requires", "--optional")),
    "unwant": (2, _MANY, ()),
    "start": (1, 1, (*_STARTING, "--no-wait", "--on-owner-exit", "--owner")),
    "run": (1, 1, _STARTING),
    "wait": (1, _MANY, ("--for", "--any", "--timeout")),
    "complete": (1, 1, ("--exit-code", "--even-so", "--owner")),
    "fail": (1, 1, ("--reason", "--owner")),
    "status": (1, 1, ("--output",)),
    "list": (0, 0, ("--output",)),
    "why": (0, 1, ("--output",)),
    "ping": (0, 0, ("--output",)),
    "reset": (0, _MANY, ("--all", "--force")),
}


class Leave(Exception):
    """This is not for the express path."""


class Call:
    """What a command line asks for: the ``request`` without its id and owner; for a verb that
    waits its time limit in seconds, None for the others; for ``run`` the ``command``; the
    address and the pid of the owner that were named, "" and None where none was; whether the
    answer is to be printed ``as_json``."""

    __slots__ = ("address", "as_json", "command", "owner_pid", "request", "timeout_s")

    def __init__(self, words: "list[str]", environ: "Mapping[str, str]") -> None:
        """Raises Leave."""
        self.command: list[str] = []
        self.timeout_s: float | None = None
        self.owner_pid: int | None = None
        before, verb, words = _at_the_verb(words)
        if verb == "run":
            if "--" not in words:
                raise Leave
            split = words.index("--")
            words, self.command = words[:split], words[split + 1 :]
            if not self.command:
                raise Leave
        fewest, most, known = VERBS[verb]
        names, flags = _split(words, (*known, "--endpoint"))
        if not fewest <= len(names) <= most:
            raise Leave
        self.address = (flags.pop("--endpoint", None) or before or [""])[-1]
        if environ.get("UNITSYNC_AUTOSTART", "") not in ("", "0", "1"):
            raise Leave
        shim = environ.get("UNITSYNC_CODER_SHIM") == "1"
        self.request: Message = {"verb": verb, "render": "coder" if shim else "text"}
        if startup := _startup(environ, shim):
            self.request["startup"] = startup
        self._name(verb, names)
        self._take(verb, flags, environ, shim)

    def _name(self, verb: str, names: "list[str]") -> None:
        request = self.request
        if verb in ("want", "unwant"):
            request["unit"], request["prerequisites"] = names[0], names[1:]
        elif verb in ("wait", "reset"):
            request["units"] = names
        elif names:
            request["unit"] = names[0]
        if verb == "run":
            request["verb"], request["render"] = "start", "text"

    def _take(
        self, verb: str, flags: "dict[str, list[str]]", environ: "Mapping[str, str]", shim: bool
    ) -> None:
        """Let *flags* and what stands for them in *environ* be in the request."""
        request = self.request
        for flag in flags.keys() & SWITCHES.keys():
            field, value = SWITCHES[flag]
            request[field] = value
        for flag in ("--requires", "--for"):
            if flag in flags:
                request["requires"] = _one_of(flags[flag][-1], _REQUIREMENTS)
        if verb in ("start", "run"):
            request["after"] = names = split_names(flags.get("--after", ()))
            if not names and flags.keys() & {"--after", "--requires", "--optional"}:
                raise Leave  # which is said
            skips = environ.get("UNITSYNC_ON_SKIP") or "exit"
            request["on_skip"] = _one_of(flags.get("--on-skip", [skips])[-1], _SKIPS)
        if verb == "start":
            exits = environ.get("UNITSYNC_ON_OWNER_EXIT") or ("warn" if shim else "fail")
            chosen = flags.get("--on-owner-exit", [exits])[-1]
            request["on_owner_exit"] = _one_of(chosen, _OWNER_EXITS)
        if verb in ("start", "run", "wait"):
            self.timeout_s = _timeout_s(flags, environ, shim)
        if verb == "complete":
            code = _whole(flags.get("--exit-code", ["0"])[-1])
            if code > EXIT_CODE_MAX:
                raise Leave
            request["exit_code"] = code
            request["even_so"] = shim or request.get("even_so", False)
        if verb == "fail":
            request["reason"] = one_line(flags.get("--reason", [""])[-1])
        if verb == "reset" and bool(request["units"]) is ("all" in request):
            raise Leave
        if "--owner" in flags:
            self.owner_pid = _whole(flags["--owner"][-1])
        self.as_json = flags.get("--output", ["table"])[-1] == "json"
        if not self.as_json and "--output" in flags and flags["--output"][-1] != "table":
            raise Leave
        if self.as_json:
            if shim:
                raise Leave
            request["render"] = "none"
        elif verb in ("list", "why") or (verb == "status" and not shim and os.isatty(1)):
            raise Leave  # which keeps to the terminal's width


def _at_the_verb(words: "list[str]") -> "tuple[list[str], str, list[str]]":
    """The addresses before the verb, the verb, what is behind it."""
    before: list[str] = []
    at = 0
    while at < len(words) and words[at][:10] == "--endpoint":
        _, given, value = words[at].partition("=")
        if words[at] != "--endpoint" and words[at][10:11] != "=":
            raise Leave
        at += 1
        if not given:
            value = words[at] if at < len(words) else "-"
            at += 1
        if value[:1] == "-":
            raise Leave
        before.append(value)
    if at >= len(words) or words[at] not in VERBS:
        raise Leave
    return before, words[at], words[at + 1 :]


def _split(
    words: "list[str]", known: "tuple[str, ...]"
) -> "tuple[list[str], dict[str, list[str]]]":
    """Names, and those of the *known* flags that are there with their values. Raises Leave."""
    names: list[str] = []
    flags: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word[:1] != "-":
            names.append(word)
            continue
        flag, given, value = word.partition("=")
        if flag == "-o":
            flag = "--output"
        if flag not in known or (given and (flag in SWITCHES or word[:2] != "--")):
            raise Leave
        if not given and flag not in SWITCHES:
            value = next(rest, "-")
            if value[:1] == "-":
                raise Leave
        flags.setdefault(flag, []).append(value)
    return names, flags


def split_names(given: "list[str] | tuple[()]") -> "list[str]":
    """The names in values of a repeatable flag that also takes commas."""
    return [name for value in given for part in value.split(",") if (name := part.strip())]


def _startup(environ: "Mapping[str, str]", shim: bool) -> str:
    if startup := environ.get("UNITSYNC_STARTUP"):
        return startup
    return surroundings.coder_startup() if shim else ""


def _timeout_s(flags: "dict[str, list[str]]", environ: "Mapping[str, str]", shim: bool) -> float:
    text = flags.get("--timeout", [environ.get("UNITSYNC_TIMEOUT", "")])[-1]
    if not text and "--timeout" not in flags:
        return TIMEOUT_DEFAULT_S
    try:
        seconds = duration_s(text)
    except ValueError:
        raise Leave from None
    return FOR_EVER if shim and not seconds else seconds


def duration_s(text: str) -> float:
    """Seconds in *text*: a number of them, or numbers with units, as in ``1h30m``;
    infinite for ``none``. Raises ValueError."""
    left = text.strip().lower()
    if left == "none":
        return FOR_EVER
    whole, total = left, 0.0
    while True:
        number = _leading(left, digits=True)
        left = left[len(number) :]
        if number.count(".") > 1 or not number.strip("."):
            raise ValueError(text)
        if number == whole:
            return float(number)
        unit = _leading(left, digits=False)
        if unit not in _UNIT_S:
            raise ValueError(text)
        total += float(number) * _UNIT_S[unit]
        left = left[len(unit) :]
        if not left:
            return total


def _leading(text: str, *, digits: bool) -> str:
    end = 0
    while end < len(text) and (text[end] in _DIGITS) is digits:
        end += 1
    return text[:end]


def _one_of(text: str, known: "tuple[str, ...]") -> str:
    if text not in known:
        raise Leave
    return text


def _whole(text: str) -> int:
    """A number that is written in the usual way; any other is looked at more closely."""
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise Leave
    return int(text)
