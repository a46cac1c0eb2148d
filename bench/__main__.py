"""Measures what unitsync costs.

``python -m bench [NAME...]`` runs the scenarios (all of them without a name), each in
a process of its own, appends what they measure to a file in bench/results/ and prints
it as a table. ``python -m bench report`` prints the newest results of each scenario,
``python -m bench compare A B`` one run divided by another.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from bench import compare, machine, report, scenarios, tables
from bench.record import RESULTS, Series, read

SCENARIO_PATIENCE_S: Final = 240.0
"""Longer than any scenario takes on a slow machine. After that it is ended."""
_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["report"]:
        return report.main(arguments[1:])
    if arguments[:1] == ["compare"]:
        return compare.main(arguments[1:])
    options = _options(arguments)
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{machine.commit()}"
    path: Path = options.into or RESULTS / f"{run}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in _ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) leaves SIGHUP
            signal.signal(number, _interrupted)
    failed = []
    began = time.monotonic()
    for name in options.names or scenarios.names():
        print(f"{name}: {scenarios.description(name)}", flush=True)
        before = time.monotonic()
        if not _run(name, path, run, quick=options.quick):
            failed.append(name)
        print(f"  {time.monotonic() - before:.0f} s", flush=True)
    results = [one for one in read(path) if one.run == run] if path.exists() else []
    print(_as_text(results))
    print(f"\n{time.monotonic() - began:.0f} s in all; kept in {os.path.relpath(path)}")
    for name in failed:
        print(f"error: {name} failed", file=sys.stderr)
    return 1 if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    known = scenarios.names()
    width = max(map(len, known))
    listed = "\n".join(f"  {name:{width}}  {scenarios.description(name)}" for name in known)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=(__doc__ or "").replace("``", "`"),
        epilog=f"scenarios:\n{listed}\n\nexample:\n  python -m bench cli throughput",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="scenarios to run; all if none")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, to see that it works")
    parser.add_argument(
        "--into", metavar="FILE", type=Path, help="append there instead of a new file"
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in known:
            parser.error(f"there is no scenario {name}; there are: {', '.join(known)}")
    return options


def _run(name: str, path: Path, run: str, *, quick: bool) -> bool:
    """Run the scenario in a process of its own. Whether it finished. Leaves nothing behind."""
    folder = tempfile.mkdtemp(prefix="usb-", dir="/tmp")  # short, for sockets
    try:
        command = [sys.executable, "-m", "bench.scenarios", name, str(path.resolve()), run, folder]
        if quick:
            command.append("quick")
        # A signal that ends us must wait until we know which process to end.
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *_ENDINGS))
        process = subprocess.Popen(
            command,
            cwd=machine.ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, usual),
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
            ended = _ends_within(process.pid, SCENARIO_PATIENCE_S)
        finally:
            # Before the child is reaped: until then, no other process can have its pid.
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not ended:
        print(f"error: {name} is not done after {SCENARIO_PATIENCE_S:.0f} s", file=sys.stderr)
    return ended and status == 0


def _ends_within(pid: int, patience_s: float) -> bool:
    """Whether the child *pid* ends in time. The caller must reap it."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(patience_s * 1000))
    finally:
        os.close(descriptor)


def _environment() -> dict[str, str]:
    """Our environment, without the user's coordinator and without autostart. Python is set up
    as for an installed command: with compiled modules and buffered output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UNITSYNC_", "PYTHON")) or name in ("PYTHONPATH", "PYTHONHOME")
    }
    return kept | {"UNITSYNC_AUTOSTART": "0", "NO_COLOR": "1"}


def _as_text(results: Sequence[Series]) -> str:
    parts = []
    for scenario, series in tables.by_scenario(results).items():
        parts.append(f"\n{scenario}\n\n{tables.plain(tables.HEADINGS, tables.rows(series))}")
    return "\n".join(parts)


def _interrupted(number: int, frame: object) -> NoReturn:
    for other in _ENDINGS:  # a terminal that closes can send more than one
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
