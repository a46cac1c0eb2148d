"""How long one request holds up all others, beside graphs of 100,000 units.

Reads, and verbs about one unit, in this process without sockets, but with a journal. A sample
is a turn of the loop with one request. Something changes before each, so that nothing is
remembered. If a question is answered in pages, each page is a sample. Every other request is
repeated. The work that a new startup leaves for later turns is measured a step at a time. The
results also say which turn was the longest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Final

from bench.parts import Unconnected, unconnected
from bench.scenarios import Bench
from bench.servers import new_folder
from unitsync import wire

UNITS: Final = 100_000
WIDTH: Final = 1_000
"""Units in a layer."""
OF_LAYER_ABOVE: Final = 10
CHAINS: Final = 100
PART: Final = 10_000
"""Units that one request declares."""
REPEATED: Final = 20

Declared = dict[str, list[str]]


def measure(bench: Bench) -> None:
    units = bench.count(UNITS)
    for shape in (_layers, _all_but_one_completed, _nobody_registered, _gate, _skipped, _chains):
        folder = new_folder(bench.folder)
        with unconnected(folder / "journal.db") as inner:
            case, unit = shape(inner, units)
            inner.rest()
            turns = list(_asked(_Changing(inner), unit))
        shutil.rmtree(folder)
        longest_s, what = max(turns)
        bench.record.add(case, "time of a turn", "s", [took_s for took_s, _ in turns])
        bench.record.add(f"{case}: {what}", "longest turn", "s", [longest_s])


class _Changing:
    def __init__(self, inner: Unconnected) -> None:
        self._inner = inner
        self._changes = 0

    def turn(self, request: wire.AnyRequest) -> tuple[float, wire.AnyReply]:
        """Like ``Unconnected.turn``, but registers another unit before."""
        self._changes += 1
        new = f"change-{self._changes}"
        self._inner.turn(wire.Want(id="", unit=new, prerequisites=[]))
        self._inner.rest()
        return self._inner.turn(request)

    def rest(self) -> list[float]:
        return self._inner.rest()


def _asked(inner: _Changing, unit: str) -> Iterator[tuple[float, str]]:
    """(seconds, what was asked) of each turn."""
    yield from _pages(inner, "list", lambda offset: wire.List(id="", offset=offset, limit=1000))
    yield from _pages(inner, "why", lambda offset: wire.Why(id="", offset=offset))
    for _ in range(REPEATED):
        for what, request in (
            ("why of a unit", wire.Why(id="", unit=unit)),
            ("status of a unit", wire.StatusOf(id="", unit=unit, render=wire.Render.TEXT)),
            ("want of another", wire.Want(id="", unit=unit, prerequisites=["other"])),
            ("unwant of one", wire.Unwant(id="", unit=unit, prerequisites=["other"])),
            ("start, which is refused", wire.Start(id="", unit=unit, wait=False)),
            ("wait, which is refused", wire.Wait(id="", units=[unit], wait=False)),
            ("reset of a unit", wire.Reset(id="", units=[unit])),
        ):
            yield inner.turn(request)[0], what
    began = wire.Want(id="", startup="another", unit=unit, prerequisites=["u"])
    yield inner.turn(began)[0], "want of a new startup"
    for step_s in inner.rest():
        yield step_s, "what a new startup leaves to do"


def _pages(
    inner: _Changing, what: str, page: Callable[[int], wire.List | wire.Why]
) -> Iterator[tuple[float, str]]:
    offset = 0
    while offset >= 0:
        page_s, reply = inner.turn(page(offset))
        assert isinstance(reply, wire.ListReply | wire.WhyReply), reply
        yield page_s, what
        offset = reply.next


# --- shapes: each says what it is, and which unit to ask about ----------------------


def _layers(inner: Unconnected, units: int) -> tuple[str, str]:
    """Each unit waits for some units of the layer above."""
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
    """Half of the units wait for one unit, which waits for the other half. Of these, only the
    last has not completed."""
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


def _chains(inner: Unconnected, units: int) -> tuple[str, str]:
    length = units // CHAINS
    ends = [f"c{chain}.{length - 1}" for chain in range(CHAINS)]
    _declare(inner, {"all": ends})
    for chain in range(CHAINS):
        names = [f"c{chain}.{number}" for number in range(length)]
        above = zip(names[1:], names, strict=False)
        _declare(inner, {names[0]: [], **{name: [other] for name, other in above}})
    return f"one behind {CHAINS} chains", "all"


def _declare(inner: Unconnected, units: Declared) -> None:
    all_of_them = [wire.Declaration(name, above) for name, above in units.items()]
    for first in range(0, len(all_of_them), PART):
        part = all_of_them[first : first + PART]
        inner.ask([wire.encode(wire.Declare(id="", units=part))], 1)
