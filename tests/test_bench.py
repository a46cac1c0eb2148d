"""The benchmarks run, keep what they measure, and can be compared and reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.daemon import short_folder

ROOT = Path(__file__).resolve().parents[1]


def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_scenario_is_run_kept_compared_and_reported(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"

    run = call("-m", "bench", "waiters", "--quick", "--into", str(kept))

    assert run.returncode == 0, run.stderr
    assert "memory per client" in run.stdout
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert {line["scenario"] for line in lines} == {"waiters"}
    for line in lines:
        assert line["samples"]
        assert line["quick"]
        assert line["machine"]["cores"] >= 1
        assert line["machine"]["commit"]

    same = call("bench/compare.py", str(kept), str(kept))
    assert same.returncode == 0, same.stderr
    assert "1.00 to 1.00" in same.stdout
    assert "better" not in same.stdout
    assert "worse" not in same.stdout
    assert f"B: {kept.name}: quick, " in same.stdout

    reported = call("-m", "bench", "report", str(kept))
    assert reported.returncode == 1
    assert "there are no results" in reported.stderr  # a quick run is not to be quoted
    for line in lines:
        del line["quick"]
    full = tmp_path / "full.jsonl"
    full.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    mixed = call("bench/compare.py", str(kept), str(full))
    assert mixed.returncode == 0, mixed.stderr
    assert "quick in A or B alone: waiters: " in mixed.stdout
    assert "1.00 to 1.00" not in mixed.stdout
    reported = call("-m", "bench", "report", str(full))
    assert reported.returncode == 0, reported.stderr
    assert "### waiters" in reported.stdout
    assert "| --- |" in reported.stdout


def test_a_coordinator_is_put_together_without_journal_and_without_sockets() -> None:
    code = (
        "import sys, pathlib\n"
        "from bench.load import Pipeline, completes, runs, want\n"
        "from bench.parts import unconnected, without_journal\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "frames = runs(['a', 'b']) + want('w', 2) + completes(['w-1'])\n"
        "with without_journal(folder) as server:\n"
        "    with Pipeline(server.address, checked=True) as line:\n"
        "        line.ask(frames)\n"
        "print([path.name for path in folder.rglob('*.*')])\n"
        "with unconnected(folder / 'journal.db') as inner:\n"
        "    inner.ask(frames, 2)\n"
        "print((folder / 'journal.db').exists())\n"
    )
    with short_folder() as folder:
        done = call("-c", code, str(folder))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['server.sock']", "True"]


def test_with_pythonpath_the_command_is_not_measured(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"

    refused = call("-m", "bench", "cli", "--quick", "--into", str(kept), PYTHONPATH=str(tmp_path))

    assert refused.returncode == 1
    assert "error: with PYTHONPATH " in refused.stderr
    assert "hint: unset PYTHONPATH\n" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not kept.exists()


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    refused = call("-m", "bench", "nonsense")

    assert refused.returncode == 2
    assert "throughput" in refused.stderr


def test_help_lists_every_scenario_with_what_it_measures() -> None:
    helped = call("-m", "bench", "--help")

    assert helped.returncode == 0, helped.stderr
    for name in (
        *(
            "bulk",
            "chain",
            "cli",
            "events",
            "forms",
            "graph",
            "journal",
            "memory",
            "racing",
            "recovery",
            "scripts",
        ),
        *("throughput", "waiters", "ways", "wakeup"),
    ):
        assert f"  {name} " in helped.stdout


def test_a_scenario_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(
        "def measure(bench):\n"
        "    bench.record.add('case', 'wall', 's', [1.0])\n"
        "    assert bench.quick, 'enough'\n"
    )
    code = (
        "import sys, bench.scenarios as scenarios\n"
        "from bench.scenarios.__main__ import main\n"
        "scenarios.__path__.append(sys.argv[1])\n"
        "main('half', *sys.argv[2:])\n"
    )
    kept = tmp_path / "kept.jsonl"
    whole = ("-c", code, str(tmp_path), str(kept), "run", str(tmp_path))

    failed = call(*whole)
    assert "AssertionError: enough" in failed.stderr
    assert not kept.exists()

    passed = call(*whole, "quick")
    assert passed.returncode == 0, passed.stderr
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 1


def test_a_closed_terminal_ends_the_scenario_and_removes_its_folder(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "bulk", "--quick", "--into", str(kept)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    ) as bench:
        scenario, arguments = scenario_of(bench.pid)
        folder = Path(arguments[-2])
        assert folder.is_dir()
        bench.send_signal(signal.SIGHUP)
        assert bench.wait(20) == 128 + signal.SIGHUP

    assert not folder.exists()
    assert not Path(f"/proc/{scenario}").exists()
    assert not kept.exists()


def scenario_of(bench: int) -> tuple[int, list[str]]:
    """(pid, command line) of the scenario that *bench* runs, once there is one."""
    late = time.monotonic() + 20
    while time.monotonic() < late:
        for pid in Path(f"/proc/{bench}/task/{bench}/children").read_text().split():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"bench.scenarios" in line:
                return int(pid), line.rstrip(b"\0").decode().split("\0")
        time.sleep(0.01)
    raise TimeoutError("no scenario is run")
