"""``unitsync watch`` in a real terminal (tmux), with a real coordinator."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import Callable

import pytest

from support.coordinators import PATIENCE_S, Coordinator, await_end, clean_environment
from unitsync.logs.files import UnitLog
from watch.conftest import WATCH, Terminal

OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def watching(terminal: OpenTerminal, place: Coordinator) -> OpenTerminal:
    """Opens a terminal in which ``watch`` runs."""

    def open_one(*names: str, width: int = 80, height: int = 24, **env: str) -> Terminal:
        opened = terminal(width, height, UNITSYNC_ENDPOINT=place.address, **env)
        opened.run(*WATCH, *names)
        return opened

    return open_one


def a_startup(place: Coordinator) -> None:
    """clone runs and has a log, deps and ide wait, lint has failed, dotfiles has completed."""
    with place.client() as client:
        client.want("deps", "clone")
        client.want("ide", "deps")
        for name in ("lint", "dotfiles", "clone"):
            client.start(name)
        client.fail("lint", "exit status 2")
        client.complete("dotfiles")
        epoch = client.ping().epoch
    write_log(place, epoch, "clone", b"Receiving objects:  10%\rReceiving objects:  43%\n")


def write_log(place: Coordinator, epoch: str, unit: str, output: bytes) -> None:
    """As ``run --log`` writes it, of the unit's first run."""
    log = UnitLog(str(place.folder), epoch, unit)
    run = log.open(1)
    run.add(1, output)
    run.flush()
    run.close()
    log.close()


def ends(terminal: Terminal, status: int) -> None:
    """It has ended with *status*, and the terminal is as it was."""
    terminal.shows(f"it ended with {status}", "restored", without="unitsync  ")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits(watching: OpenTerminal, place: Coordinator, width: int) -> None:
    a_startup(place)
    terminal = watching(width=width)
    lines = terminal.shows("1 of 5 completed", "lint", "clone", "43%", "for deps", "dotfiles")
    assert all(len(line) <= width for line in lines)
    terminal.keys("q")
    ends(terminal, 0)


