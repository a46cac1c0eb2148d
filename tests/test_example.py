"""The example in examples/workspace, run the way its README says.

Each run is a whole startup: nine real scripts, a coordinator of their own, a clone, an
installation, a web server. Nothing in it is replaced to make it cheaper.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "workspace"
ROW = re.compile(r"^([a-z-]+)  .*?(?:(failed|skipped)|█)", re.MULTILINE)


def startup(*arguments: object, example: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, example / "startup.py", "--limit", "40", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)


def declared() -> dict[str, set[str]]:
    """What the scripts themselves say that they wait for."""
    needs = {}
    for script in (EXAMPLE / "scripts").iterdir():
        text = script.read_text()
        found = re.findall(
            r"--after ([\w,-]+)|^unitsync want \S+ ([\w -]+)|after=(\[.*?\])", text, re.MULTILINE
        )
        needs[script.stem] = {
            name for each in found for name in re.findall(r"[\w-]+", " ".join(each))
        }
    return needs


def times(root: Path, unit: str) -> list[int]:
    file = root / "stamps" / unit
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def assert_no_process_uses(folder: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            used = process.joinpath("cwd").readlink(), process.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        assert not any(str(folder) in str(each) for each in used), used


@pytest.fixture(scope="module", autouse=True)
def somebody_elses_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What else runs on the machine, under a name that is not text."""
    name = os.fsencode(tmp_path_factory.mktemp("somebody")) + b"/\xff\xfe"
    os.symlink(os.fsencode(str(shutil.which("sleep"))), name)
    with subprocess.Popen([name, "600"], env={}) as process:
        yield
        process.kill()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_starting_ends_in_the_right_order(seed: int, tmp_path: Path) -> None:
    root = tmp_path / "kept"
    ran = startup("--seed", seed, "--keep", root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all 16 times" in ran.stdout
    assert "Nothing is left." in ran.stdout
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())

    needs = declared()
    assert len(needs) == 9
    for unit, prerequisites in needs.items():
        began, ended = times(root, unit)
        assert began < ended
        for prerequisite in prerequisites:
            assert times(root, prerequisite)[1] < began, f"{unit} overtook {prerequisite}"

    assert (root / "workspace/agent.txt").read_text() == "Heron\nLarch\nMoss &amp; stone\n"
    assert (root / "workspace/report.txt").read_text().startswith("ready: http://127.0.0.1:")
    assert "\nOK\n" in (root / "logs/unit-tests.log").read_text()
    assert_no_process_uses(root)


@pytest.mark.parametrize("plan", [False, True])
def test_the_picture_shows_what_ran_when(plan: bool, tmp_path: Path) -> None:
    picture = tmp_path / "timeline.svg"
    how = ["--plan"] if plan else ["--seed", "1"]
    ran = startup(*how, "--keep", tmp_path / "kept", "--timeline", picture)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"what ran when: {picture}" in ran.stdout.splitlines()
    drawn = ElementTree.parse(picture)
    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    places = {unit: texts.index(unit) for unit in declared()}
    for unit, prerequisites in declared().items():
        for prerequisite in prerequisites:  # rows are in the order in which they ran
            assert places[prerequisite] < places[unit]
    (title,) = (text for text in texts if text.startswith("Startup: "))
    assert "so far" not in title
    everything = " ".join(texts)
    assert "9 completed" in everything or "8 completed, 1 up" in everything, everything


def test_a_picture_that_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    ran = startup("--broken-clone", "--timeline", tmp_path / "timeline.png")
    assert "does not end in one of .svg, .html, .json" in ran.stdout
    assert "Nothing is left." in ran.stdout


