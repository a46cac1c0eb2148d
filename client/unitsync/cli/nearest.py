"""What somebody may have meant who mistyped a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(typed: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The one of *known* that *typed* is the beginning of, or whose letters it has in
    another order, or that looks most like it; "" if none does."""
    words = list(known)
    begun = [word for word in words if word.startswith(typed)]
    if begun:
        return begun[0] if len(begun) == 1 else ""
    for word in words:
        if sorted(word) == sorted(typed):
            return word
    return next(iter(difflib.get_close_matches(typed, words, n=1, cutoff=cutoff)), "")
