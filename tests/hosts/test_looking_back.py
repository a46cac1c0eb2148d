"""The startup of a job, as real coordinators have told it to a real log."""

from __future__ import annotations

import json
from pathlib import Path

from hosts.real import RealHost, must
from support.poll import eventually


def test_the_timeline_of_a_job(three_hosts: list[RealHost], tmp_path: Path, job: str) -> None:
    """train on h0 waits for data on h1, and here for a barrier of two; h2 looks."""
    h0, h1, h2 = three_hosts
    train = h0.call("run", "train", "--after", "data@h1,ready@*:2", "--", "true")
    ready = [host.call("run", "ready", "--after", "data@h1", "--", "true") for host in (h0, h1)]
    for script in (train, *ready):
        assert script.stdout is not None
        assert "waits for" in script.stdout.readline()
    h1.must("run", "data", "--", "true")
    for process in (train, *ready):
        must(process)
    h2.must("wait", "train@h0", "ready@*", "--count", "2")

    page = tmp_path / "job.html"
    calls = {
        words: h2.call(*words, "--hosts")
        for words in (
            ("critical-path", "-o", "json"),
            ("timeline", "-o", "json"),
            ("timeline",),
            ("timeline", "-o", str(page)),
            ("graph",),
            ("what-if", "data@h1=+10s"),
        )
    }
    told = must(h2.call("critical-path", "train", "--hosts"), status=4)
    assert "train@h0" in told
    path, startup, text, _, graph, later = map(must, calls.values())

    steps = json.loads(path)["steps"]
    units = [step["unit"] for step in steps]
    assert (units[0], *units[2:]) == ("data@h1", "ready@*:2", "train@h0")
    assert units[1] in ("ready@h0", "ready@h1")
    assert "registered at" in steps[0]["because"]

    fields = json.loads(startup)
    assert (fields["startup"], fields["hosts"]) == (job, ["h0", "h1", "h2"])
    assert {unit["name"]: unit["status"] for unit in fields["units"]} == dict.fromkeys(
        ("data@h1", "ready@h0", "ready@h1", "ready@*:2", "train@h0"), "completed"
    )
    lines = text.splitlines()
    assert lines[0].startswith(f"Job {job} on 3 hosts: ")
    assert [line.split()[1] if line[0] == " " else line for line in lines[3:10]] == [
        *("ready@*:2", "h0", "ready", "train", "h1", "data", "ready")
    ]
    assert "note: no units: h2" in lines

    assert "train@h0" in page.read_text()
    assert '"data@h1' in graph
    assert " s later" in later

    def blamed() -> str:
        return h2.must("blame", "--hosts")

    eventually(lambda: "not known" not in blamed())
    told = blamed()
    assert "SOONER" in told
    assert "note: clocks: less than 100 ms apart, corrected" in told.splitlines()


def test_what_cannot_be_shown(one_host: RealHost, tmp_path: Path) -> None:
    h0 = one_host
    assert h0.must("timeline", "--hosts") == "no units yet\n"
    h0.must("want", "a")
    wrong = {
        ("timeline", "--hosts", "--startup", "-1"): "there is no earlier one",
        ("timeline", "--hosts", "--from", "x"): "leave one of both",
        ("export", "--hosts", str(tmp_path / "x")): "hint: unitsync export FILE on each host",
    }
    for words, why in wrong.items():
        assert why in must(h0.call(*words), status=2)
