"""Commands and services of all kinds under ``up``: odd output, odd ends, probes that flap."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from cli.conftest import Cli, cli, shared_cli
from plan.up import Up, eventually, interrupt, up

__all__ = ["cli", "shared_cli", "up"]

pytestmark = pytest.mark.usefixtures("shared_cli")


def test_output_of_all_kinds(cli: Cli, up: Up) -> None:
    up.write("""
[unit.binary]
run = "printf '\\\\000\\\\377\\\\033[2J\\\\r\\\\n'; printf 'last\\\\377'"
[unit.long]
run = "head -c 200000 /dev/zero | tr '\\\\000' x; echo; echo end"
[unit.pipe]
run = "head -c 3000000 /dev/zero | tr '\\\\000' '\\\\n' >&2; echo all >&2"
[unit.silent]
command = ["true"]
[unit.closed]
run = "exec >&- 2>&-; sleep 0.1; touch closed"
[unit.script]
script = "no-first-line"
[unit."ünit→長"]
run = "echo \\"$UNITSYNC_UNIT\\""
""")
    script = up.write("echo from a script $0\n", "no-first-line")
    script.chmod(0o755)
    with open(up.folder / "out", "wb") as out:
        process = cli.spawn(command=["sh", "-c", f'exec "$0" up > {up.folder}/out', *cli.command])
        assert process.end().status == 0, out
    lines = (up.folder / "out").read_bytes().split(b"\n")
    of = {
        name: [line.partition(b" | ")[2] for line in lines if line.partition(b" | ")[0] == padded]
        for name in ("binary", "long", "pipe", "script", "ünit→長")
        for padded in [(name + " " * (7 - len(name) - name.count("長"))).encode()]
    }
    assert of["binary"] == [b"\0\xff\x1b[2J\r", b"last\xff"]
    assert b"".join(of["long"]) == b"x" * 200_000 + b"end"
    assert of["long"][-1] == b"end"
    assert of["pipe"] == [b""] * 3_000_000 + [b"all"]
    assert of["script"] == [f"from a script {script}".encode()]
    assert of["ünit→長"] == ["ünit→長".encode()]
    assert up.has("closed")


def test_commands_that_cannot_be_run(up: Up) -> None:
    up.write("not a program", "binary").write_bytes(b"\x7fELF\0\0")
    (up.folder / "binary").chmod(0o755)
    up.write("#!/no/such/interpreter\n", "script").chmod(0o755)
    done = (
        up("""
[unit.first]
run = "true"
[unit.missing]
command = ["no-such-program-1357"]
after = ["first"]
[unit.broken]
command = ["./binary"]
after = ["first"]
retries = 5
backoff = "1h"
[unit.folder]
run = "true"
cwd = "removed"
after = ["first"]
[unit.next]
run = "true"
after = ["missing"]
""")
        if (up.folder / "sub").mkdir() is None
        else None
    )
    assert done is not None
    assert done.status == 1, done
    failed = {
        line.partition(" failed: ")[0]: line.partition(" failed: ")[2]
        for line in done.told
        if " failed: " in line and not line.startswith("unitsync: ")
    }
    assert failed.keys() == {"missing", "broken", "folder"}, done
    assert "no-such-program-1357" in failed["missing"]
    assert failed["folder"].startswith(f"its folder cannot be entered: {up.folder}/removed: ")
    assert up.statuses()["next"] == "skipped"


def test_ends_of_all_kinds(up: Up) -> None:
    done = up("""
