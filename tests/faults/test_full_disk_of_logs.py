"""A disk that is full under the logs: the command does not notice, one warning says so, and the
log marks where output is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from faults.small_disk import HELD, a_place_on_a_small_disk, held_apart


def test_a_full_disk_under_the_logs_does_not_hurt_the_command() -> None:
    held_apart(__file__)


def run(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("unitsync"), "run", *words],
        env={**os.environ, "UNITSYNC_ENDPOINT": address},
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )


if __name__ == "__main__":
    lines = "".join(f"line {number:05}\n" for number in range(100_000))
    with a_place_on_a_small_disk("1m") as place:
        # The log fills the disk itself. Room for the end of the run is made beside it.
        code = f"seq -f 'line %05g' 0 99999; rm {place.home}/rest"
        (place.home / "rest").write_bytes(b"x" * 200_000)
        done = run(place.address, "u", "--log", "--", "sh", "-c", code)
        assert (done.returncode, done.stdout == lines) == (0, True), done
        warning = "warning: the output of u cannot be kept: No space left on device\n"
        assert done.stderr == warning, done.stderr
        with place.client() as client:
            assert client.status("u").status == "completed"
    sys.stdout.write(HELD)
