"""Whatever Python's own variables say, a verb does what it does; and a Python whose path
has a space (6)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import unitsync
from cli.conftest import PATIENCE_S, Cli

VARIABLES: dict[str, dict[str, str | None]] = {
    "strict": {
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONMALLOC": "debug",
        "PYTHONIOENCODING": "latin-1",
        "PYTHONUSERBASE": "/no/such",
        "PYTHONSTARTUP": "/no/such",
        "PYTHONBREAKPOINT": "no.such",
        "PYTHONFAULTHANDLER": "1",
    },
    "ascii": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": None},
    "posix": {"PYTHONUTF8": "0", "LC_ALL": "POSIX"},
    "no-locale": {"LC_ALL": None, "LANG": None, "PYTHONPYCACHEPREFIX": "cache"},
    "habits": {
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONDEVMODE": "1",
        "PYTHONPATH": "/no/such:relative:",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONINTMAXSTRDIGITS": "640",
    },
}
"""Those that are set together have nothing to do with each other. Nearly all at once:
tests/cli/test_hostile_python.py."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", VARIABLES)
def test_a_verb_does_what_it_does(cli: Cli, name: str) -> None:
    env = VARIABLES[name]
    assert cli("want", "größe", "deps", env=env) == (0, "", "")
    assert cli("run", "deps", "--", "printenv", "UNITSYNC_UNIT", env=env) == (0, "deps\n", "")
    assert cli("run", "größe", "--", "printenv", "UNITSYNC_UNIT", env=env)[:1] == (0,)
    status = cli("status", "deps", "-o", "json", env=env)
    assert (status.status, status.err) == (0, "")
    with cli.client() as client:
        assert client.status("größe").status == "completed"
        assert [unit.name for unit in client.list()] == ["größe", "deps"]


def test_a_python_whose_path_has_a_space(cli: Cli) -> None:
    """6: the script that pip writes there cannot be run; doctor says what can."""
    home = cli.folder / "a venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "all.pth").write_text("\n".join(path for path in sys.path if Path(path).is_dir()))
    script = home / "bin" / "unitsync"
    source = Path(unitsync.__file__).parent.parent / "scripts" / "unitsync"
    script.write_text(source.read_text().replace("#!python", f"#!{python}"))
    script.chmod(0o755)
    result = cli.exec(str(python), "-m", "unitsync", "doctor", "-o", "json")
    found = {finding["about"]: finding for finding in json.loads(result.out)}
    assert result.status == 1
    assert found["command"]["level"] == "problem"
    assert "has a space" in found["command"]["text"]
    said = found["command"]["hint"].partition("call it as ")[2]
    done = subprocess.run(
        f"{said} ping", shell=True, env=cli.env(), capture_output=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout) == (0, b"Success\n"), done
    here = json.loads(cli("doctor", "-o", "json").out)
    assert "command" not in {finding["about"] for finding in here}
