"""Common mistakes of people who know other tools or verbs, and what to write instead."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from unitsync.owner.calling_script import shell_word

_PREREQUISITES: Final = (
    *("--dep", "--deps", "--dependency", "--dependencies", "--depend", "--depends"),
    *("--depends-on", "--need", "--needs", "--prerequisite", "--prerequisites"),
    *("--wait-for", "--want", "--wants"),
)
_MEANT: Final[Mapping[str, Collection[str]]] = {
    "--after": _PREREQUISITES,
    "--requires": ("--for", "--until", "--condition"),
    "--for": ("--requires", "--until", "--condition"),
    "--timeout": ("--max-wait", "--time-limit", "--deadline"),
    "--output json": ("--json",),
    "--exit-code": ("--code", "--status", "--exit-status", "--rc"),
    "--reason": ("--message", "--msg", "--because"),
}
"""The flag that was meant, if the verb has it."""
_NAMED_BEHIND: Final = "name them after the unit: unitsync {} UNIT PREREQUISITE..."
_INSTEAD: Final[Mapping[str, Mapping[str, str]]] = {
    "start": {"--wait": "start waits by itself; --timeout DURATION says how long at most"},
    "run": {
        "--wait": "run waits by itself; --timeout DURATION says how long at most",
        "--no-wait": "--timeout 0 gives up at once",
        "--owner": "a run belongs to itself",
        "--on-owner-exit": "a run always fails if it is killed",
    },
    "want": dict.fromkeys(("--after", *_PREREQUISITES), _NAMED_BEHIND.format("want")),
    "unwant": dict.fromkeys(("--after", *_PREREQUISITES), _NAMED_BEHIND.format("unwant")),
    "wait": {"--after": "name what to wait for without a flag: unitsync wait UNIT..."},
    "export": {"--hosts": "unitsync export FILE on each host; the log of a job has no events"},
    "complete": {"--reason": "unitsync fail UNIT --reason TEXT"},
    "fail": {"--exit-code": "unitsync complete UNIT --exit-code N"},
}
"""What to do if the verb has no such flag."""


def meant_by(flag: str, verb: str, flags: Collection[str]) -> str:
    """The hint for *flag*, which is not one of the *flags* of *verb*. "" if there is none."""
    if instead := _INSTEAD.get(verb, {}).get(flag):
        return instead
    for meant, slips in _MEANT.items():
        if flag in slips and meant.partition(" ")[0] in flags:
            return f"did you mean {meant}?"
    return ""


def behind_the_verb(flag: str, words: Sequence[str], verbs: Mapping[str, Collection[str]]) -> str:
    """The hint for *flag* if it stands before the verb in *words*, and that verb is one of
    *verbs* and takes it. "" otherwise."""
    for at, word in enumerate(words):
        if flag in verbs.get(word, ()):
            call = shlex.join([word, *words[:at], *words[at + 1 :]])
            return f"put the flags of a verb after it: unitsync {call}"
    return ""


def extra(verb: str, unit: str, names: Sequence[str], *, after: bool) -> str:
    """The hint for *names* after *unit* that *verb* does not take. *after* says whether there
    was also --after. "" if there is no hint."""
    if verb == "fail":
        return f"unitsync fail {shell_word(unit)} --reason {shell_word(' '.join(names))}"
    if verb == "note":
        return f"put the text in quotes: unitsync note {shell_word(unit)} 'TEXT'"
    if verb not in ("start", "run"):
        return ""
    if after:
        return "several prerequisites: --after a,b or --after a --after b"
    behind = " -- COMMAND [ARG]..." if verb == "run" else ""
    call = f"unitsync {verb} {shell_word(unit)} --after {shell_word(','.join(names))}{behind}"
    return f"to wait for {', '.join(names)}: {call}"
