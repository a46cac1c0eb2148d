"""What ``up`` shows: the rows of the live display, and the display itself in a real terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import PATIENCE_S, Cli, cli, shared_cli
from plan.up import Up, eventually, up
from unitsync.plan.model import Edge, UnitPlan
from unitsync.text.printing import columns
from unitsync.text.terminal import Screen
from unitsync.up.display import counts, rows, summary
from unitsync.up.runner.job import Job
from unitsync.up.runner.states import State

__all__ = ["cli", "shared_cli", "up"]

NOW = 1_000_000.0


def job(name: str, state: State, reason: str = "", *, said: bytes = b"", **fields: Any) -> Job:
    after = tuple(Edge(name) for name in fields.pop("after", ()))
    unit = UnitPlan(
        name=name,
        words=("true",),
        after=after,
        cwd="/",
        source=Path("/p"),
        ready=fields.pop("ready", ""),
    )
    made = Job(unit, None)  # type: ignore[arg-type]
    made.state, made.reason = state, reason
    made.since, made.began = NOW - 75, NOW - 100
    made.last.add(said)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


ALL = [
    job("db", State.RUNNING, said=b"one\ntwo\r\n\n", ready="tcp:1"),
    job("build", State.RUNNING, said=b"compiling\rlinking 50%"),
    job("seed", State.LAUNCHING),
    job("flaky", State.RETRYING, "exit status 1"),
    job("slow", State.STOPPING),
    job("clone", State.COMPLETED, said=b"not shown"),
    job("before", State.COMPLETED, earlier=True),
    job("bad", State.FAILED, "exit status 7", said=b"why\n"),
    job("skipped", State.SKIPPED, "bad failed: exit status 7"),
    job("left", State.NOT_STARTED, "interrupted"),
    job("waits", State.WAITING, open={"d", "c", "b", "a"}),
    job("external", State.WAITING, open={"outside"}, open_unnamed=7),
    job("asks", State.WAITING, after=["outside"]),
]


def shown(jobs: list[Job], screen: Screen, height: int = 50) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in rows(jobs, screen, height, NOW)]


def test_a_note_stands_in_place_of_the_last_line_of_output() -> None:
    notes = [
        job("db", State.RUNNING, said=b"line", ready="notify", note="serving 3 clients"),
        job("clone", State.LAUNCHING, said=b"line", note="cloning \x1b[31m: 43 %"),
        job("bad", State.FAILED, "exit status 7", said=b"why", note="43 %"),
        job("done", State.COMPLETED, note="43 %"),
    ]
    assert shown(notes, Screen(80)) == [
        " ● db    ready for 1 min  serving 3 clients",
        r" ◌ clone launching for 1 min  cloning \x1b[31m: 43 %",
        " ✗ bad   failed after 25 s: exit status 7  why",
        " ✓ done  completed after 25 s",
        " 4 units: 1 completed, 1 running, 1 launching, 1 failed",
    ]
    assert max(map(columns, shown(notes, Screen(30)))) <= 30


def test_a_row_says_what_goes_on() -> None:
    assert shown(ALL, Screen(80)) == [
        " ● db       ready for 1 min  two",
        " ● build    running for 1 min  linking 50%",
        " ◌ seed     launching for 1 min",
        " ↻ flaky    failed: exit status 1; trying again",
        " ◼ slow     stopping for 1 min",
        " ✓ clone    completed after 25 s",
        " ✓ before   completed earlier",
        " ✗ bad      failed after 25 s: exit status 7  why",
        " - skipped  skipped: bad failed: exit status 7",
        " - left     not started: interrupted",
        " · waits    waits for a, b, c and 1 more",
        " · external waits for outside and 7 more",
        " · asks     waiting",
        " " + counts(ALL)[:78] + ("…" if len(counts(ALL)) > 79 else counts(ALL)[78:]),
    ]


def test_no_row_is_wider_than_the_screen() -> None:
    odd = [
        job("長い名前" * 20, State.RUNNING, said="出力".encode() * 500),
        job(
            "x" * 255,
            State.FAILED,
            "control \x1b[2J\x07 characters\n" * 20,
            said=b"\x1b[31mred\t\0",
        ),
        job("e\u0301" * 30, State.WAITING, open={"長" * 60, "y" * 200}),
    ]
    for width in (20, 60, 80, 200):
        for ascii_only in (False, True):
            for row in shown([*ALL, *odd], Screen(width, ascii_only=ascii_only)):
                assert columns(row) <= width
                assert row.isprintable()


def test_marks_for_terminals_that_know_only_ascii() -> None:
    marks = [row[1] for row in shown(ALL, Screen(80, ascii_only=True))[:-1]]
    assert "".join(marks) == "**o~#++x--..."


def test_if_there_is_no_room_for_all_those_that_matter_most_are_shown() -> None:
    many = [job(f"done{n}", State.COMPLETED) for n in range(200)]
    found = shown([*many[:100], *ALL, *many[100:]], Screen(80), 6)
    assert len(found) == 6
    assert [row.split()[1] for row in found[:-1]] == ["db", "seed", "flaky", "slow", "bad"]
    assert found[-1].startswith(" 213 units: 202 completed (1 earlier), ")
    assert len(shown(many, Screen(80), 1)) == 2


def test_the_summary_has_the_last_lines_of_what_failed() -> None:
    assert summary(ALL, 3.21)[0] == f"unitsync: {counts(ALL)}, in 3.21 s"
    assert summary(ALL, 3.21)[1:] == [
        "bad failed: exit status 7",
        "  | why",
        "  hint: unitsync logs bad",
    ]
    odd = job("odd", State.FAILED, "a\nb\x1b", said=b"\x1b[2J\xff\n", hint="do this")
    assert all(line.isprintable() for line in summary([odd], 1))
    assert summary([odd], 1)[-1] == "  hint: do this"


# --- in a real terminal -----------------------------------------------------------------


class Tmux:
    def __init__(self, cli: Cli) -> None:
        self._name = f"us-test-{os.getpid()}"
        self._cli = cli

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-L", self._name, "-f", "/dev/null", *words],
            env=self._cli.env({"TMUX": None, "LINES": None, "TERM": "screen-256color"}),
            cwd=self._cli.folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        return done.stdout

    def begin(self, width: int, command: str) -> None:
        self("new-session", "-d", "-x", str(width), "-y", "30", f"{command}; echo over; exec cat")

    def screen(self) -> list[str]:
        return self("capture-pane", "-p").split("\n")

    def await_screen(self, holds: Callable[[list[str]], bool], what: str) -> list[str]:
        seen: list[str] = []

        def look() -> bool:
            seen[:] = self.screen()
            return holds(seen)

        try:
            eventually(look, what)
        except BaseException:
            print("\n".join(seen))
            raise
        return seen


@pytest.fixture
def tmux(cli: Cli) -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux")
    terminal = Tmux(cli)
    yield terminal
    terminal("kill-server")


@pytest.mark.usefixtures("shared_cli")
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_live_display_keeps_its_shape(cli: Cli, up: Up, tmux: Tmux, width: int) -> None:
    """Also with 200 units, odd output, and while one resizes it."""
    many = "".join(f'[unit.u{n}]\nrun = "true"\nafter = ["長い名前"]\n' for n in range(200))
    up.write(
        """
