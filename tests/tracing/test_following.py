"""``trace --follow`` and ``serve --otlp``: real coordinators, and a collector made of the official
definitions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import pytest

from support.coordinators import clean_environment
from support.daemon import PATIENCE_S, Daemon, Daemons
from support.poll import eventually
from tracing.receiver import WITHOUT_EXTRA, Receiver, receiving
from unitsync import Client
from unitsync.trace.following import pauses

FOLLOW = (
    "import sys; from unitsync.startup.analysis import at_rest; at_rest.QUIET_S = 0.5\n"
    "from unitsync.cli.app import run_app; sys.exit(run_app(sys.argv[1:]))"
)
"""``unitsync`` with less patience."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextmanager
def following(daemons: Daemons, url: str, timeout_s: int = 1) -> Iterator[subprocess.Popen[str]]:
    words = ("--endpoint", daemons.endpoint, "trace", "--follow", "--otlp", url)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", FOLLOW, *words],
        env=clean_environment() | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(timeout_s)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def noticed(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def runs(client: Client, *units: str) -> None:
    for unit in units:
        client.start(unit)
        client.complete(unit)


def sent(receiver: Receiver) -> list[str]:
    """The units whose spans have come, one name for each span."""
    spans = (span.name for span in receiver.spans)
    return [name for name in spans if name not in ("startup", "running", "waiting")]


def free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[:2]


def children(daemon: Daemon) -> list[int]:
    path = f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children"
    return [int(pid) for pid in Path(path).read_text().split()]


def follows(daemons: Daemons) -> bool:
    """Whether a process knows with which startup it begins."""
    return any(kept.stat().st_size for kept in (daemons.folder / "c").glob("traces-*"))


def is_gone(pid: int) -> bool:
    """Also if nobody has asked for its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- trace --follow -------------------------------------------------------------------


def test_a_startup_is_sent_once_it_is_at_rest_and_only_once(
    daemons: Daemons, receiver: Receiver
) -> None:
    daemons.ready()
    with Client(daemons.endpoint) as client, following(daemons, receiver.url) as process:
        client.start("clone")
        client.want("deps", "clone")
        client.complete("clone")
        runs(client, "deps")
        assert said(process).startswith("sent trace ")
        assert sent(receiver) == ["clone", "deps"]
        runs(client, "clone")  # it comes later, so it does not belong to the startup
        client.reset(all=True)
        runs(client, "second")
        assert said(process).startswith("sent trace ")
    assert sent(receiver) == ["clone", "deps", "second"]
    with following(daemons, receiver.url) as process, Client(daemons.endpoint) as client:
        client.reset(all=True)
        runs(client, "third")
        said(process)
    assert sent(receiver) == ["clone", "deps", "second", "third"]


def test_what_ended_while_nobody_followed_is_sent_too(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready()
    with Client(daemons.endpoint) as client:
        runs(client, "before")
        client.reset(all=True)
        runs(client, "first")
        with following(daemons, receiver.url) as process:
            said(process)
        for unit in ("second", "third"):
            client.reset(all=True, force=True)
            client.start(unit)  # and does not end
        with following(daemons, receiver.url) as process:
            said(process)
            client.complete("third")
            said(process)
    assert sent(receiver) == ["first", "second", "third"]


def test_what_waits_is_not_at_rest(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready()
    with Client(daemons.endpoint) as client, following(daemons, receiver.url) as process:
        client.want("ide", "clone")  # that nothing ran yet is no startup
        client.start("clone", launching=True)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        assert not receiver.requests
        client.ready("clone")
        client.complete("clone")
        said(process)
    assert sent(receiver) == ["clone"]


def test_a_collector_that_is_away_at_first(daemons: Daemons) -> None:
    host, port = free_address()
    daemons.ready()
    with Client(daemons.endpoint) as client:
        runs(client, "clone")
        url = f"http://me:s3cret@{host}:{port}/v1/traces?token=t0ken"
        with following(daemons, url) as process:
            notice = noticed(process)
            assert "the trace was not taken" in notice
            assert "trying again" in notice
            assert "s3cret" not in notice
            assert "t0ken" not in notice
            with receiving(port) as receiver:
                said(process)
            assert sent(receiver) == ["clone"]
            assert receiver.headers[0]["Authorization"].startswith("Basic ")
            assert receiver.paths == ["/v1/traces?token=t0ken"]


@pytest.mark.parametrize("status", [400, 413])
def test_what_a_collector_will_never_take_does_not_keep_the_next_one_waiting(
    daemons: Daemons, receiver: Receiver, status: int
) -> None:
    daemons.ready()
    receiver.status = status
    with Client(daemons.endpoint) as client, following(daemons, receiver.url) as process:
        runs(client, "first")
        assert "it will not be sent again" in noticed(process)
        receiver.status = 200
        client.reset(all=True)
        runs(client, "second")
        said(process)
    assert sent(receiver) == ["second"]


def test_the_requests_that_were_taken_are_not_sent_again(
    daemons: Daemons, receiver: Receiver
) -> None:
    """More spans than in one request, and the second one is refused."""
    daemons.ready()
    units = [f"unit-{number}" for number in range(300)]
    receiver.refuse_from = 1
    with Client(daemons.endpoint) as client:
        runs(client, *units)
        with following(daemons, receiver.url) as process:
            assert "the trace was not taken" in noticed(process)
        assert len(receiver.requests) == 1
        receiver.refuse_from = None
        with following(daemons, receiver.url) as process:
            assert said(process).endswith(": 601 spans\n")
    assert sent(receiver) == units
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 601


def test_two_at_once_send_once(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready()
    with Client(daemons.endpoint) as client, following(daemons, receiver.url) as first:
        runs(client, "clone")
        said(first)
        with following(daemons, receiver.url) as second:
            assert noticed(second) == "unitsync: another process sends there already\n"
            first.kill()
            client.reset(all=True)
            runs(client, "deps")
            said(second)
    assert sent(receiver) == ["clone", "deps"]


def test_a_coordinator_that_comes_later_and_is_killed(daemons: Daemons, receiver: Receiver) -> None:
    with following(daemons, receiver.url) as process:
        assert "waiting for it" in noticed(process)
        daemon = daemons.ready()
        with Client(daemons.endpoint) as client:
            client.start("clone")
            client.want("deps", "clone")
            daemon.kill()
            daemons.ready()
            client.complete("clone")
        said(process)
    assert sent(receiver) == ["clone"]


def test_what_it_has_sent_is_kept_though_it_came_before_the_coordinator(
    daemons: Daemons, receiver: Receiver
) -> None:
    with following(daemons, receiver.url) as process:
        noticed(process)
        daemons.ready()
        with Client(daemons.endpoint) as client:
            runs(client, "clone")
        said(process)
    (kept,) = (daemons.folder / "c").glob("traces-*")
    assert kept.read_text().split()[1:] == ["all"]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_pauses_grow_and_are_bounded() -> None:
    assert list(islice(pauses(), 8)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_it_ends_when_nobody_reads_any_more(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready()
    with Client(daemons.endpoint) as client, following(daemons, receiver.url) as process:
        runs(client, "clone")
        said(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
        process.stdout = None


def test_it_ends_when_it_is_told_to(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready().kill()
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with following(daemons, receiver.url) as process:
            noticed(process)  # that there is no coordinator
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_when_it_is_told_to_while_it_sends(
    daemons: Daemons, receiver: Receiver, number: int, status: int
) -> None:
    daemons.ready()
    receiver.answers.clear()
    with (
        Client(daemons.endpoint) as client,
        following(daemons, receiver.url, timeout_s=60) as process,
    ):
        runs(client, "clone")
        eventually(lambda: receiver.paths != [])
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == status


@pytest.mark.parametrize("why", ["unread", "SIGTERM"])
def test_what_waits_for_another_one_ends_too(
    daemons: Daemons, receiver: Receiver, why: str
) -> None:
    daemons.ready()
    with following(daemons, receiver.url) as first, Client(daemons.endpoint) as client:
        runs(client, "clone")
        said(first)
        with following(daemons, receiver.url) as second:
            noticed(second)  # that another process sends there already
            if why == "unread":
                assert second.stdout is not None
                second.stdout.close()
                second.stdout = None
            else:
                second.terminate()
            assert second.wait(PATIENCE_S) == 0


def test_what_waits_for_a_coordinator_ends_when_nobody_reads_any_more(
    daemons: Daemons, receiver: Receiver
) -> None:
    with following(daemons, receiver.url) as process:
        noticed(process)  # that there is no coordinator
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
        process.stdout = None


def test_if_the_last_that_was_sent_is_forgotten_all_that_is_kept_is_sent(
    daemons: Daemons, receiver: Receiver
) -> None:
    daemons.ready(env={"UNITSYNC_MAX_KEPT_STARTUPS": "2"})
    with Client(daemons.endpoint) as client:
        runs(client, "first")
        with following(daemons, receiver.url) as process:
            said(process)
        for unit in ("second", "third", "fourth"):
            client.reset(all=True)
            runs(client, unit)
        kept = len(client.startups().epochs)
        assert kept < 4
        with following(daemons, receiver.url) as process:
            for _ in range(kept):
                said(process)
    assert sent(receiver) == ["first", *["second", "third", "fourth"][-kept:]]


def test_flags_that_do_not_go_together(daemons: Daemons) -> None:
    for flag in ("--startup", "--from"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "unitsync", "trace", "--follow", flag, "0"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert f"and {flag} is about one startup" in done.stderr


# --- serve --otlp ---------------------------------------------------------------------


def test_a_coordinator_has_its_startups_sent(daemons: Daemons, receiver: Receiver) -> None:
    """Also one that a verb starts again after it was killed. No process is left behind."""
    url = receiver.url.replace("http://", "http://me:s3cret@")
    first = daemons.ready(
        "--otlp",
        url,
        env={
            "OTEL_SERVICE_NAME": "w-7",
            "UNITSYNC_OTLP": "http://localhost:1",
            "NOTIFY_SOCKET": "/nowhere",
        },
    )
    eventually(lambda: len(children(first)) == 1)
    (child,) = children(first)
    with Client(daemons.endpoint) as client:
        runs(client, "first")
        eventually(lambda: follows(daemons))
        assert b"s3cret" not in Path(f"/proc/{child}/cmdline").read_bytes()
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{child}/environ").read_bytes()
        client.reset(all=True)
        eventually(lambda: sent(receiver) == ["first"])
        client.start("second")
        first.kill()
        eventually(lambda: is_gone(child))
        again = daemons.ready()
        client.complete("second")
        client.reset(all=True)
        eventually(lambda: sent(receiver) == ["first", "second"])
    assert receiver.resource["service.name"] == "w-7"
    eventually(lambda: "traces: sent trace" in again.log)
    assert "s3cret" not in again.log
    (child,) = children(again)
    again.signal(signal.SIGTERM)
    assert again.end()[0] == 0
    assert is_gone(child)
    assert len(receiver.requests) == 2


def test_what_sends_is_started_again(daemons: Daemons, receiver: Receiver) -> None:
    daemon = daemons.ready(env={"UNITSYNC_OTLP": receiver.url})
    eventually(lambda: len(children(daemon)) == 1)
    (child,) = children(daemon)
    with Client(daemons.endpoint) as client:
        runs(client, "clone")
        eventually(lambda: follows(daemons))
        os.kill(child, signal.SIGKILL)
        client.reset(all=True)
    eventually(lambda: sent(receiver) == ["clone"])
    assert "exit status -9" in daemon.log


def test_what_is_under_way_when_a_coordinator_ends_is_not_sent_again(
    daemons: Daemons, receiver: Receiver
) -> None:
    first = daemons.ready("--otlp", receiver.url)
    with Client(daemons.endpoint) as client:
        runs(client, "first")
        eventually(lambda: follows(daemons))
        receiver.answers.clear()
        client.reset(all=True)
        eventually(lambda: receiver.paths != [])
    first.signal(signal.SIGTERM)
    eventually(lambda: not first.path.exists())  # nobody has to wait for the collector
    receiver.answers.set()
    assert first.end()[0] == 0
    daemons.ready()
    with Client(daemons.endpoint) as client:
        runs(client, "second")
        client.reset(all=True)
        eventually(lambda: "second" in sent(receiver))
    assert sent(receiver) == ["first", "second"]


def test_it_ends_soon_while_a_collector_is_away(daemons: Daemons) -> None:
    host, port = free_address()
    daemon = daemons.ready("--otlp", f"http://{host}:{port}")
    with Client(daemons.endpoint) as client:
        runs(client, "clone")
        eventually(lambda: follows(daemons))
        client.reset(all=True)
    eventually(lambda: "the trace was not taken" in daemon.log)
    (child,) = children(daemon)
    daemon.kill()
    eventually(lambda: is_gone(child))


def test_it_ends_soon_while_a_collector_does_not_answer(
    daemons: Daemons, receiver: Receiver
) -> None:
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    daemon = daemons.ready("--otlp", receiver.url, env=patient)
    with Client(daemons.endpoint) as client:
        runs(client, "clone")
        eventually(lambda: follows(daemons))
        receiver.answers.clear()
        client.reset(all=True)
    eventually(lambda: receiver.paths != [])
    (child,) = children(daemon)
    daemon.kill()
    eventually(lambda: is_gone(child))


def test_a_coordinator_that_serves_without_forgets_it(daemons: Daemons, receiver: Receiver) -> None:
    daemons.ready("--otlp", receiver.url).kill()
    kept = daemons.folder / "c" / "otlp"
    assert kept.stat().st_mode & 0o777 == 0o600
    with serving(daemons):
        eventually(lambda: not kept.exists())


@contextmanager
def serving(daemons: Daemons, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    served = subprocess.Popen(
        [sys.executable, "-m", "unitsync", "serve", "--endpoint", daemons.endpoint, *options],
        env=clean_environment(),
        stderr=subprocess.PIPE,
    )
    assert served.stderr is not None
    try:
        with closing(served.stderr):
            yield served
    finally:
        served.kill()
        served.wait()


def test_serve_without_the_extra(daemons: Daemons) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, "serve", "--otlp", "http://localhost:1"],
        env=clean_environment() | {"UNITSYNC_ENDPOINT": daemons.endpoint},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "opentelemetry, which is not installed\nhint: " in done.stderr


@pytest.mark.parametrize("url", ["localhost:4318", "me:s3cret@localhost:4318", "http://x:0", ""])
def test_what_is_no_collector(daemons: Daemons, url: str) -> None:
    with serving(daemons, "--otlp", url) as served:
        assert served.wait(PATIENCE_S) == 2
        assert served.stderr is not None
        report = served.stderr.read().decode()
    assert "is not the URL of a collector\nhint: --otlp http://localhost:4318" in report
    assert "s3cret" not in report
    daemon = daemons.ready("--otlp", url)  # as a verb starts it
    with Client(daemons.endpoint) as client:
        runs(client, "clone")
    assert "no traces are sent: " in daemon.log
    assert children(daemon) == []


def test_what_is_no_collector_in_the_environment(daemons: Daemons) -> None:
    daemon = daemons.ready(env={"UNITSYNC_OTLP": "localhost:4318"})
    assert "no traces are sent: UNITSYNC_OTLP: 'localhost:4318' is not the URL" in daemon.log
