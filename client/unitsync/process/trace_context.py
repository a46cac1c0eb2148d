"""The ids of a startup as a trace, and what a command is told of them. Pure.

All ids follow from the epoch, the unit and the run: whoever starts the command and whoever sends
the trace later need not know of each other. https://www.w3.org/TR/trace-context/
"""


def trace_id(epoch: str) -> int:
    return _hash("trace", epoch) << 64 | _hash(epoch)


def run_id(epoch: str, unit: str, run: int) -> int:
    """Of the span of one run of *unit*."""
    return span_id(epoch, unit, str(run))


def span_id(epoch: str, *words: str) -> int:
    return _hash(epoch, *words)


def with_traceparent(
    environment: "dict[bytes, bytes]", epoch: str, unit: str, run: int
) -> "dict[bytes, bytes]":
    """A copy of *environment* in which the command of that run finds its span, unless it names
    another one."""
    text = f"00-{trace_id(epoch):032x}-{run_id(epoch, unit, run):016x}-01"
    environment = {**environment}
    environment.setdefault(b"TRACEPARENT", text.encode())
    return environment


def _hash(*words: str) -> int:
    """FNV-1a with 64 bits, but never 0. ``run`` would load hashlib only for this."""
    value = 0xCBF29CE484222325
    for byte in "\0".join(words).encode("utf-8", "surrogateescape"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value or 1
