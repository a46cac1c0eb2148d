"""The rule for unit names."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from unitsync.errors import InvalidName, UsageError
from unitsync.text.printing import quoted

NAME_BYTES_MAX: Final = 255
FIELDS: Final = ("unit", "prerequisites", "after", "units")
"""The fields of requests that hold names."""

_RESERVED: Final = frozenset("*?[],@")
_UNSEEN: Final = re.compile(
    "["
    # Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 16, without those
    # that the category already excludes: fillers, joiners, variation selectors.
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
    # Symbols and letters that the code charts show as empty.
    "\u2800\U0001d159\U00013441\U00013442"
    "]"
)
"""Invisible characters, in addition to those of the categories C and Z."""


def not_utf8(values: Iterable[str | Iterable[str]]) -> UsageError:
    """The error for a request that cannot be encoded. *values* are its names; raises InvalidName
    instead if one of them is the reason."""
    for value in values:
        for name in (value,) if isinstance(value, str) else value:
            check_name(name)
    return UsageError("the request holds text that is not UTF-8")


def check_name(name: str) -> None:
    """Raise InvalidName unless *name* is a unit name.

    The rule: 1 to 255 bytes of printable UTF-8 without white space, not beginning
    with ``-``, and none of ``* ? [ ] , @``. Printable means that a person sees it.
    """
    plain = name.replace("-", "_").replace(".", "_")
    if (
        f"_{plain}".isidentifier()
        and name.isascii()
        and 0 < len(name) <= NAME_BYTES_MAX
        and name[0] != "-"
    ):
        return  # the common case, cheaply
    if not name:
        rule = "it is empty"
    elif len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        rule = f"it is longer than {NAME_BYTES_MAX} bytes"
    elif name[0] == "-":
        rule = "it begins with '-'"
    elif any(char.isspace() for char in name):
        rule = "it holds white space"
    elif any(unicodedata.category(char)[0] in "CZ" for char in name):
        rule = "it holds a character that cannot be printed"
    elif _UNSEEN.search(name):
        rule = "it holds a character that shows as nothing"
    elif unicodedata.category(name[0])[0] == "M":
        rule = "it begins with a combining mark"
    elif reserved := sorted(_RESERVED.intersection(name)):
        rule = f"it holds {' '.join(reserved)}"
    else:
        return
    hint = (
        "1 to 255 bytes of printable UTF-8, no white space, not beginning with '-', "
        "none of * ? [ ] , @"
    )
    if not {"*", "?", "["}.isdisjoint(name):
        hint = "a pattern can stand for what a unit waits for, and not for the unit itself"
    if "@" in name:
        hint = "UNIT@HOST can stand for what a unit waits for, and not for the unit itself"
    if "," in name and name.isprintable():
        hint = f"names are separated by spaces: {' '.join(name.split(','))}".strip()
    shown = quoted(name if len(name) <= 40 else name[:37] + "...")
    raise InvalidName(
        f"{shown} is not a unit name: {rule}",
        hint=hint,
        name=name if name.isprintable() else ascii(name),
    )
