"""How long something took, and the marks of a time axis."""

from math import floor

from unitsync.text.printing import duration


def took(seconds: float) -> str:
    """``250 ms``, ``1.25 s``, ``40.8 s``, ``2 min 5 s``, ``1 h 5 min``: three digits or more up
    to ten minutes. printing.span() is coarser."""
    if round(seconds, 3) < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if round(seconds, 2) < 10:
        return f"{round(seconds, 2):g} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return duration(seconds)


_STEPS_S = (
    *(step * 10.0**power for power in (-3, -2, -1, 0) for step in (1, 2, 5)),
    *(10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21_600.0),
)
_DAY_S = 86_400.0


def marks(total_s: float, at_most: int) -> list[tuple[float, str]]:
    """Round times from 0 to *total_s*, in seconds, each with what to write beside it. At most
    *at_most* after the 0."""
    least = total_s / max(1, at_most)
    step = next((step for step in _STEPS_S if step >= least > 0), 0.0)
    while step < least:
        step = step * 2 or _DAY_S
    count = floor(total_s / step + 1e-9) if step else 0
    return [(number * step, _label(number * step, step)) for number in range(count + 1)]


def _label(at: float, step: float) -> str:
    if not at:
        return "0"
    if step < 0.1:
        return f"{at * 1000:.0f} ms"
    for unit_s, name in ((_DAY_S, "d"), (3600.0, "h"), (60.0, "min")):
        if step % unit_s == 0:
            return f"{at / unit_s:.0f} {name}"
    return f"{at:g} s" if step >= 1 else f"{at:.1f} s"
