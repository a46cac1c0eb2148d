"""Real coordinators with metrics."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metrics.scraping import GET, ask, connected, read_all, scrape
from support.coordinators import clean_environment
from support.daemon import PATIENCE_S, Daemons
from support.poll import eventually
from unitsync import Client, Refused
from unitsync.clients.owner import of_pid
from unitsync.errors import Skipped
from unitsyncd.metrics.service import STEP_UNITS


@pytest.fixture
def address(daemons: Daemons) -> str:
    return f"unix:{daemons.folder}/m.sock"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def serve(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """For a coordinator that does not come up."""
    return subprocess.run(
        [sys.executable, "-m", "unitsync", "serve", *options],
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_after_a_known_workload(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address)
    with Client(daemons.endpoint) as client:
        client.start("clone")
        client.complete("clone")
        client.start("deps", after=["clone"])
        client.retry("deps")
        client.fail("deps", "no network")
        client.want("ide", "deps")
        with pytest.raises(Skipped):
            client.start("ide", wait=False)
        with pytest.raises(Refused):
            client.want("clone", "clone")
        client.reset("clone")
        client.start("lint")
        client.complete("lint")
    found = scrape(address)
    assert {name: value for name, value in found.items() if name.startswith("unitsync_units")} == {
        'unitsync_units{state="pending"}': 1,
        'unitsync_units{state="launching"}': 0,
        'unitsync_units{state="started"}': 0,
        'unitsync_units{state="completed"}': 1,
        'unitsync_units{state="failed"}': 1,
        'unitsync_units{state="skipped"}': 1,
    }
    expected = {
        "unitsync_unit_starts_total": 4,
        "unitsync_unit_retries_total": 1,
        "unitsync_unit_resets_total": 1,
        "unitsync_owners_lost_total": 0,
        'unitsync_unit_outcomes_total{outcome="completed"}': 2,
        'unitsync_unit_outcomes_total{outcome="failed"}': 1,
        'unitsync_refusals_total{reason="skipped"}': 1,
        'unitsync_refusals_total{reason="cycle"}': 1,
        'unitsync_refusals_total{reason="limit_reached"}': 0,
        "unitsync_unit_waiting_seconds_count": 3,
        "unitsync_unit_waiting_seconds_sum": 0,
        "unitsync_unit_run_seconds_count": 4,
        'unitsync_unit_run_seconds_bucket{le="+Inf"}': 4,
        'unitsync_requests_total{verb="complete"}': 2,
        'unitsync_requests_total{verb="retry"}': 1,
        'unitsync_requests_total{verb="want"}': 2,
        "unitsync_edges": 2,
        "unitsync_waiting_requests": 0,
        "unitsync_followers": 0,
        "unitsync_coordinator_begins_total": 1,
    }
    assert {name: found[name] for name in expected} == expected
    requests = sum(v for k, v in found.items() if k.startswith("unitsync_requests_total"))
    assert found["unitsync_request_duration_seconds_count"] == requests
    assert 0 < found["unitsync_request_duration_seconds_sum"] < requests * PATIENCE_S
    assert found["unitsync_journal_bytes"] > 4096
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert not [name for name in found if "clone" in name]  # no names unless they are asked for


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_what_promtool_says(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address, "--metrics-per-unit", "2")
    with Client(daemons.endpoint) as client:
        client.start("clone")
        client.complete("clone")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=ask(address).body,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_who_waits_is_seen_while_it_waits_and_how_long_afterwards(
    daemons: Daemons, address: str
) -> None:
    daemons.ready("--metrics", address)
    with Client(daemons.endpoint) as client:
        client.start("clone")
        with Client(daemons.endpoint) as other:
            waiting = threading.Thread(target=lambda: other.start("deps", after=["clone"]))
            waiting.start()
            eventually(lambda: scrape(address)["unitsync_waiting_requests"] == 1)
            assert scrape(address)["unitsync_clients"] >= 2
            client.complete("clone")
            waiting.join(PATIENCE_S)
    found = scrape(address)
    assert found["unitsync_waiting_requests"] == 0
    assert found["unitsync_unit_waiting_seconds_count"] == 2
    assert found["unitsync_unit_waiting_seconds_sum"] > 0


def test_runs_that_launch_are_tried_again_or_lose_their_script(
    daemons: Daemons, address: str
) -> None:
    daemons.ready("--metrics", address)
    with Client(daemons.endpoint) as client:
        client.start("db", launching=True)
        begun = time.monotonic()
        scrape(address)
        took_s = time.monotonic() - begun
        client.retry("db")
        found = scrape(address)
        assert found["unitsync_unit_starts_total"] == 2
        assert found["unitsync_unit_waiting_seconds_count"] == 1
        assert found["unitsync_unit_run_seconds_sum"] >= took_s
    with subprocess.Popen(["sleep", "60"]) as script:
        with Client(daemons.endpoint, owner=of_pid(script.pid)) as client:
            client.start("lost")
        script.kill()
    eventually(lambda: scrape(address)["unitsync_owners_lost_total"] == 1)


def test_the_process_itself(daemons: Daemons, address: str) -> None:
    before = time.time()
    daemon = daemons.ready("--metrics", address)
    found = scrape(address)
    assert before - 1 <= found["process_start_time_seconds"] <= time.time()
    assert 0 < found["process_cpu_seconds_total"] < PATIENCE_S
    open_now = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    assert abs(found["process_open_fds"] - open_now) <= 2


def test_what_others_have_put_there_stays(daemons: Daemons, address: str) -> None:
    daemon = daemons.ready("--metrics", address)
    path = Path(address.removeprefix("unix:"))
    path.unlink()
    path.write_text("mine")
    daemon.signal(signal.SIGTERM)
    assert daemon.end()[0] == 0
    assert path.read_text() == "mine"


def test_a_unit_that_never_ran_took_no_time(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address, "--metrics-per-unit", "1")
    with Client(daemons.endpoint) as client:
        client.want("ide")
    named = {name for name in scrape(address) if 'unit="ide"' in name}
    assert named == {'unitsync_unit_state{unit="ide",state="pending"}'}


def test_units_by_name_are_bounded_and_any_name_can_be_read(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address, "--metrics-per-unit", "2")
    with Client(daemons.endpoint) as client:
        client.start("build:ünit")
        client.complete("build:ünit")
        client.start("deps")
        client.declare({f"u{number}": [] for number in range(2 * STEP_UNITS)})
    found = scrape(address)
    assert found['unitsync_unit_state{unit="build:ünit",state="completed"}'] == 1
    assert found['unitsync_unit_state{unit="deps",state="started"}'] == 1
    assert found['unitsync_unit_last_run_seconds{unit="deps"}'] >= 0
    assert found['unitsync_unit_last_waiting_seconds{unit="deps"}'] == 0
    assert found["unitsync_units_unnamed"] == 2 * STEP_UNITS
    assert not [name for name in found if 'unit="u' in name]


def test_a_scrape_during_load(daemons: Daemons, address: str) -> None:
    """With more units than are counted in one step, and while everything is reset."""
    daemons.ready("--metrics", address)
    ended = threading.Event()
    asked = 0

    def load() -> None:
        nonlocal asked
        with Client(daemons.endpoint) as client:
            while not ended.is_set():
                client.declare({f"u{number}": [] for number in range(3000)})
                client.reset(all=True)
                asked += 2

    loading = threading.Thread(target=load)
    loading.start()
    try:
        totals = [
            sum(v for k, v in scrape(address).items() if k.startswith("unitsync_units"))
            for _ in range(20)
        ]
    finally:
        ended.set()
        loading.join()
    assert set(totals) <= {0, 3000}
    found = scrape(address)
    verbs = found['unitsync_requests_total{verb="declare"}']
    assert verbs + found['unitsync_requests_total{verb="reset"}'] == asked


def test_a_restart_counts_and_keeps_the_address(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address, "--metrics-per-unit", "7").kill()
    again = daemons.ready()  # as a verb would start it
    found = scrape(address)
    assert found["unitsync_coordinator_begins_total"] == 2
    assert "unitsync_units_unnamed" in found
    again.signal(signal.SIGTERM)
    assert again.end()[0] == 0
    assert not Path(address.removeprefix("unix:")).exists()


def test_a_restart_knows_how_long_runs_took(daemons: Daemons, address: str) -> None:
    first = daemons.ready("--metrics", address, "--metrics-per-unit", "1")
    with Client(daemons.endpoint) as client:
        client.start("clone")
        client.complete("clone")
    took = scrape(address)['unitsync_unit_last_run_seconds{unit="clone"}']
    first.kill()
    daemons.ready()
    assert scrape(address)['unitsync_unit_last_run_seconds{unit="clone"}'] == pytest.approx(took)


def test_serve_without_metrics_forgets_the_address(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address).kill()
    served = subprocess.Popen(
        [sys.executable, "-m", "unitsync", "serve", "--endpoint", daemons.endpoint],
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: not (daemons.folder / "c" / "metrics").exists())
    finally:
        served.kill()
        served.wait()


def test_a_port_and_variables(daemons: Daemons) -> None:
    address = f"127.0.0.1:{free_port()}"
    daemons.ready(env={"UNITSYNC_METRICS": address, "UNITSYNC_METRICS_PER_UNIT": "1"})
    assert scrape(address)["unitsync_units_unnamed"] == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 Not Found"),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", "200 OK"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", "200 OK"),
        (b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", "405 Method Not Allowed"),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403 Forbidden"),
        (b"GET /metrics HTTP/1.1\r\nhOST: evil.example:9711\r\n\r\n", "403 Forbidden"),
        (b"GET /metrics HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "403 Forbidden"),
        (b"hello\r\n\r\n", "400 Bad Request"),
        (b"\xff\x00\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics SPDY\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000, "431 Request Header Fields Too Large"),
    ],
)
def test_requests_of_all_kinds(
    daemons: Daemons, address: str, request_: bytes, status: str
) -> None:
    daemons.ready("--metrics", address)
    answer = ask(address, request_)
    assert answer.status == status
    assert answer.headers["Connection"] == "close"
    assert ("Allow" in answer.headers) == status.startswith("405")
    assert scrape(address)


def test_slow_clients_take_places_but_nothing_else(daemons: Daemons, address: str) -> None:
    daemon = daemons.ready("--metrics", address)
    held = [connected(address) for _ in range(8)]
    opened = [each.__enter__() for each in held]
    try:
        for sock in opened:
            sock.sendall(GET[:-1])
        eventually(lambda: is_hung_up_on(address))
        with Client(daemons.endpoint) as client:  # who starts scripts is not held up
            client.start("clone")
        opened[0].sendall(GET[-1:])
        assert read_all(opened[0]).startswith(b"HTTP/1.1 200 OK")
        eventually(lambda: not is_hung_up_on(address))
        daemon.signal(signal.SIGTERM)
        assert daemon.end()[0] == 0
        assert [_rest(sock) for sock in opened[1:]] == [b""] * 7
    finally:
        for each in held:
            each.__exit__(None, None, None)


def is_hung_up_on(address: str) -> bool:
    with connected(address) as sock:
        try:
            sock.sendall(GET)
        except BrokenPipeError:
            return True
        return _rest(sock) == b""


def _rest(sock: socket.socket) -> bytes:
    try:
        return read_all(sock)
    except ConnectionResetError:
        return b""


def test_wrong_addresses(daemons: Daemons) -> None:
    """``serve`` says so; a coordinator that a verb starts goes on without metrics."""
    done = serve("--endpoint", daemons.endpoint, "--metrics", "0.0.0.0:9711")
    assert done.returncode == 2
    assert "only this machine may ask for them\nhint: " in done.stderr
    daemon = daemons.ready(env={"UNITSYNC_METRICS": "9711"})
    assert "neither HOST:PORT nor unix:PATH; it goes on without" in daemon.log


@pytest.mark.parametrize("kind", ["port", "socket", "file", "folder"])
def test_an_address_that_is_taken(daemons: Daemons, tmp_path: Path, kind: str) -> None:
    """``serve`` says so; a coordinator that a verb starts goes on without metrics."""
    taken = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    if kind != "port":
        taken.close()
        path = daemons.folder / "taken"
        address = f"unix:{path}"
        if kind == "socket":
            taken = socket.socket(socket.AF_UNIX)
            taken.bind(str(path))
            taken.listen()
        elif kind == "file":
            path.write_text("mine")
        else:
            path.mkdir()
    with taken:
        done = serve("--endpoint", daemons.endpoint, "--metrics", address)
        assert done.returncode == 1
        assert f"error: no metrics at {address}: something else is there\nhint: " in done.stderr
        daemon = daemons.ready("--metrics", address)
        assert f"no metrics at {address}" in daemon.log
        with Client(daemons.endpoint) as client:
            client.start("clone")
    if kind == "file":
        assert path.read_text() == "mine"


def test_the_socket_is_only_for_its_user(daemons: Daemons, address: str) -> None:
    daemons.ready("--metrics", address)
    assert os.stat(address.removeprefix("unix:")).st_mode & 0o077 == 0
