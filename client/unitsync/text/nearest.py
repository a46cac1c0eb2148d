"""The word that somebody may have meant to type."""

from collections.abc import Iterable


def nearest(typed: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The word of *known* that begins with *typed*, or has its letters in another order, or
    is most like it. "" if there is none, or if several begin with it."""
    words = list(known)
    begun = [word for word in words if word.startswith(typed)]
    if begun:
        return begun[0] if len(begun) == 1 else ""
    for word in words:
        if sorted(word) == sorted(typed):
            return word
    import difflib  # slow to load, and rarely needed

    return next(iter(difflib.get_close_matches(typed, words, n=1, cutoff=cutoff)), "")
