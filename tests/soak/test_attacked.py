"""Honest scripts beside an attacker who may talk, and a coordinator that is killed at any
moment: all of them go through, in order, and none is told that there is no coordinator."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from faults.places import Place, clean_environment
from faults.scripts import UNITSYNC
from soak.test_soak import place

__all__ = ["place"]

LONG: Final = bool(os.environ.get("SOAK_S"))
SCRIPTS: Final = 200 if LONG else 20
KILLS: Final = 20 if LONG else 3
BEHIND: Final = 7
"""Each script waits for the one so many before it, and has come before or after it."""
PATIENCE_S: Final = 500.0 if LONG else 120.0


@contextmanager
def attacked(place: Place, seed: int) -> Iterator[None]:
    tests = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-m", "soak.attacker", place.endpoint.path, str(seed)],
        env=clean_environment() | {"PYTHONPATH": str(tests)},
        stderr=subprocess.DEVNULL,
    ) as attacker:
        try:
            yield
            assert attacker.poll() is None
        finally:
            attacker.kill()


@pytest.mark.timeout(PATIENCE_S * 2)
def test_honest_scripts_beside_an_attacker(place: Place) -> None:
    seed = random.SystemRandom().randrange(1 << 32) if LONG else 1
    print(f"seed {seed}")
    rng = random.Random(seed)
    told = place.folder / "told"
    place.start()
    environment = clean_environment() | {"UNITSYNC_ENDPOINT": place.address}
    with attacked(place, seed), ExitStack() as stack:
        scripts: dict[int, subprocess.Popen[str]] = {}
        for number in rng.sample(range(SCRIPTS), SCRIPTS):
            after = ["--after", f"u{number - BEHIND}"] if number >= BEHIND else []
            words = ["run", f"u{number}", *after, "--timeout", f"{PATIENCE_S:.0f}"]
            scripts[number] = subprocess.Popen(
                [*UNITSYNC, *words, "--", "sh", "-c", f"echo {number} >> {told}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(scripts[number])
            stack.callback(scripts[number].kill)
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.0, 1.0))  # at any moment
            for pid in place.serving():
                place.kill(pid)
        for number, script in scripts.items():
            _, err = script.communicate(timeout=PATIENCE_S)
            assert script.returncode == 0, (number, err)
    order = [int(line) for line in told.read_text().split()]
    assert sorted(order) == list(range(SCRIPTS))
    for number in range(BEHIND, SCRIPTS):
        assert order.index(number - BEHIND) < order.index(number)
