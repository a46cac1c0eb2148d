"""How people write durations: ``90``, ``30s``, ``1h30m``, ``none``."""

_UNIT_S = {
    "d": 86400.0,
    "h": 3600.0,
    "ms": 1e-3,  # before m
    "m": 60.0,
    "s": 1.0,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ns": 1e-9,
}
_DIGITS = "0123456789."


def seconds_in(text: str) -> float | None:
    """The seconds that *text* stands for: a plain number, or numbers with units. ``none`` is
    infinite. None if it is not a duration."""
    left = text.strip().lower()
    if left == "none":
        return float("inf")
    whole, total = left, 0.0
    while True:
        rest = left.lstrip(_DIGITS)
        digits = left.removesuffix(rest)
        if digits.count(".") > 1 or not digits.strip("."):
            return None
        if digits == whole:
            return float(digits)
        unit = next((unit for unit in _UNIT_S if rest.startswith(unit)), None)
        if unit is None:
            return None
        total += float(digits) * _UNIT_S[unit]
        left = rest.removeprefix(unit)
        if not left:
            return total
