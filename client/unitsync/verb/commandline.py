"""The command line of the verbs in verbs.py: from words to a request.

``read`` parses the words without typer if they are written as verbs.py says. Anything else is
left to the full command line (cli/), which parses it with typer and reports what is wrong.
Both turn what they have parsed into the same Call.

Imports only what the interpreter has already loaded.
"""

import os
import sys

from unitsync.link.conversation import FOREVER, TIMEOUT_DEFAULT_S
from unitsync.verb.verbs import (
    ENDPOINT,
    OF_THE_COMMAND,
    ON_OWNER_EXIT,
    ON_SKIP,
    OUTPUTS,
    REQUIREMENTS,
    TIMEOUT,
    VERBS,
    Flag,
    Verb,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from unitsync.errors import UsageError

    Message: TypeAlias = dict[str, Any]
    Flags: TypeAlias = dict[str, list[str]]

EXIT_CODE_MAX = 255
_NOTE_CHARS = 200
"""As in printing.py, which is not loaded for it."""


class Leave(Exception):
    """The words are not written as verbs.py says, so the full command line must read them."""


class Call:
    """What the user asks for.

    - ``verb``, and its ``request`` without id and owner; the ``names`` and ``flags`` that were
      given, and the ``module`` that performs it, for a verb that is more than one request
    - ``timeout_s``: how long it may wait
    - ``address``: the endpoint that was named, or ""
    - ``owner_pid``: the owner that was named, or None
    - ``command``: what ``run`` runs; ``options``: the flags that say how (run/options.py)
    - ``as_json``: whether to print the answer as JSON; ``columns``: which columns to print
    - ``shim``: whether it came through the shim
    - ``notes``: lines for stderr
    """

    def __init__(
        self,
        verb: str,
        names: "Sequence[str]",
        flags: "Flags",
        environ: "Mapping[str, str]",
        command: "Sequence[str]" = (),
    ) -> None:
        """*names* are the words after the verb; *flags* holds the values of each flag, [] for
        a switch. Raises UsageError."""
        self.verb = _verb(verb)
        self.command = list(command)
        self.notes: list[str] = []
        self.shim = in_shim(environ)
        self.address = flags.get("--endpoint", [""])[-1]
        self.owner_pid = number(flags["--owner"][-1], "--owner") if "--owner" in flags else None
        self.as_json = self._is_json(_last(flags, "--output"))
        self.columns = self._columns(flags)
        self.timeout_s = FOREVER
        self.names, self.flags = names, flags
        known = self.verb.flags
        modules = [module for flag in flags if (module := known[flag].module)]
        self.module = modules[0] if modules else self.verb.module
        if self.module and not self.command:
            return
        as_text = "coder" if self.shim and verb not in ("run", "why") else "text"
        lines = "none" if self.as_json or verb == "list" else as_text
        self.request: Message = {"verb": self.verb.tag, "render": lines}
        if startup := startup_of(environ):
            self.request["startup"] = startup
        self._name(names)
        self._take(flags, environ)

    def _is_json(self, output: str | None) -> bool:
        takes = self.verb.flags.get("--output")
        if output is None or takes is None or not takes.choices:  # it may also be a file
            return output == "json"
        return choice(output, OUTPUTS, "--output") == "json"

    def _name(self, names: "Sequence[str]") -> None:
        for field, metavar, _ in self.verb.arguments:
            if "..." in metavar:
                self.request[field] = list(names)
            elif names:
                self.request[field], names = names[0], names[1:]

    def _take(self, flags: "Flags", environ: "Mapping[str, str]") -> None:
        """Put *flags*, and the variables in *environ* that stand for them, into the request."""
        request, known, name = self.request, self.verb.flags, self.verb.name
        self.options: Flags = {}
        for flag in flags:
            if known[flag] in OF_THE_COMMAND:
                self.options[flag] = flags[flag]
            elif known[flag].switch:
                request[known[flag].field] = known[flag].value
        for flag in ("--requires", "--for"):
            if flag in flags:
                request["requires"] = choice(flags[flag][-1], REQUIREMENTS, flag)
        if "--on-skip" in known:
            request["after"] = self._after(flags)
            request["on_skip"] = on_skip(_last(flags, "--on-skip"), environ)
        if "--on-owner-exit" in known:
            request["on_owner_exit"] = on_owner_exit(_last(flags, "--on-owner-exit"), environ)
        if "--timeout" in known:
            self.timeout_s = timeout_s(_last(flags, "--timeout"), environ)
        if name == "complete":
            request["exit_code"] = exit_code(_last(flags, "--exit-code") or "0")
            request["even_so"] = self.shim or request.get("even_so", False)
        if name == "fail":
            from unitsync.text.printing import one_line

            request["reason"] = one_line(_last(flags, "--reason") or "")
        if name == "note" and not _is_note(request["text"]):
            from unitsync.text.printing import note_line

            request["text"] = note_line(request["text"])
        if "--count" in flags:
            self._count(number(flags["--count"][-1], "--count"))
        if name == "reset":
            check_reset(request["units"], "all" in request)

    def _count(self, count: int) -> None:
        """Put what ``--count`` says into the request: for a gate, of how many prerequisites; for
        others, on how many hosts."""
        request = self.request
        if self.verb.name == "gate":
            request["count"] = gate_count(count)
            return
        from unitsync.names.remote_names import with_count

        field = next(field for field in ("prerequisites", "units", "after") if field in request)
        request[field] = with_count(request[field], count)

    def _columns(self, flags: "Flags") -> list[str]:
        """The columns that ``--column`` names; empty means all."""
        if "--column" not in flags:
            return []
        from unitsync.coder import output as coder_output
        from unitsync.output import tables
        from unitsync.text.printing import quoted

        known: tuple[str, ...] = coder_output.STATUS_COLUMNS
        if self.verb.name == "list":
            known = coder_output.LIST_COLUMNS if self.shim else tables.LIST_COLUMNS
        names = [name.upper().replace("_", " ") for name in split_names(flags["--column"])]
        for name in names if self.verb.name == "list" else ():
            if name not in known:
                raise wrong(
                    f"there is no column {quoted(name.lower())}",
                    f"one of: {', '.join(known).lower()}",
                )
        return [name for name in names if name in known]

    def _after(self, flags: "Flags") -> list[str]:
        """The names that ``--after`` gives. If there are none, for example from an empty
        variable, a note says so."""
        if "--after" not in flags:
            for flag in ("--requires", "--optional"):
                if flag in flags:
                    raise wrong(
                        f"{flag} is about what --after names, and there is no --after",
                        "name prerequisites with --after, or declare them: unitsync want --help",
                    )
            return []
        names = split_names(flags["--after"])
        if not names:
            from unitsync.text.printing import safe

            unit = safe(self.request["unit"])
            self.notes.append(f"unitsync: --after is empty: {unit} waits for nothing more")
        return names


# --- words --------------------------------------------------------------------------


def as_utf8(words: "list[str]") -> "list[str]":
    """The *words* of the command line, decoded as UTF-8. Names are in UTF-8, but the locale may
    have made Python use another encoding (PYTHONUTF8=0 with LC_ALL=C). A command after ``--``
    stays as it is, because it goes back to the system unchanged."""
    if sys.getfilesystemencoding() == "utf-8":
        return words
    end = words.index("--") if "run" in words and "--" in words else len(words)
    ours = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words[:end]]
    return ours + words[end:]


