"""How long one request holds up all others, beside graphs of 100,000 units.

Reads and verbs about one unit, in this process without sockets, journal included: a sample
is a turn of the loop with one request. Of a question that is answered in pages each page is
one; every other request is repeated. What a new startup leaves to be done between later turns
is measured as it is done, a step at a time. Also told: which turn was the longest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Final

from bench.parts import Unconnected, unconnected
from bench.scenarios import Bench
from bench.servers import new_folder
from unitsync import owner, wire

UNITS: Final = 100_000
WIDTH: Final = 1_000
"""Units of a layer."""
OF_LAYER_ABOVE: Final = 10
PART: Final = 10_000
"""Units that one request declares."""
REPEATED: Final = 20

Declared = dict[str, list[str]]


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    for shape in (_layers, _all_but_one_completed, _nobody_registered, _gate, _skipped):
        folder = new_folder(bench.folder)
        with unconnected(folder / "journal.db") as inner:
            case, unit = shape(inner, units)
            inner.rest()
            asked = list(_asked(inner, unit))
        shutil.rmtree(folder)
        turns = [(took_s, what) for what, all_s in asked for took_s in all_s]
        longest_s, what = max(turns)
        bench.record.add(case, "time of a turn", "s", [took_s for took_s, _ in turns])
        bench.record.add(f"{case}: {what}", "longest turn", "s", [longest_s])


def _asked(inner: Unconnected, unit: str) -> Iterator[tuple[str, list[float]]]:
    yield "list", _pages(inner, lambda offset: wire.List(id="", offset=offset, limit=1000))
    yield "why", _pages(inner, lambda offset: wire.Why(id="", offset=offset))
    for what, request in (
        ("why of a unit", wire.Why(id="", unit=unit)),
        ("status of a unit", wire.StatusOf(id="", unit=unit, render=wire.Render.TEXT)),
        ("want of another", wire.Want(id="", unit=unit, prerequisites=["other"])),
        ("unwant of one", wire.Unwant(id="", unit=unit, prerequisites=["other"])),
        ("start, which waits", wire.Start(id="", unit=unit, owner=owner.this_process())),
        ("wait, which waits", wire.Wait(id="", units=[unit])),
        ("reset of a unit", wire.Reset(id="", units=[unit])),
    ):
        yield what, [inner.turn(request)[0] for _ in range(REPEATED)]
        inner.rest()
    first_s, _ = inner.turn(wire.Want(id="", startup="another", unit=unit, prerequisites=["u"]))
    yield "want of a new startup", [first_s]
    yield "what a new startup leaves to do", inner.rest()


def _pages(inner: Unconnected, page: Callable[[int], wire.List | wire.Why]) -> list[float]:
    took_s, offset = [], 0
    while offset >= 0:
        page_s, reply = inner.turn(page(offset))
        assert isinstance(reply, wire.ListReply | wire.WhyReply), reply
        took_s.append(page_s)
        offset = reply.next
    return took_s


# --- shapes: each says what it is, and which unit to ask about ----------------------


def _layers(inner: Unconnected, units: int) -> tuple[str, str]:
    """Each unit waits for some of the layer above."""
    _declare(
        inner,
        {
            f"l{number}": [
                f"l{(number // WIDTH - 1) * WIDTH + (number + each) % WIDTH}"
                for each in range(OF_LAYER_ABOVE if number >= WIDTH else 0)
            ]
            for number in range(units)
        },
    )
    return f"layers of {WIDTH:,}", f"l{units - 1}"


def _all_but_one_completed(inner: Unconnected, units: int) -> tuple[str, str]:
    names = [f"p{number}" for number in range(units)]
    _declare(inner, {**{name: [] for name in names}, "all": names})
    inner.ask([wire.encode(wire.Complete(id="", unit=name)) for name in names[:-1]], 100)
    return "a fan-in, completed but for the last", "all"


def _nobody_registered(inner: Unconnected, units: int) -> tuple[str, str]:
    _declare(inner, {"all": [f"p{number}" for number in range(units)]})
    return "a fan-in that nobody registered", "all"


def _gate(inner: Unconnected, units: int) -> tuple[str, str]:
    """Half of the units wait for one that waits for the other half, of which only the last
    has not completed."""
    names = [f"p{number}" for number in range(units // 2)]
    after = [f"d{number}" for number in range(units // 2)]
    _declare(inner, {**{name: [] for name in names}, "gate": names})
    _declare(inner, {name: ["gate"] for name in after})
    inner.ask([wire.encode(wire.Complete(id="", unit=name)) for name in names[:-1]], 100)
    return "a fan-in and a fan-out", "gate"


def _skipped(inner: Unconnected, units: int) -> tuple[str, str]:
    _declare(inner, {f"c{number}": [f"c{number - 1}"] if number else [] for number in range(units)})
    inner.ask([wire.encode(wire.Fail(id="", unit="c0", reason="broken"))], 1)
    return "a chain, its first failed", f"c{units - 1}"


def _declare(inner: Unconnected, units: Declared) -> None:
    all_of_them = [wire.Declaration(name, above) for name, above in units.items()]
    for first in range(0, len(all_of_them), PART):
        part = all_of_them[first : first + PART]
        inner.ask([wire.encode(wire.Declare(id="", units=part))], 1)