def test_a_broken_clone_shows_what_fails_what_is_skipped_and_why(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    ran = startup("--broken-clone", "--seed", 3, "--keep", root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcomes = {name: word or "completed" for name, word in ROW.findall(ran.stdout)}
    skipped = ("pip-install", "unit-tests", "build-site", "web-server", "agent")
    assert outcomes == {
        "git-config": "completed",
        "venv": "completed",
        "git-clone": "failed",
        **dict.fromkeys(skipped, "skipped"),
        "report": "completed",
    }
    why = ran.stdout.split("$ unitsync why")[1].split("what the last script")[0]
    assert "git-clone" in why
    assert "128" in why, "git's exit status is the root of it all"
    for unit in skipped:
        assert times(root, unit) == []
        assert "git-clone" in (root / "logs" / f"{unit}.log").read_text()
    report = (root / "workspace/report.txt").read_text()
    assert report.startswith("not ready\n")
    assert re.search(r"^  agent +skipped +git-clone failed: exit status 128$", report, re.MULTILINE)
    assert "Nothing is left." in ran.stdout
    assert_no_process_uses(root)


def planned() -> dict[str, set[str]]:
    """What the plan says that its units wait for."""
    units = tomllib.loads((EXAMPLE / "unitsync.toml").read_text())["unit"]
    return {
        name: {edge if isinstance(edge, str) else edge["unit"] for edge in unit.get("after", [])}
        for name, unit in units.items()
    }


@pytest.mark.parametrize("number", range(2))
def test_the_plan_keeps_the_same_order(number: int, tmp_path: Path) -> None:
    root = tmp_path / "kept"
    ran = startup("--plan", "--keep", root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all 16 times" in ran.stdout
    assert "Nothing is left." in ran.stdout
    assert "no mistakes in 8 units and 16 edges" in ran.stdout
    assert "It ended with exit status 0." in ran.stdout

    needs = {"git-config": set[str](), **planned()}
    assert needs == declared()
    for unit, prerequisites in needs.items():
        began = times(root, unit)[0]
        for prerequisite in prerequisites:
            assert times(root, prerequisite)[1] < began, f"{unit} overtook {prerequisite}"
    assert (root / "workspace/agent.txt").read_text() == "Heron\nLarch\nMoss &amp; stone\n"
    assert (root / "logs/unit-tests.log").read_text().endswith("Z OK\n")
    assert_no_process_uses(root)


def test_the_plan_shows_a_broken_clone_as_the_scripts_do(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    ran = startup("--plan", "--broken-clone", "--keep", root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "It ended with exit status 1." in ran.stdout
    assert "  hint: unitsync logs git-clone" in ran.stderr.splitlines()
    report = (root / "workspace/report.txt").read_text()
    assert report.startswith("not ready\n")
    assert re.search(
        r"^  web-server +skipped +git-clone failed: exit status 128$", report, re.MULTILINE
    )
    assert_no_process_uses(root)


def test_the_proof_notices_when_nothing_keeps_the_order(tmp_path: Path) -> None:
    """The same scripts with a unitsync that lets everyone through at once."""
    example = tmp_path / "example"
    shutil.copytree(EXAMPLE, example)
    careless = example / "bin" / "unitsync"
    careless.write_text(
        "#!/usr/bin/env bash\n"
        'while [[ $1 == run && $# -gt 1 && $2 != -- ]]; do set -- run "${@:3}"; done\n'
        'case $1 in run) shift 2; exec "$@" ;; list) echo "[]" ;; esac\n'
    )
    careless.chmod(0o755)
    # These two would look for a page until their time is up, if the site is not made first.
    for script in ("agent.py", "web-server.sh"):
        unit = script.partition(".")[0]
        text = f"#!/usr/bin/env bash\nexec unitsync run {unit} -- stopwatch {unit} true\n"
        (example / "scripts" / script).write_text(text)
    # This one goes on until the report has begun, however late that is.
    until = "until [[ -e $STAMPS/report ]]; do sleep 0.05; done"
    (example / "scripts" / "pip-install.sh").write_text(
        "#!/usr/bin/env bash\n"
        f"exec unitsync run pip-install -- stopwatch pip-install bash -c '{until}'\n"
    )
    ran = startup("--seed", 0, example=example)
    assert ran.returncode == 1
    assert re.search(r"report began [\d.]+ ms before pip-install had ended", ran.stdout), ran.stdout