def read(words: list[str], environ: "Mapping[str, str]") -> "Call":
    """The Call that *words* stand for. Raises Leave, and UsageError for an invalid value."""
    before, name, words = _at_the_verb(words)
    verb, command = _verb(name), []
    if name == "run":
        if "--" not in words:
            raise Leave
        split = words.index("--")
        words, command = words[:split], words[split + 1 :]
        if not command:
            raise Leave
    names, flags = _split(words, verb.flags)
    if not verb.fewest <= len(names) <= verb.most:
        raise Leave
    if before:
        flags.setdefault("--endpoint", before)
    return Call(name, names, flags, environ, command)


def _at_the_verb(words: list[str]) -> tuple[list[str], str, list[str]]:
    """The addresses before the verb, the verb, and the words after it."""
    before: list[str] = []
    at = 0
    while at < len(words) and words[at][:10] == ENDPOINT.name:
        _, given, value = words[at].partition("=")
        if words[at] != ENDPOINT.name and words[at][10:11] != "=":
            raise Leave
        at += 1
        if not given:
            value = words[at] if at < len(words) else "-"
            at += 1
        if value[:1] == "-":
            raise Leave
        before.append(value)
    if at >= len(words):
        raise Leave
    return before, words[at], words[at + 1 :]


def _verb(name: str) -> "Verb":
    """Raises Leave if there is none with that *name*."""
    if name in VERBS:
        return VERBS[name]
    from unitsync.verb.runner_verbs import RUNNER_VERBS

    if name in RUNNER_VERBS:
        return RUNNER_VERBS[name]
    from unitsync.verb.looking_back_verbs import LOOKING_BACK_VERBS

    if name not in LOOKING_BACK_VERBS:
        raise Leave
    return LOOKING_BACK_VERBS[name]


def _split(words: list[str], known: "Mapping[str, Flag]") -> "tuple[list[str], Flags]":
    """The names in *words*, and the *known* flags in it with their values."""
    names: list[str] = []
    flags: Flags = {}
    rest = iter(words)
    for word in rest:
        if word[:1] != "-":
            names.append(word)
            continue
        name, given, value = word.partition("=")
        short = [flag.name for flag in known.values() if flag.short == name]
        flag = known.get(short[0] if short else name)
        if flag is None or (given and (flag.switch or short)):
            raise Leave
        values = flags.setdefault(flag.name, [])
        if flag.switch:
            continue
        if not given:
            value = next(rest, "-")
            if value[:1] == "-":
                raise Leave
        if not flag.many:
            values.clear()  # the last one counts
        values.append(value)
    return names, flags


# --- values -------------------------------------------------------------------------


