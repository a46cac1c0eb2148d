"""Large and random plans: what ran, what was skipped and in which order, against an oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import Up, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


@dataclass
class Unit:
    name: str
    fails: bool = False
    service: bool = False
    retries: int = 0
    """How often it fails before it is fine."""
    after: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """For each prerequisite what is needed of it, and whether it is optional."""
    written: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """What of that is in its table: names, and patterns that stand for the others."""
    first: bool = False
    """Whether all others wait for it."""

    def table(self) -> str:
        edges = ", ".join(
            f'{{ unit = "{name}", requires = "{requires}", optional = {str(optional).lower()} }}'
            for name, (requires, optional) in self.written.items()
        )
        text = f"echo + {self.name} >> log"
        if self.retries:
            tries = f"{self.name}.tries"
            text += f"; echo x >> {tries}; [ $(wc -l < {tries}) -gt {self.retries} ]"
        if self.service:
            text += f"; echo = {self.name} >> log; echo up; while ! [ -e end ]; do sleep 0.05; done"
        text += f"; echo - {self.name} >> log; {'false' if self.fails else 'true'}"
        lines = [f'[unit."{self.name}"]', f'run = "{text}"', f"after = [{edges}]"]
        if self.first:
            lines.append('before = ["*"]')
        if self.service:
            lines.append('ready = "line:up"')
        if self.retries:
            lines += [f"retries = {self.retries}", 'backoff = "1ms"']
        return "\n".join(lines)


def made(seed: int, count: int) -> list[Unit]:
    """Edges only go to earlier units, and patterns stand for earlier modules, so there is no
    cycle. All wait for the last one."""
    chance = random.Random(seed)
    units: list[Unit] = []
    for number in range(count):
        unit = Unit(f"m{number // 5}.u{number}")
        kind = chance.random()
        unit.fails = kind < 0.2
        unit.service = 0.2 <= kind < 0.4
        unit.retries = chance.randint(1, 2) if 0.4 <= kind < 0.5 else 0
        for other in chance.sample(units, min(len(units), chance.randint(0, 3))):
            requires = chance.choice(["success", "success", "completion", "start"])
            if other.service:
                requires = "start"  # it ends only when all others have
            unit.after[other.name] = (requires, chance.random() < 0.2 and not other.service)
        unit.written = dict(unit.after)
        for _ in range(chance.choice([0, 0, 1, 2]) if number >= 5 else 0):
            pattern = f"m{chance.randrange(number // 5)}.*{chance.choice(['', '[02468]'])}"
            matching = [other for other in units if fnmatchcase(other.name, pattern)]
            requires = chance.choice(["success", "completion", "start"])
            if any(other.service for other in matching):
                requires = "start"
            need = unit.written.setdefault(pattern, (requires, False))
            for other in matching:
                unit.after.setdefault(other.name, need)
        units.append(unit)
    first = Unit("first", first=True)
    for unit in units:
        unit.after["first"] = ("success", False)
    units.append(first)
    chance.shuffle(units)
    return units


def outcomes(units: list[Unit]) -> dict[str, str]:
    """What must become of each. An optional edge only orders."""
    by_name = {unit.name: unit for unit in units}
    found: dict[str, str] = {}

    def of(name: str) -> str:
        if name not in found:
            unit = by_name[name]
            met = all(
                optional or meets(of(other), requires)
                for other, (requires, optional) in unit.after.items()
            )
            found[name] = ("failed" if unit.fails else "completed") if met else "skipped"
        return found[name]

    def meets(outcome: str, requires: str) -> bool:
        if outcome == "completed" or requires == "completion":
            return True
        return requires == "start" and outcome == "failed"

    return {unit.name: of(unit.name) for unit in units}


def check_order(units: list[Unit], expected: dict[str, str], log: list[str], parallel: int) -> None:
    """Each unit ran once (or once a try), after what it waits for, and not too many at a time."""
    at = {line: number for number, line in enumerate(log)}
    by_name = {unit.name: unit for unit in units}
    for unit in units:
        runs = log.count(f"+ {unit.name}")
        assert runs == (0 if expected[unit.name] == "skipped" else unit.retries + 1), unit
        if not runs:
            continue
        begun = log.index(f"+ {unit.name}")
        for other, (requires, _) in unit.after.items():
            service = by_name[other].service
            if expected[other] == "skipped" or (requires == "start" and not service):
                continue  # who may begin with the other may also be the first to write
            last = "=" if service else "-"
            assert at[f"{last} {other}"] < begun, (unit, other, requires)
    if parallel:
        running: set[str] = set()
        for mark, name in map(str.split, log):
            if mark == "+":
                running.add(name)
                assert len(running) <= parallel, log
            elif mark in "=-":
                running.discard(name)


@pytest.mark.parametrize("seed", range(6))
def test_random_plans(up: Up, seed: int) -> None:
    units = made(seed, 25)
    parallel = (0, 3)[seed % 2]
    expected = outcomes(units)
    # Ends the services when all else has ended.
    others = ", ".join(
        f'{{ unit = "{unit.name}", requires = "completion" }}' for unit in units if not unit.service
    )
    done = up(
        f"parallel = {parallel}\n"
        + "\n".join(unit.table() for unit in units)
        + f'\n[unit.end]\nrun = "touch end"\nafter = [{others}]\n'
    )
    assert {name: state for name, state in up.statuses().items() if name != "end"} == expected
    assert done.status == (0 if set(expected.values()) == {"completed"} else 1)
    check_order(units, expected, (up.folder / "log").read_text().splitlines(), parallel)


def test_500_units_a_fan_in_and_a_chain(up: Up) -> None:
    """In layers of 50, all before one; then 200 in a row."""
    layers = [[f"l{layer}.{n}" for n in range(50)] for layer in range(10)]
    text = []
    for number, layer in enumerate(layers):
        after = layers[number - 1][::10] if number else []
        text += [f'[unit."{name}"]\ncommand = ["true"]\nafter = {after}' for name in layer]
    everything = [name for layer in layers for name in layer]
    text.append(f'[unit.all]\nrun = "touch all"\nafter = {everything}')
    chain = [f"c{n}" for n in range(200)]
    for before, name in zip(["all", *chain], chain, strict=False):
        text.append(f'[unit.{name}]\nrun = "echo {name} >> chain"\nafter = ["{before}"]')
    done = up("\n".join(text))
    assert done.status == 0
    assert done.told[-1].startswith("unitsync: 701 units: 701 completed, in ")
    assert (up.folder / "chain").read_text().split() == chain
    again = up()
    assert again.status == 0
    assert (up.folder / "chain").read_text().split() == chain


def test_500_at_once(cli: Cli, up: Up) -> None:
    """Each holds a pipe and a log, and one fails."""
    unit = '[unit.u{0}]\nrun = "echo {0}; exec sleep 0.{1}"\n'
    units = "".join(unit.format(n, 1 + n % 9) for n in range(499))
    done = up(units + '[unit.bad]\nrun = "echo bad; false"\n', "--fail-fast")
    assert done.status == 1
    counts = next(line for line in done.told if line.startswith("unitsync: 500 units: "))
    assert "failed" in counts
    assert "  | bad" in done.told
