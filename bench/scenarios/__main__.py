"""One scenario in this process: ``python -m bench.scenarios NAME FILE RUN FOLDER [quick]``.

Called by ``python -m bench``, which gives it a folder and ends all processes that it leaves.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench import machine
from bench.record import Recorder
from bench.scenarios import Bench, CannotMeasure


def main(name: str, file: str, run: str, folder: str, quick: str = "") -> None:
    here = machine.describe()
    record = Recorder(Path(file), run, name, here, quick=bool(quick))
    scenario = importlib.import_module(f"bench.scenarios.{name}")
    scenario.measure(Bench(Path(folder), record, bool(quick)))
    record.write()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except CannotMeasure as problem:
        sys.exit("error: {}\nhint: {}".format(*problem.args))
