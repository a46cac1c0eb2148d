"""How people write durations: ``90``, ``30s``, ``1h30m``, ``none``."""

from unitsync.conversation import FOREVER

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


def seconds_in(text: str) -> float | None:
    """The seconds that *text* stands for: a plain number, or numbers with units. ``none`` is
    infinite. None if it is not a duration."""
    left = text.strip().lower()
    if left == "none":
        return FOREVER
    whole, total = left, 0.0
    while True:
        digits = _leading(left, digits=True)
        left = left[len(digits) :]
        unit = _leading(left, digits=False)
        left = left[len(unit) :]
        right = digits.count(".") <= 1 and digits.strip(".") != ""
        if right and digits == whole:
            return float(digits)
        if not right or unit not in _UNIT_S:
            return None
        total += float(digits) * _UNIT_S[unit]
        if not left:
            return total


def _leading(text: str, *, digits: bool) -> str:
    end = 0
    while end < len(text) and (text[end] in _DIGITS) is digits:
        end += 1
    return text[:end]
