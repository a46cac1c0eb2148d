"""Whether a shell that runs a text (``sh -c TEXT``) does more than call unitsync.

``sh -c 'cd /srv && unitsync start ide || exit 1'`` was made for the one call: nothing of
substance comes after it. ``sh -c 'unitsync start ide; make'`` goes on and is the script.

This module knows only as much of the shells' grammar as that needs, and also reads texts for
Perl or Python (``-e``, ``-c``). If it cannot tell, it counts what follows as work: then the
script's end is noticed too early, rather than never. It imports nothing, and only a verb with
such a caller loads it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import TypeAlias

    Words: TypeAlias = list[tuple[str, str]]
    Commands: TypeAlias = list[tuple[str, Words]]

_WORD, _QUOTED, _CALLED, _OPERATOR = "word", "quoted", "called", "operator"
"""``_CALLED``: a parenthesis follows at once, as in ``print(1)`` and ``f() { ... }``."""

_BLANK = " \t\r,[]"
"""Characters between words. The comma and the brackets are for lists in other languages."""
_OPERATORS = ";&|\n()`"
_SPECIAL = frozenset(_BLANK + _OPERATORS + "<>'\"\\#")

_OPENING = frozenset(("if", "while", "until", "for", "case", "select", "begin", "{"))
_CLOSING = frozenset(("fi", "done", "esac", "end", "endif", "}"))
_BETWEEN = frozenset(("then", "do", "else", "elif", "and", "or", "time", "!", "not"))
_KEYWORDS = _OPENING | _CLOSING | _BETWEEN
_INVERTING = frozenset(("until", "!", "not"))

_NO_WORK = frozenset(
    (
        *(":", "true", "false", "exit", "return", "break", "continue", "die"),
        *("echo", "printf", "print", "test", "cd", "set", "unset", "export", "umask"),
    )
)
"""What a shell does itself, in no time."""


def is_over_after_call(text: str, verb: str, programs: "Collection[str]") -> bool:
    """Whether *text* calls one of *programs* with *verb*, and no work follows.

    If the text also calls ``start``, that call decides for all calls in it, so that
    ``complete`` has the same owner as ``start``.
    """
    for wanted in ("start", verb):
        goes_on = _goes_on(text, wanted, programs)
        if goes_on is not None:
            return not goes_on
    return False


def program(word: str) -> str:
    """NAME, the program in ``/usr/bin/NAME`` or ``alias=!NAME``."""
    for mark in "/=!":
        word = word.rpartition(mark)[2]
    return word


def _goes_on(text: str, verb: str, programs: "Collection[str]") -> bool | None:
    """Whether there is work after the first call with *verb*. None if there is no such call."""
    commands = _commands(text)
    function = ""
    for number, (operator, words) in enumerate(commands):
        lead, rest = _split(words)
        if operator == ")" and number > 1 and commands[number - 1] == ("(", []):
            before = commands[number - 2][1]
            function = before[-1][1] if before else ""
        elif rest and rest[0][1] == "function":
            function = rest[1][1] if len(rest) > 1 else ""
        elif not _CLOSING.isdisjoint(lead):
            function = ""
        for at, (kind, word) in enumerate(words):
            inner: bool | None = None
            if program(word) in programs or word[:1] == "$":
                inner = False if any(value == verb for _, value in words[at + 1 :]) else None
            if inner is None and kind == _QUOTED and " " in word:
                inner = _goes_on(word, verb, programs)
            if inner is not None:
                inner = inner or _is_work(words[at + 1 :], True, function, programs)
                return inner or _is_work_after(commands, number, function, programs)
    return None


def _is_work_after(
    commands: "Commands", number: int, function: str, programs: "Collection[str]"
) -> bool:
    """Whether there is work after the call in the command *number*. If *function* is not "",
    the call is in the body of that function."""
    inverted = not _INVERTING.isdisjoint(_split(commands[number][1])[0])
    depth = 0
    same_command = same_list = True
    number += 1
    while number < len(commands):
        operator, words = commands[number]
        lead, rest = _split(words)
        if same_command and operator == "|":  # runs at the same time
            number = _past(commands, number)
            continue
        if same_list and operator == ("&&" if inverted else "||"):  # runs only if the call failed
            number = _past(commands, number)
            continue
        if operator in (";", "&&", "||", "|"):
            same_command = False
            same_list = same_list and operator != ";"
        if operator == "(" and not same_command:
            depth += 1
        elif operator == ")" and depth:
            depth -= 1
        elif operator == ")":  # around the call
            same_command = same_list = True
        if not depth and lead and lead[0] in (("then", "do") if inverted else ("else", "elif")):
            number = _past(commands, number, branch=True)
            continue
        for word in lead:
            if word in _OPENING:
                depth += 1
            elif word in _CLOSING and depth:
                depth -= 1
            elif word in _CLOSING:
                same_command, same_list, inverted = True, True, False
        if "or" in lead:
            number = _past(commands, number)
            continue
        if _is_work(rest, same_command, function, programs):
            return True
        is_idle_call = rest[-1:] and rest[-1][0] == _CALLED and rest[-1][1][-1:].isalnum()
        number = _past(commands, number) if is_idle_call else number + 1
    return False


def _is_work(
    words: "Words", same_command: bool, function: str, programs: "Collection[str]"
) -> bool:
    """Whether *words* do work. They are a command, or with *same_command* the rest of the
    command with the call."""
    if same_command:
        for kind, word in words:
            if word == "or":
                break
            if kind == _CALLED and word[-1:].isalnum() and not _is_idle(kind, word):
                return True
        return False
    if any(kind == _QUOTED and ("$(" in word or "`" in word) for kind, word in words):
        return True  # a command of its own, or it looks like one
    while words and words[0][1].partition("=")[0].isidentifier() and "=" in words[0][1]:
        words = words[1:]
    if not words:
        return False
    first = words[0][1]
    if (_WORD, "<") in words:
        return True  # it may have to wait for its input
    return not (_is_idle(*words[0]) or first == function or program(first) in programs)


def _is_idle(kind: str, word: str) -> bool:
    """Whether *word* does no work as a command. A number or an option is part of a condition."""
    if word[:1] == "$":
        return word == "$?"
    if word[:1] == "-" or word.isdigit():
        return True
    if any(map(str.isalnum, word)):
        name = word.strip("{}")
        if kind == _CALLED and "/" not in name:  # as in sys.exit(1)
            name = name.rpartition(".")[2]
        return name in _NO_WORK
    return word != "."


def _past(commands: "Commands", number: int, *, branch: bool = False) -> int:
    """The number of the command after the command *number*, which may be a compound one. With
    *branch*, the one after that branch of an ``if`` or a loop."""
    depth = 0
    begun = number
    while number < len(commands):
        operator, words = commands[number]
        lead, _ = _split(words)
        if number > begun:
            if operator == "(":
                depth += 1
            elif operator == ")":
                if not depth:
                    break
                depth -= 1
            elif not depth and not branch:
                break
            if branch and not depth and lead and lead[0] in ("else", "elif"):
                break
        for word in lead:
            if word in _OPENING:
                depth += 1
            elif word in _CLOSING:
                if not depth and number > begun:
                    return number
                depth = max(0, depth - 1)
        number += 1
    return number


def _split(words: "Words") -> "tuple[list[str], Words]":
    """The keywords that a command begins with, and the rest."""
    count = 0
    while count < len(words) and words[count][0] == _WORD and words[count][1] in _KEYWORDS:
        count += 1
    return [word for _, word in words[:count]], words[count:]


def _commands(text: str) -> "Commands":
    """The commands in *text*, each with the operator that it follows."""
    commands: Commands = [("", [])]
    for kind, value in _tokens(text):
        if kind == _OPERATOR:
            commands.append((value, []))
        else:
            commands[-1][1].append((kind, value))
    return commands


def _tokens(text: str) -> "Words":
    """The words of *text* without their quotes, and its operators. Without comments and the
    targets of redirections. ``<`` is a word."""
    found: Words = []
    kind, word = "", ""
    is_target = False
    at = 0
    text += "\n"
    while at < len(text):
        begun = at
        while text[at] not in _SPECIAL:
            at += 1
        if at > begun:
            kind, word = kind or _WORD, word + text[begun:at]
        char, after = text[at], text[at + 1 : at + 2]
        at += 1
        if char == "\\":
            if after != "\n":
                kind, word = kind or _WORD, word + after
            at += 1
            continue
        if char in "'\"":
            end = _closing_quote(text, at, char)
            if end < len(text):  # else it is an apostrophe
                kind, word = _QUOTED, word + text[at:end]
                at = end + 1
            continue
        if char == "#":
            if kind:
                word += char
            else:
                at = text.index("\n", at)
            continue
        is_arrow = char == ">" and word[-1:] in ("=", "-") and kind == _WORD
        is_redirection = char in "<>" and not is_arrow
        if kind and not is_target and not (is_redirection and word.isdigit()):
            found.append((_CALLED if char == "(" and kind == _WORD else kind, word))
        is_target = is_target and not kind and char in _BLANK
        kind, word = "", ""
        if is_redirection:
            begun = at
            while text[at] in "<>&|":
                at += 1
            if text[at] == "(":
                found.append((_OPERATOR, "|"))
            else:
                is_target = True
                if char == "<" and at == begun:
                    found.append((_WORD, "<"))
        elif char in _OPERATORS and (char, after) != ("&", ">"):
            if char in "&|;" and after == char:
                at += 1
                char += after if char != ";" else ""
            elif char == "|" and after == "&":
                at += 1
            found.append((_OPERATOR, ";" if char in "&\n" else char))
    return found


def _closing_quote(text: str, at: int, quote: str) -> int:
    """Where the string that begins at *at* ends; beyond *text* if it does not end."""
    while at < len(text) and text[at] != quote:
        at += 2 if quote == '"' and text[at] == "\\" else 1
    return at