[unit.status]
run = "exit 255"
[unit.killed]
run = "kill -KILL $$"
[unit.segv]
run = "ulimit -c 0; kill -SEGV $$"
[unit.forks]
run = "(sleep 0.1; echo child >> out; echo late) & exit 0"
[unit.after-forks]
run = "true"
after = ["forks"]
[unit.daemon]
run = "setsid sh -c 'while ! [ -e go ]; do sleep 0.02; done; touch gone' > /dev/null 2>&1 & true"
[unit.bad-optional]
run = "true"
after = [{ unit = "status", optional = true }, { unit = "killed", requires = "completion" }]
""")
    reasons = {
        line.partition(" failed: ")[0]: line.partition(" failed: ")[2]
        for line in done.told
        if " failed: " in line and not line.startswith("unitsync: ")
    }
    assert reasons == {
        "status": "exit status 255",
        "killed": "killed by SIGKILL",
        "segv": "killed by SIGSEGV",
    }
    assert up.statuses()["bad-optional"] == "completed"
    up.write("", "go")
    up.await_file("gone")
    up.await_file("out", "child")


def _server(up: Up, port: int) -> str:
    """A server that answers with 503 until the file ``fine`` is there, once ``listen`` is."""
    return str(
        up.write(
            f"""
import http.server, os, time
while not os.path.exists("listen"): time.sleep(0.02)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("asked", "a").write("x")
        self.send_response(204 if os.path.exists("fine") else 503)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
""",
            "server.py",
        )
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_every_kind_of_probe(up: Up) -> None:
    """All of them flap: they are not ready at first."""
    port = _free_port()
    server = _server(up, port)
    unit = """
[unit.{0}]
{1}
ready = "{2}"
[unit.needs-{0}]
run = "touch used-{0}"
after = [{{ unit = "{0}", requires = "start" }}]
"""
    wait = 'run = "sleep 1000"'
    env = '\nenv = { WORD = "fine" }\nshell = "bash -e"'
    until_fine = "while ! [ -e fine ]; do sleep 0.02; done"
    serve = f'command = ["{sys.executable}", "-S", "{server}"]'
    say = f'run = "echo not; {until_fine}; printf ready; sleep 1000"'
    process = up.spawn(
        unit.format("http", serve, f"http://127.0.0.1:{port}/x?y")
        + unit.format("tcp", wait, f"tcp:{port}")
        + unit.format("host", wait, f"tcp:localhost:{port}")
        + unit.format("command", wait + env, "[[ -e $WORD ]]")
        + unit.format("line", say, "line:ready")
    )
    for name in ("http", "tcp", "host", "command", "line"):
        up.await_status(name, "launching")
    assert not [path for path in up.folder.iterdir() if path.name.startswith("used")]
    up.write("", "listen")
    for name in ("tcp", "host"):
        up.await_status(f"needs-{name}", "completed")
    up.await_file("asked", "x")
    assert up.statuses()["http"] == "launching"
    up.write("", "fine")
    for name in ("http", "command", "line"):
        up.await_status(f"needs-{name}", "completed")
    assert interrupt(process).status == 130
    assert set(up.statuses().values()) == {"completed"}


def test_services_that_never_become_ready(up: Up) -> None:
    port = _free_port()
    done = up(
        f"""
[unit.tcp]
run = "sleep 1000"
ready = "tcp:{port}"
timeout = "2s"
[unit.line]
run = "echo other; sleep 1000"
ready = "line:listening"
timeout = "300ms"
[unit.hangs]
run = "sleep 1000"
ready = "sleep 1000"
timeout = "300ms"
[unit.ends]
run = "sleep 0.1"
ready = "false"
[unit.fails]
run = "sleep 0.1; exit 3"
ready = "tcp:{port}"
[unit.user]
run = "touch ran"
after = [{{ unit = "ends", requires = "start" }}]
[unit.retried]
run = "echo x >> tries; [ $(wc -l < tries) = 3 ] && touch third; sleep 1000"
ready = "[ -e third ]"
timeout = "400ms"
retries = 2
backoff = "10ms"
[unit.uses-retried]
run = "touch used"
after = [{{ unit = "retried", requires = "start" }}]
[unit.ender]
run = "pkill -f 'sleep 1000' -g $(cat group)"
after = ["uses-retried"]
""".replace("echo x >> tries;", "echo x >> tries; echo $$ > group;")
    )
    assert done.status == 1
    failed = {
        line.partition(" failed: ")[0]: line.partition(" failed: ")[2]
        for line in done.told
        if " failed: " in line and not line.startswith("unitsync: ")
    }
    assert failed.pop("retried").startswith(("killed by SIGTERM", "exit status 143"))
    assert failed == {
        "tcp": f"not ready after 2 s: tcp:{port}: Connection refused",
        "line": "not ready after 300 ms",
        "hangs": "not ready after 300 ms",
        "ends": "ended before it was ready",
        "fails": "exit status 3",
    }
    assert up.has("used")
    assert not up.has("ran")
    assert up.statuses()["user"] == "skipped"


def test_many_probes_that_hang_hold_nobody_up(up: Up) -> None:
    """Nobody listens behind a full queue: connecting hangs for five seconds."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for link in (first, second):
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", port))
        hang = "".join(
            f'[unit.h{n}]\nrun = "sleep 1000"\nready = "tcp:{port}"\n' for n in range(40)
        )
        process = up.spawn(
            hang
            + """
[unit.fine]
run = "sleep 1000"
ready = "true"
[unit.user]
run = "touch used"
after = [{ unit = "fine", requires = "start" }]
"""
        )
        up.await_file("used")
        assert interrupt(process).status == 130


