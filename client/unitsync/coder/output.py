"""What Coder's ``exp sync`` prints, for scripts that reach unitsync through the shim.

It follows Coder's documentation and golden files (2.30); tests/golden/coder/ holds the
shim to them. With ``status`` and ``list``, stdout gets only the lines that Coder prints.
What unitsync knows beyond that goes to stderr.
"""

from unitsync.text import printing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitsync.wire import UnitInfo

STATUS_COLUMNS = ("DEPENDS ON", "REQUIRED STATUS", "CURRENT STATUS", "SATISFIED")
LIST_COLUMNS = ("UNIT", "STATUS", "READY")


def status(unit: "UnitInfo", columns: "Sequence[str]" = ()) -> list[str]:
    """What ``status`` prints. *columns* are the columns of its table; empty means all."""
    lines = [f"Unit: {unit.name}", f"Status: {unit.status}", f"Ready: {_bool(is_ready(unit))}"]
    lines += ["", "Dependencies:"]
    if not unit.prerequisites:
        return [*lines, "No dependencies found"]
    rows = [
        (edge.name, printing.required_status(edge.requires), str(edge.status), _bool(edge.met))
        for edge in unit.prerequisites
    ]
    return lines + _table(STATUS_COLUMNS, rows, columns)


def listed(units: "Iterable[UnitInfo]", columns: "Sequence[str]" = ()) -> list[str]:
    """What ``list`` prints. *columns* are the columns of its table; empty means all."""
    rows = [(unit.name, str(unit.status), _bool(is_ready(unit))) for unit in units]
    return _table(LIST_COLUMNS, rows, columns) if rows else ["No units registered"]


def registered(units: "Iterable[UnitInfo]") -> "list[UnitInfo]":
    """The units that ``list`` shows, in its order."""
    known = (unit for unit in units if unit.status != "not registered")
    return sorted(known, key=lambda unit: unit.name)


def is_ready(unit: "UnitInfo") -> bool:
    """Whether the prerequisites of *unit* are met. That is what Coder means by ready."""
    return unit.is_ready or unit.status in ("launching", "started")


def waiting(unit: str) -> str:
    return f"Waiting for dependencies of unit '{unit}' to be satisfied..."


def timed_out(unit: str) -> str:
    return f"timeout waiting for dependencies of unit '{unit}'"


def gone(name: str) -> str:
    """For stderr, because Coder does not check whether a script is still there."""
    return f"unitsync: the script that started {name} has ended and did not complete it"


def besides(unit: "UnitInfo") -> list[str]:
    """What ``status`` prints on stderr."""
    lines = [gone(unit.name)] if unit.owner_gone else []
    lines += [gone(edge.name) for edge in unit.prerequisites if edge.owner_gone]
    if (more := unit.prerequisites_total - len(unit.prerequisites)) > 0:
        lines.append(f"unitsync: {more:,} more dependencies are not shown")
    if unit.nearest:
        lines.append(f"hint: did you mean {unit.nearest}?")
    return lines


def without_null(fields: dict[str, object]) -> dict[str, object]:
    """JSON *fields* as Go writes them: a missing value is an empty string, and so is the
    status of a unit that is not registered."""
    return {key: _without_null(value, key) for key, value in fields.items()}


def _without_null(value: object, key: str) -> object:
    if isinstance(value, dict):
        return without_null(value)
    if isinstance(value, list):
        return [_without_null(item, key) for item in value]
    unregistered = value == "not registered" and key in ("status", "current_status")
    return "" if value is None or unregistered else value


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _table(
    names: "Sequence[str]", rows: "Sequence[tuple[str, ...]]", columns: "Sequence[str]"
) -> list[str]:
    """*rows*, sorted, under the *names* of their columns. Even the last cell is padded."""
    shown = [number for number, name in enumerate(names) if not columns or name in columns]
    cells = [[row[number] for number in shown] for row in (names, *sorted(rows))]
    widths = [max(map(printing.columns, column)) for column in zip(*cells, strict=True)]
    return [
        "".join(
            f"{printing.padded(cell, width)}  " for cell, width in zip(row, widths, strict=True)
        )
        for row in cells
    ]