def test_it_goes_on_in_another_size(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching(width=80)
    terminal.shows("── lint", "j/k choose")
    for width, height in ((200, 30), (60, 20), (200, 5), (20, 3), (1, 1), (61, 40)):
        terminal.resize(width, height)
    terminal.shows_at(0, "1 of 5 completed  1 failed")
    lines = terminal.shows_at(39, "j/k choose")
    assert [line.rstrip("─") for line in lines if "──" in line] == ["── lint "]
    assert max(map(len, lines)) <= 61
    terminal.keys("C-c")
    ends(terminal, 0)


def test_keys(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching()
    terminal.shows("── lint")
    terminal.keys("j", "Down")
    terminal.shows("── clone", " started ", " log")
    terminal.keys("k", "k")
    terminal.shows("── lint")
    terminal.keys("/", "d", "e", "p")
    terminal.shows("/dep", "1 of 5", "── deps", without="ide")
    terminal.keys("Enter")
    terminal.shows("Esc all")
    terminal.keys("Escape")
    terminal.shows("lint", "j/k choose")
    terminal.keys("?")
    terminal.shows("any key: back")
    terminal.keys("x")
    terminal.shows("j/k choose", without="any key: back")
    terminal.keys("q")
    ends(terminal, 0)


def test_a_coordinator_that_is_killed_and_comes_back(
    watching: OpenTerminal, place: Coordinator
) -> None:
    a_startup(place)
    terminal = watching()
    terminal.shows("1 of 5 completed")
    place.kill()
    terminal.shows("the coordinator is away", "clone", "for deps")
    place.start()
    terminal.shows("1 of 5 completed", without="away")
    with place.client() as client:
        client.complete("clone")
    terminal.shows("2 of 5 completed")
    terminal.keys("q")
    ends(terminal, 0)


def test_it_does_not_undo_a_stop(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching()
    terminal.shows("1 of 5 completed")
    with place.client() as client:
        client.stop()
    terminal.shows("the coordinator is away")
    terminal.keys("q")
    ends(terminal, 0)
    with pytest.raises(Exception, match="no coordinator"), place.client() as client:
        client.ping()


def test_it_follows_a_reset_and_a_new_startup(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching()
    terminal.shows("1 of 5 completed")
    with place.client() as client:
        client.reset(all=True, force=True)
    terminal.shows("no units yet", without="clone")
    with place.client() as client:
        client.want("again")
    terminal.shows("again", "0 of 1 completed")
    with place.client() as client:
        client._startup = "another"
        client.want("other")
    terminal.shows("other", without="again")
    terminal.keys("q")
    ends(terminal, 0)


def test_a_thousand_units(watching: OpenTerminal, place: Coordinator) -> None:
    with place.client() as client:
        client.declare({f"unit-{number}": [] for number in range(1000)})
        for number in range(873):
            client.complete(f"unit-{number}")
    terminal = watching()
    terminal.shows("873 of 1,000 completed", "not started 127", "unit-873")
    terminal.keys("G")
    terminal.shows("▸ completed 873")
    terminal.keys("Enter")
    terminal.shows("▾ completed 873", without="▸")
    terminal.keys("G")
    terminal.shows("── unit-0 ")
    terminal.keys("q")
    ends(terminal, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(
    watching: OpenTerminal, place: Coordinator, number: signal.Signals
) -> None:
    terminal = watching()
    terminal.shows("no units yet")
    os.kill(terminal.child, number)
    ends(terminal, 0 if number is signal.SIGINT else 128 + number)


def test_it_ends_with_its_terminal(watching: OpenTerminal) -> None:
    terminal = watching()
    terminal.shows("no units yet")
    pid = terminal.child
    terminal.close()
    await_end(pid)


def test_it_can_be_stopped_and_goes_on(terminal: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    opened = terminal(UNITSYNC_ENDPOINT=place.address)
    opened.shell()
    opened.keys(shlex.join(WATCH), "Enter")
    opened.shows("── lint", "j/k choose")
    opened.keys("C-z")
    opened.shows("Stopped", without="── lint")
    opened.keys("fg", "Enter")
    opened.shows_at(0, "1 of 5 completed")
    opened.shows("── lint", "j/k choose", "for deps")
    opened.keys("q", "exit", "Enter")


def test_it_ends_with_a_terminal_that_does_not_control_it(place: Coordinator) -> None:
    """No SIGHUP tells it of that."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        WATCH,
        env=clean_environment() | {"UNITSYNC_ENDPOINT": place.address, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    text = b""
    while b"no units yet" not in text:
        text += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGHUP


def test_colours_are_those_of_the_terminal(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching()
    terminal.shows("for deps")
    text = terminal.coloured
    assert "\x1b[31m" in text
    assert not re.search(r"\x1b\[[\d;]*[34]8[;:]", text), "no colour that it does not have"
    terminal.keys("q")
    ends(terminal, 0)


def test_no_colour(watching: OpenTerminal, place: Coordinator) -> None:
    a_startup(place)
    terminal = watching(NO_COLOR="1")
    terminal.shows("for deps")
    looks = {
        code
        for found in re.findall(r"\x1b\[([\d;]*)m", terminal.coloured)
        for code in found.split(";")
    }
    assert looks <= {"", "0", "1", "2", "7"}
    terminal.keys("q")
    ends(terminal, 0)


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_a_terminal_without_utf_8(
    watching: OpenTerminal, place: Coordinator, env: dict[str, str]
) -> None:
    with place.client() as client:
        client.start("クローン")
    terminal = watching(**env)
    lines = terminal.shows(r"* \u30af\u30ed\u30fc\u30f3", "-- ")
    assert "".join(lines).isascii()
    terminal.keys("q")
    ends(terminal, 0)


def test_a_terminal_that_cannot_do_it(terminal: OpenTerminal, place: Coordinator) -> None:
    opened = terminal(UNITSYNC_ENDPOINT=place.address)
    opened.run("env", "TERM=dumb", *WATCH)
    opened.shows("error: this terminal cannot", "hint: unitsync events --follow")
    ends(opened, 1)


def test_hostile_names_and_lines(watching: OpenTerminal, place: Coordinator) -> None:
    """What a terminal would act upon is not passed on, and what is wide takes its room."""
    name = "クローン\u0301-" + "長" * 60
    with place.client() as client:
        client.start(name)
        client.start("loud")
        client.fail("loud", "\x1b]0;title\x07\x1b[2Jreason \x9b31m")
        epoch = client.ping().epoch
    write_log(place, epoch, name, b"\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m \xff\x9b5m\t|\x08|\n")
    terminal = watching(width=60)
    lines = terminal.shows("クローン", "reason", "red", "▾ running 1")
    assert lines[1].startswith(" ▾ failed 1")
    terminal.keys("j", "j", "Enter")
    terminal.shows(r"red \xff\x9b5m")
    terminal.keys("q")
    ends(terminal, 0)
