"""What a script has set for its own Python changes nothing for a verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import unitsync
import unitsyncd
from cli.conftest import MODULE, UNITSYNC, Cli, Result
from unitsync.coder import shim

HARMLESS = {
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUNBUFFERED": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONSTARTUP": "/nonexistent.py",
    "PYTHONHASHSEED": "0",
    "PYTHONBREAKPOINT": "nobody.there",
    "LC_ALL": "C",
}
"""No Python refuses to start with these, and all that is imported is the same."""
DEADLY = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONPLATLIBDIR": "nonexistent",
    "PYTHONHASHSEED": "no number",
    "PYTHONINTMAXSTRDIGITS": "no number",
    "PYTHONMALLOC": "no allocator",
    "PYTHONVERBOSE": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONINSPECT": "1",
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONTRACEMALLOC": "1",
}
"""With these a Python does not start, or says on stderr what nobody has asked it."""
SHADOWED = (
    "zmq",
    "msgspec",
    "typer",
    "json",
    "random",
    "typing",
    "socket",
    "unitsync",
    "unitsyncd",
)
HOOKS = ("sitecustomize", "usercustomize")


def startup_of(cli: Cli, *command: str, env: dict[str, str | None]) -> list[Result]:
    """What scripts call in a startup, a coordinator and the full command line included."""

    def call(*arguments: str) -> Result:
        return cli.exec(*command, *arguments, env=env)

    return [
        call("list"),
        call("want", "ide", "clone"),
        call("start", "clone"),
        call("run", "ide", "--after", "clone", "--timeout", "1ms", "--", "true"),
        call("complete", "clone"),
        call("run", "ide", "--", "sh", "-c", "echo $PYTHONHOME"),
        call("wait", "ide", "--any", "--timeout", "1m30s"),
        call("status", "clone", "--output", "json"),
        call("stop"),
        call("list", "--output", "json"),
    ]


def check(results: list[Result], home: str = "") -> None:
    assert [result.status for result in results] == [0, 0, 0, 124, 0, 0, 0, 0, 0, 0], results
    assert results[5].out == f"{home}\n"
    assert results[6].out == "ide\n"
    assert json.loads(results[7].out)["status"] == "completed"
    assert {unit["status"] for unit in json.loads(results[9].out)} == {"completed"}
    assert [result.err for result in results if result.status == 0] == [""] * 9


@pytest.mark.timeout(180)
@pytest.mark.parametrize("cli", [MODULE, UNITSYNC], ids=["module", "command"], indirect=True)
def test_variables_of_python(cli: Cli) -> None:
    # What is not compiled yet for this level, each call would compile anew.
    cli("doctor", env={"PYTHONOPTIMIZE": HARMLESS["PYTHONOPTIMIZE"]})
    check(startup_of(cli, *cli.command, env={**HARMLESS, "PYTHONPATH": "/no/such"}))


@pytest.mark.timeout(180)
def test_through_the_shim_no_variable_of_python_counts(cli: Cli) -> None:
    folder = cli.folder / "shim"
    folder.mkdir()
    coder, _ = shim.install(folder, force=False)
    hostile = cli.folder / "hostile"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    user_site = hostile / "lib" / version / "site-packages"
    user_site.mkdir(parents=True)
    for name in (*SHADOWED, *HOOKS):
        for place in (hostile, user_site):
            (place / f"{name}.py").write_text("raise SystemExit('this is another one')\n")
    env: dict[str, str | None] = {
        **{name: HARMLESS[name] for name in HARMLESS if name != "PYTHONNOUSERSITE"},
        **DEADLY,
        "PYTHONPATH": f"{hostile}:",
        "PYTHONUSERBASE": str(hostile),
    }
    results = startup_of(cli, str(coder), "exp", "sync", env=env)
    check(results, home="/nonexistent")
    environ = _environ_of_the_coordinator(cli)
    installed = (str(Path(package.__path__[0]).parent) for package in (unitsync, unitsyncd))
    editable = f"PYTHONPATH={os.pathsep.join(dict.fromkeys(installed))}".encode()
    assert [name for name in environ if name.startswith(b"PYTHON")] in ([], [editable])


def test_modules_of_the_program_stay_last(tmp_path: Path) -> None:
    """However often a verb tries to reach a coordinator."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom unitsync.modules.module_path import installed_first\n"
        "for _ in range(9):\n    installed_first()\n    print(sys.path)\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    ordered = subprocess.check_output([sys.executable, program], env=env, text=True)
    (once,) = set(ordered.splitlines())
    assert once.endswith(f", {str(tmp_path)!r}]")


def _environ_of_the_coordinator(cli: Cli) -> list[bytes]:
    with cli.client() as client:
        pid = client.ping().pid
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
