"""Patterns for unit names: ``*`` stands for any characters, ``?`` for one, ``[…]`` for one of
these, ``[!…]`` for one that is none of these.

No unit name holds any of the characters that make a pattern. So each text is one or the other,
or the name of a unit on other hosts: see remote_names.py.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from typing import Final

from unitsync.errors import InvalidName
from unitsync.names.unit_names import NAME_BYTES_MAX, check_name
from unitsync.text.printing import quoted

_LITERAL: Final = re.compile(r"[*?\[]")
_CLASS: Final = re.compile(r"\[!?[^\]!][^\]]*\]")


def is_pattern(text: str) -> bool:
    return ("*" in text or "?" in text or "[" in text) and "@" not in text


@functools.lru_cache(1024)
def matcher(pattern: str) -> Callable[[str], object]:
    """A function that tells whether a name matches *pattern* as a whole. Upper and lower case
    differ. Raises InvalidName if it is no pattern."""
    check_pattern(pattern)
    return re.compile(translate(pattern)).match


def filter_matching(patterns: Iterable[str], name: str) -> Iterator[str]:
    """Those of *patterns* that *name* matches."""
    return (pattern for pattern in patterns if matcher(pattern)(name))


def literal(pattern: str) -> str:
    """What all names that match *pattern* begin with."""
    return _LITERAL.split(pattern, maxsplit=1)[0]


def check_pattern(pattern: str) -> None:
    """Raise InvalidName unless *pattern* can match a unit name."""
    plain = _CLASS.sub("x", pattern).replace("*", "x").replace("?", "x")
    if len(pattern.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise InvalidName(f"not a pattern: it is longer than {NAME_BYTES_MAX} bytes", name=pattern)
    try:
        check_name(plain.replace("[", "x").replace("]", "x") if "[" in plain else plain)
    except InvalidName as problem:
        rule = problem.message.rpartition(" is not a unit name: ")[2]
        message = f"not a pattern: {quoted(pattern)}: {rule}"
        raise InvalidName(message, hint=problem.hint, name=pattern) from None
    if "[" in plain:
        raise InvalidName(f"not a pattern: {quoted(pattern)}: a [ is not closed", name=pattern)


def any_matcher(texts: list[str]) -> Callable[[str], object]:
    """A function that tells whether a name is one of *texts* or matches one that is a pattern.
    Raises InvalidName."""
    names = {text for text in texts if not is_pattern(text)}
    matches = [matcher(text) for text in texts if is_pattern(text)]
    return lambda name: name in names or any(match(name) for match in matches)