def test_environment_and_folder(up: Up) -> None:
    up.write("A=from file\nB='x y'\n", ".env")
    (up.folder / "sub").mkdir()
    done = up("""
[unit.a]
run = '''
echo $A,$B,$C,$UNITSYNC_UNIT
pwd
echo $0
readlink /proc/self/fd/0
ls /proc/self/fd | wc -l'''
env-file = ".env"
env = { A = "from plan", C = "$HOME" }
cwd = "sub"
shell = "bash -eu"
[unit.fails-early]
run = '''
false
touch ran
'''
""")
    assert [line.removeprefix("a           | ") for line in done.out.splitlines()] == [
        "from plan,x y,$HOME,a",
        str(up.folder / "sub"),
        "bash",
        "/dev/null",
        "4",
    ]
    assert not up.has("ran")


def test_includes_before_and_scripts(cli: Cli, up: Up) -> None:
    (up.folder / "db").mkdir()
    up.write(
        """
[unit.migrate]
run = "pwd; echo migrate >> ../order"
[unit.load]
run = "echo load >> ../order"
after = ["migrate"]
""",
        "db/plan.toml",
    )
    process = up.spawn("""
external = ["outside"]
[[include]]
plan = "db/plan.toml"
prefix = "db."
[unit.first]
run = "echo first >> order"
before = ["db.migrate", "outside"]
[unit.last]
run = "echo last >> order"
after = ["db.load", "outside"]
""")
    up.await_file("order")  # all is declared
    outside = cli.spawn("run", "outside", "--", "sh", "-c", "cat order > seen")
    assert process.end().status == 0
    assert outside.end().status == 0
    assert (up.folder / "order").read_text() == "first\nmigrate\nload\nlast\n"
    assert up.has("seen", "first")
    # Without the ``before``, the external unit waits for nothing any more.
    up.write('external = ["outside"]\n[unit.first]\nrun = "false"\n')
    up()
    assert up.statuses()["outside"] == "completed"
    with cli.client() as client:
        assert client.status("outside").prerequisites == []


def test_a_limited_wait_ends(cli: Cli, up: Up) -> None:
    """Also in a plan with a limit of commands, and while a prerequisite in the plan runs."""
    done = up("""
parallel = 1
[unit.slow]
run = "sleep 0.5"
[unit.waits]
run = "true"
after = ["slow"]
wait-timeout = "100ms"
[unit.behind]
run = "true"
after = [{ unit = "waits", requires = "completion" }]
[unit.skipped]
run = "true"
after = ["waits"]
timeout = "5s"
""")
    assert done.status == 1
    assert "timed out" in next(line for line in done.told if line.startswith("waits failed: "))
    assert up.statuses() == {
        "slow": "completed",
        "waits": "failed",
        "behind": "completed",
        "skipped": "skipped",
    }