[unit."長い名前"]
run = "printf 'wide 出力出力 \\\\033[31mred\\\\007'; while ! [ -e go ]; do sleep 0.05; done; echo"
"""
        + many
    )
    tmux.begin(width, f"{cli.command[0]} up")

    def is_right(lines: list[str]) -> bool:
        shown = [line for line in lines if line.strip()]
        return (
            len(shown) == 29
            and sum("長い名前 running" in line for line in shown) == 1
            and sum("waits for 長い名前" in line for line in shown) == 27
            and shown[-1].startswith(" 201 units: ")
        )

    tmux.await_screen(is_right, f"201 units at {width} columns")
    for other in (width - 20, width + 10, width):
        tmux("resize-window", "-x", str(other), "-y", "30")
        tmux.await_screen(is_right, f"201 units at {other} columns")
    up.write("", "go")
    lines = tmux.await_screen(lambda lines: "over" in lines, "the end")
    assert any("unitsync: 201 units: 201 completed, in " in line for line in lines), lines
    assert "   and 173 more" in map(str.rstrip, lines)


@pytest.mark.usefixtures("shared_cli")
def test_what_is_met_is_not_said_to_be_waited_for(cli: Cli, up: Up, tmux: Tmux) -> None:
    """And what others have begun is."""
    up.write("""
external = ["ext", "m.*", "unseen"]
[unit.a]
run = "while ! [ -e go ]; do sleep 0.05; done"
[unit."p.a"]
run = "true"
[unit.x]
run = "echo x"
after = ["a", "ext"]
[unit.y]
run = "echo y"
after = ["a", "m.*", "p.*"]
[gate.z]
after = ["a", "ext", "unseen"]
""")
    cli.ok("run", "unseen", "--", "true")
    tmux.begin(80, f"{cli.command[0]} up")

    def say(*wanted: str) -> Callable[[list[str]], bool]:
        return lambda lines: all(f" · {line}" in map(str.rstrip, lines) for line in wanted)

    tmux.await_screen(
        say("x   waits for a", "y   waits for a", "z   waits for a"), "what the plan has open"
    )
    up.write("", "go")
    tmux.await_screen(
        say("x   waits for ext", "y   waits for m.*", "z   waits for ext"), "what others have"
    )
    cli.ok("run", "m.one", "--", "true")
    cli.ok("run", "ext", "--", "true")
    tmux.await_screen(lambda lines: "over" in lines, "the end")


@pytest.mark.usefixtures("shared_cli")
def test_a_unit_of_others_that_matches_is_named(cli: Cli, up: Up, tmux: Tmux) -> None:
    cli.ok("want", "m.one")
    up.write('external = ["m.*"]\n[unit.y]\nrun = "true"\nafter = ["m.*"]\n')
    tmux.begin(80, f"{cli.command[0]} up")
    tmux.await_screen(lambda lines: " · y waits for m.one" in map(str.rstrip, lines), "its name")
    cli.ok("run", "m.one", "--", "true")
    tmux.await_screen(lambda lines: "over" in lines, "the end")


@pytest.mark.usefixtures("shared_cli")
def test_ctrl_c_at_a_terminal(cli: Cli, up: Up, tmux: Tmux) -> None:
    up.write('[unit.a]\nrun = "echo hello; exec sleep 1000"\n')
    tmux.begin(80, f"{cli.command[0]} up; echo $?")
    tmux.await_screen(lambda lines: any("a running" in line for line in lines), "it runs")
    tmux("send-keys", "C-c")
    lines = tmux.await_screen(lambda lines: "over" in lines, "the end")
    assert "130" in lines
    assert any("a failed: interrupted" in line for line in lines)


@pytest.mark.usefixtures("shared_cli")
def test_a_terminal_that_is_closed_ends_it(cli: Cli, up: Up, tmux: Tmux) -> None:
    up.write('[unit.a]\nrun = "touch there; exec sleep 1000"\n')
    tmux("new-session", "-d", "-s", "other", "exec cat")
    tmux("new-session", "-d", "-s", "it", f"exec {cli.command[0]} up")
    up.await_file("there")
    tmux("kill-session", "-t", "it")
    up.await_status("a", "failed")
    assert "interrupted" in cli("status", "a").out
