"""The most similar registered name, for people who have mistyped one.

A name is compared with each registered one. That is slow if there are many, and clients
may ask about any number of names. So results are remembered, and one turn compares only
so much: the rest is compared in later calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

UNITS_MAX: Final = 2000
"""With more units than this, no similar name is looked for."""
COMPARED_MAX: Final = 50_000
"""Characters of registered names that are looked at in one turn."""
REMEMBERED_MAX: Final = 1000
"""Names for which the most similar one is remembered. Beyond that all are forgotten."""
ALIKE: Final = 0.75
"""How similar a name has to be, from 0 to 1: twice the number of characters that two names
have in common, in the same order, divided by the number of characters of both."""


class Similar:
    """Finds names in *names*. The caller may add others at the end."""

    __slots__ = ("_left", "_names", "_remembered")

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._left = COMPARED_MAX
        self._remembered: dict[tuple[str, str], tuple[int, float, str]] = {}
        """(name, asker) → (number of names compared, similarity of the best, the best)"""

    def end_turn(self) -> None:
        self._left = COMPARED_MAX

    def forget(self) -> None:
        """Must be called when a name has been removed."""
        self._remembered.clear()

    def nearest(self, name: str, asker: str = "") -> str:
        """The name most similar to *name* that is not the *asker*'s own, "" if none is
        similar. Only counts the names that have been compared by the end of this call."""
        names, left, key = self._names, self._left, (name, asker)
        if len(names) > UNITS_MAX:
            return ""
        compared, best, found = self._remembered.get(key, (0, 0.0, ""))
        if compared == len(names) or left <= 0:
            return found
        places, length = _places(name), len(name)
        while compared < len(names) and left > 0:
            other = names[compared]
            compared += 1
            left -= len(other)
            both = length + len(other)
            if 2 * min(length, len(other)) < ALIKE * both or other in key:
                continue
            alike = 2 * _in_common(places, length, other) / both
            if alike >= ALIKE and alike > best:
                best, found = alike, other
        self._left = left
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = compared, best, found
        return found


def _places(text: str) -> dict[str, int]:
    """For each character of *text*, a number with a bit for each place where it occurs."""
    places: dict[str, int] = {}
    for place, character in enumerate(text):
        places[character] = places.get(character, 0) | 1 << place
    return places


def _in_common(places: Mapping[str, int], length: int, other: str) -> int:
    """The length of the longest common subsequence of a text, given by its *places* and
    *length*, and *other*. After Hyyrö, "Bit-Parallel LCS-length Computation Revisited"
    (AWOCA 2004): a few operations for each character of *other*."""
    everywhere = (1 << length) - 1
    rest = everywhere
    for character in other:
        there = rest & places.get(character, 0)
        rest = (rest + there) | (rest - there)
    return length - (rest & everywhere).bit_count()
