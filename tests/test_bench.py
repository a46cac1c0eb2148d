"""The benchmarks run, keep what they measure, and can be compared and reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
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

    reported = call("-m", "bench", "report", str(kept))
    assert reported.returncode == 1
    assert "there are no results" in reported.stderr  # a quick run is not to be quoted
    for line in lines:
        del line["quick"]
    kept.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    reported = call("-m", "bench", "report", str(kept))
    assert reported.returncode == 0, reported.stderr
    assert "### waiters" in reported.stdout
    assert "| --- |" in reported.stdout


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    refused = call("-m", "bench", "nonsense")

    assert refused.returncode == 2
    assert "throughput" in refused.stderr


def test_help_lists_every_scenario_with_what_it_measures() -> None:
    helped = call("-m", "bench", "--help")

    assert helped.returncode == 0, helped.stderr
    for name in (
        *("bulk", "chain", "cli", "graph", "journal", "memory", "recovery", "scripts"),
        *("throughput", "waiters", "ways", "wakeup"),
    ):
        assert f"  {name} " in helped.stdout
