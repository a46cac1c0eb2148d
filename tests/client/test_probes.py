"""Probes: how they are written, and what a line of output is."""

from __future__ import annotations

import _thread
import itertools
import os
import select
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic, sleep

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unitsync.process.probes import Line, Prober, Shell, parse, pauses_s

PATIENCE_S = 30


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tcp:5432", "tcp"),
        ("tcp:db:5432", "tcp"),
        ("tcp:[::1]:5432", "tcp"),
        ("http://localhost:8080/health?x=1", "http"),
        ("https://localhost", "http"),
        ("line:listening on", "line"),
        ("notify", "notify"),
        ("notify me", "shell"),
        ("./notify", "shell"),
        ("curl -f localhost", "shell"),
        ("test -e /run/db", "shell"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert parse(text).kind == kind


def test_what_a_service_says_itself_counts_once() -> None:
    heard: list[str] = []
    prober = Prober(parse("notify"), lambda _, why: heard.append(why))
    prober.begin()
    assert heard == ["it has not said READY=1 yet"]
    prober.said_ready()
    prober.said_ready()
    assert heard[1:] == [""]
    for text in ("line:x", "exit 1"):
        Prober(parse(text), lambda _, why: heard.append(why)).said_ready()
    assert len(heard) == 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "tcp:",
            "tcp:x",
            "tcp:0",
            "tcp:65536",
            "tcp:99999999",
            "tcp:000000199999",
            "tcp:a:b",
            "line:",
        ),
        *("line:a\nb", "http://", "http://a b", "http://h:x/", "https://h:99999"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="for example"):
        parse(text)


@given(
    st.text("ab", max_size=30),
    st.text("ab", min_size=1, max_size=5),
    st.lists(st.integers(1, 5)),
)
@example("ab", "ab", [1])
def test_a_line_is_found_however_its_output_comes(text: str, wanted: str, sizes: list[int]) -> None:
    data = text.encode()
    probe = Line(f"line:{wanted}")
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    chunks = [chunk for chunk in (*chunks, data[at:]) if chunk]
    found = [probe.saw(1, chunk) for chunk in chunks]
    assert any(found) == (wanted in text)


def test_a_line_that_is_not_text() -> None:
    assert Line("line:" + os.fsdecode(b"\xff")).saw(1, b"\xfe\xff")


def test_a_line_is_of_one_stream() -> None:
    probe = Line("line:ready")
    assert [probe.saw(1, b"rea"), probe.saw(2, b"dy"), probe.saw(1, b"dy")] == [False, False, True]


def test_a_port_that_answers_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert parse(f"tcp:{port}").check() == ""
        assert parse(f"tcp:localhost:{port}").check() == ""
    assert parse(f"tcp:{port}").check() == f"tcp:{port}: Connection refused"
    assert parse(f"http://127.0.0.1:{port}/").check().startswith("http://127.0.0.1:")


def test_which_answers_of_a_server_are_good() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *rest: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            found = [parse(f"{url}/{status}").check() for status in (200, 302, 399, 400, 503)]
        finally:
            server.shutdown()
            thread.join()
    assert found == ["", "", "", f"{url}/400: HTTP status 400", f"{url}/503: HTTP status 503"]


def test_a_shell_command() -> None:
    assert parse("exit 0").check() == ""
    assert parse("exit 3").check() == "exit 3: exit status 3"
    for number in (signal.SIGKILL, signal.SIGPIPE, signal.SIGXFSZ):  # two that Python ignores
        text = f"kill -{number} $$"
        assert parse(text).check() == f"{text}: killed by signal {number}"
    assert parse("exec sleep 60").check(0.05) == "exec sleep 60: still runs after 0.05 s"


def test_a_shell_command_that_took_too_long_is_tried_again(tmp_path: Path) -> None:
    slow = parse(f"test -e {tmp_path}/there || exec sleep 60")
    assert slow.check(0.05).endswith("still runs after 0.05 s")
    (tmp_path / "there").touch()
    assert slow.check() == ""


def test_a_shell_command_that_took_too_long_takes_its_children_along(tmp_path: Path) -> None:
    probe = parse(f"sleep 60 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait")
    while not (tmp_path / "pid").exists():  # on a busy machine a try can end before it has begun
        assert probe.check(0.2).endswith("still runs after 0.2 s")
    child = int((tmp_path / "pid").read_text())
    try:
        held = os.pidfd_open(child)
    except ProcessLookupError:
        return
    ended = select.select([held], [], [], 30)[0]
    os.close(held)
    assert ended


def test_a_shell_command_that_was_given_up_ends_at_once() -> None:
    probe = parse("exec sleep 60")
    probe.give_up()
    assert probe.check() == "exec sleep 60: killed by signal 9"


def test_of_a_shell_command_that_has_ended_nothing_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number may belong to others by then."""
    probe = parse("exit 0")
    assert probe.check() == ""
    monkeypatch.setattr(os, "killpg", lambda group, number: pytest.fail("it kills"))
    probe.give_up()


def test_what_a_prober_hears_after_its_end_is_not_told() -> None:
    probe, told = parse("exec sleep 60"), list[str]()
    tried = threading.Event()

    def check(timeout_s: float = 0.0) -> str:
        tried.set()
        return Shell.check(probe, 3600.0)

    probe.check = check  # type: ignore[method-assign]
    prober = Prober(probe, lambda _, why: told.append(why))
    before = _thread._count()
    prober.begin()
    assert tried.wait(PATIENCE_S)
    prober.end()
    deadline = monotonic() + PATIENCE_S
    while _thread._count() > before:  # nothing tells of the end of such a thread
        assert monotonic() < deadline
        sleep(0.01)
    assert told == []


def test_the_pauses_between_tries_double_up_to_a_second() -> None:
    assert list(itertools.islice(pauses_s(), 5)) == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_line_is_told_once() -> None:
    told = list[str]()
    prober = Prober(parse("line:up"), lambda _, why: told.append(why))
    prober.begin()
    prober.saw(1, b"up")
    prober.saw(1, b"up")
    assert told == ["no such line in its output yet", ""]