def in_shim(environ: "Mapping[str, str]") -> bool:
    """Whether this process was reached through the ``coder`` shim."""
    return environ.get("UNITSYNC_CODER_SHIM") == "1"


def startup_of(environ: "Mapping[str, str]") -> str:
    """The startup that a verb belongs to; "" means the newest."""
    startup = environ.get("UNITSYNC_STARTUP", "")
    if startup or not in_shim(environ):
        return startup
    from unitsync.coder import agent as coder_agent

    return coder_agent.startup()


def split_names(given: "Iterable[str]") -> list[str]:
    """The names that a flag was given. The flag can be repeated and also takes commas."""
    return [name for value in given for part in value.split(",") if (name := part.strip())]


def timeout_s(given: str | None, environ: "Mapping[str, str]") -> float:
    """What ``--timeout`` says, else ``UNITSYNC_TIMEOUT``, else five minutes. Infinite means
    no limit."""
    text, source = given, TIMEOUT.name
    if text is None:
        text, source = environ.get(TIMEOUT.variable, ""), TIMEOUT.variable
        if not text:
            return TIMEOUT_DEFAULT_S
    if not in_shim(environ):
        return parse_duration(text, source)
    # As Go's time.ParseDuration, which accepts signs. In Coder 0 or less means no limit.
    text = text.strip()
    seconds = parse_duration(text[text[:1] in ("+", "-") :], source)
    return FOREVER if text[:1] == "-" or not seconds else seconds


def on_owner_exit(given: str | None, environ: "Mapping[str, str]") -> str:
    """What ``--on-owner-exit`` says, else ``UNITSYNC_ON_OWNER_EXIT``, else the default,
    which is ``warn`` through the shim and ``fail`` otherwise."""
    default = "warn" if in_shim(environ) else "fail"
    return _chosen(given, ON_OWNER_EXIT, environ, default)


def on_skip(given: str | None, environ: "Mapping[str, str]") -> str:
    """What ``--on-skip`` says, else ``UNITSYNC_ON_SKIP``, else ``exit``."""
    return _chosen(given, ON_SKIP, environ, "exit")


def _chosen(given: str | None, flag: Flag, environ: "Mapping[str, str]", default: str) -> str:
    if given is not None:
        return choice(given, flag.choices, flag.name)
    return choice(environ.get(flag.variable) or default, flag.choices, flag.variable)


def parse_duration(text: str, source: str) -> float:
    """The seconds that *text* stands for. Raises a UsageError that names *source*."""
    from unitsync.text.durations import seconds_in

    seconds = seconds_in(text)
    if seconds is None:
        forever = "" if source == "--since" else ", or none to wait forever"
        hint = f"for example 90 (seconds), 30s, 5m, 1h30m, 500ms{forever}"
        raise invalid(source, text, "is not a duration", hint)
    return seconds


def choice(text: str, known: "Sequence[str]", source: str) -> str:
    """*text* if it is one of *known*. Otherwise raises a UsageError that names *source*."""
    if text not in known:
        from unitsync.text.nearest import nearest

        meant = nearest(text, known)
        hint = f"did you mean {meant}?" if meant else ""
        raise invalid(source, text, f"is not one of {', '.join(known)}", hint)
    return text


def number(text: str, source: str) -> int:
    """The whole number in *text*. Raises UsageError if there is none."""
    try:
        return int(text)
    except ValueError:
        raise invalid(source, text, "is not a whole number") from None


def exit_code(text: str) -> int:
    """What ``--exit-code`` says. Raises UsageError."""
    code = number(text, "--exit-code")
    check_exit_code(code, f"--exit-code: {text!a}")
    return code


def check_exit_code(code: object, shown: str) -> None:
    if not isinstance(code, int) or not 0 <= code <= EXIT_CODE_MAX:
        raise wrong(f"{shown} is no exit status; those are 0 to {EXIT_CODE_MAX}")


def _is_note(text: str) -> bool:
    """Whether *text* can be sent as a note as it is."""
    return len(text) <= _NOTE_CHARS and text.isprintable()


def gate_count(count: int) -> int:
    """*count*, if a gate can need so many prerequisites. Raises UsageError."""
    if not 0 < count < 1 << 63:
        raise wrong(f"--count: a gate needs at least one prerequisite, not {count}")
    return count


def check_reset(units: "Sequence[str]", everything: bool) -> None:
    if bool(units) == everything:
        what = "either units or --all can be reset" if units else "no unit was named"
        raise wrong(what, "unitsync reset UNIT... | unitsync reset --all")


def _last(flags: "Flags", name: str) -> str | None:
    return flags[name][-1] if name in flags else None


def wrong(message: str, hint: str = "") -> "UsageError":
    from unitsync.errors import UsageError

    return UsageError(message, hint=hint)


def invalid(source: str, text: str, why: str, hint: str = "") -> "UsageError":
    """The error for a value *text* that *source* gave: ``--timeout: 'x' is not a duration``."""
    from unitsync.text.printing import quoted

    return wrong(f"{source}: {quoted(text)} {why}", hint)
