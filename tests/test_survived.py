"""What was survived is told at the end of the run, whichever processes it ran in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

CONFTEST = "from support.survived import pytest_terminal_summary, soaked, survived\n"
MODULE = """
import pytest

@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_crashes(number, survived):
    survived["sent"] = number
    survived["received"] = 1000

def test_soak(soaked):
    soaked["requests"] = 12345
    soaked["crashes of clients"] = 6

def test_nothing():
    pass
"""


@pytest.mark.parametrize("options", [["-n", "2"], ["-n", "0"]])
def test_it_is_told(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, "-o", f"pythonpath={TESTS}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    told = "survived 4,010 crashes of the coordinator: 4,000 at 'received', 10 at 'sent'"
    assert told in lines
    assert "survived in the soak: 12,345 requests, 6 crashes of clients" in lines