def test_a_unit_shows_its_last_lines_of_its_last_try_only(up: Up) -> None:
    service = '[unit.keep]\nrun = "sleep 1000"\nready = "true"\n'
    assert up(service + '[unit.a]\nrun = "echo once; false"\n', "--detach").status == 0
    up.await_status("a", "failed")
    assert up(service + '[unit.a]\nrun = "echo twice; false"\n').status == 0
    eventually(lambda: up.runs("a") == 2, "the second")
    up.await_status("a", "failed")
    assert up.cli("down").status == 0
    log = next((up.state / "plans").glob("*.log")).read_text()
    assert "  | twice" in log
    assert "  | once" not in log


def test_the_guardian_ends_with_its_up(up: Up) -> None:
    """And nothing but the commands is left in /proc."""
    process = up.spawn("""
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done"
""")
    up.await_file("there")
    guardians = _guardians(up, process.pid)
    assert guardians
    up.write("", "go")
    assert process.end().status == 0
    eventually(lambda: guardians.isdisjoint(up.processes("UNITSYNC_UP=")), "the guardian's end")


def _guardians(up: Up, parent: int) -> set[int]:
    """Those of the one ``up``. Others may run beside it."""
    found = set()
    for pid in up.processes("UNITSYNC_UP="):
        with contextlib.suppress(OSError):
            if f"PPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text():
                found.add(pid)
    return found


def test_a_killed_guardian_hurts_nobody(up: Up) -> None:
    process = up.spawn("""
[unit.a]
run = "touch there; while ! [ -e go ]; do sleep 0.02; done"
[unit.b]
run = "true"
after = ["a"]
""")
    up.await_file("there")
    for pid in _guardians(up, process.pid):
        os.kill(pid, signal.SIGKILL)
    up.write("", "go")
    assert process.end().status == 0


def test_logs_says_that_the_latest_run_has_printed_nothing(cli: Cli, up: Up) -> None:
    quiet = '[unit.quiet]\nrun = "true"\n'
    flaky = '[unit.a]\nrun = "[ -e once ] && exit 3; echo once; touch once"\n'
    assert up(quiet).status == 0
    assert cli("logs", "quiet") == (0, "", "note: run 1 of quiet has printed nothing\n")
    assert up(quiet + flaky).status == 0
    logged = cli("logs", "a", "quiet")
    assert logged.told == ["note: run 1 of quiet has printed nothing"]
    assert logged.out.endswith("Z once\n")
    assert cli("rerun", "a").status == 1
    logged = cli("logs", "a")
    assert logged.told == ["note: run 2 of a has printed nothing; this is run 1"]
    assert logged.out.endswith("Z once\n")
    assert cli("logs", "a", "--run", "1").err == ""
    assert cli("logs", "a", "--since", "1h").err == ""
    assert cli("logs", "a", "--run", "2").status == 1
    assert cli("run", "a", "--", "echo", "unseen").status == 0
    assert cli("logs", "a").told == ["note: the output of run 3 of a was not kept; this is run 1"]
    process = up.spawn('[unit.b]\nrun = "touch there; sleep 1000"\n')
    up.await_file("there")
    assert cli("logs", "b").told == ["note: run 1 of b has printed nothing so far"]
    assert interrupt(process).status == 130


def test_rerun_of_what_has_not_run_yet(cli: Cli, up: Up) -> None:
    """Nobody is known to have run it, but the plan's record knows where it belongs."""
    plan = '[unit.a]\nrun = "[ -e fine ]"\n[unit.b]\nrun = "echo b >> ran"\nafter = ["a"]\n'
    assert up(plan).status == 1
    up.write("", "fine")
    assert cli("rerun", "b").status == 0  # it was skipped
    assert up.has("ran", "b\n")
    waiting = 'external = ["out"]\n[unit.c]\nrun = "echo c >> ran"\nafter = ["out"]\n'
    process = up.spawn(waiting)
    up.await_status("c", "pending")
    assert cli("rerun", "c").out == "running again: c\n"
    interrupt(process, signal.SIGKILL)
    assert cli("run", "out", "--", "true").status == 0
    assert cli("rerun", "c").status == 0
    assert up.has("ran", "b\nc\n")
