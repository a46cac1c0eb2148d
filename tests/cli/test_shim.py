"""The ``coder`` shim: which calls it takes, what it makes of them, where it sends the
rest, and scripts in the style of Coder's documentation, unchanged."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from cli.conftest import PATIENCE_S, Cli, Result
from unitsync.coder import shim

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


class Shim:
    """The shim in a folder that comes first on PATH, a real ``coder`` behind it."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.folder = cli.folder / "shim"
        self.folder.mkdir()
        self.path, _ = shim.install(self.folder, force=False)
        self.real = cli.folder / "real" / "coder"
        self.real.parent.mkdir()
        write_program(self.real, 'echo "real coder:" "$@"\nexit 9\n')

    def env(self, *folders: Path | str) -> dict[str, str | None]:
        path = [self.folder, *(folders or [self.real.parent]), os.environ["PATH"]]
        return {"PATH": ":".join(map(str, path))}

    def __call__(self, *arguments: str) -> Result:
        return self.cli.exec("coder", *arguments, env=self.env())

    def script(self, text: str, *arguments: str) -> Result:
        command = [*self.cli.write_script(text), *arguments]
        return self.cli.exec(*command, env=self.env())


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


@pytest.fixture
def coder(cli: Cli) -> Shim:
    return Shim(cli)


# --- which calls are taken ------------------------------------------------------------

TAKEN = [
    ("exp sync ping", "ping"),
    ("exp sync want a b c", "want a b c"),
    ("exp sync start a --timeout 10m", "start a --timeout 10m"),
    ("exp sync start --timeout 30m a", "start --timeout 30m a"),
    ("exp sync start --timeout=30m a", "start --timeout=30m a"),
    ("exp sync --socket-path /tmp/x.sock want a b", "want a b"),
    ("exp sync --socket-path=/tmp/x.sock want a b", "want a b"),
    ("exp sync want --socket-path /tmp/x.sock a b", "want a b"),
    ("exp sync want a b --socket-path /tmp/x.sock", "want a b"),
    ("exp --socket-path /tmp/x.sock sync ping", "ping"),
    ("--url https://x -v exp --verbose sync --token t ping", "ping"),
    ("--no-version-warning exp sync start a --global-config /x", "start a"),
    ("exp sync list --column unit,status -o json", "list --column unit,status -o json"),
    ("exp sync status a -c status", "status a -c status"),
    ("exp sync exp sync", "exp sync"),
    ("exp sync run a -- curl --url http://x -v", "run a -- curl --url http://x -v"),
    ("exp sync", ""),
    ("exp sync --help", "--help"),
    ("exp sync start --help", "start --help"),
]
PASSED_ON = [
    "",
    "--help",
    "version",
    "exp",
    "exp --help",
    "exp mcp",
    "exp synchronise",
    "sync start a",
    "-- exp sync ping",
    "ssh exp sync",
    "list exp sync start a",
    "--url exp sync ping",
]


START = ["-I", "-S", "-c", shim.program()]


@pytest.fixture
def parrot(cli: Cli) -> Path:
    """The shim with a Python that says what it was called with."""
    python = cli.folder / "python"
    write_program(python, 'printf "<%s>" "$UNITSYNC_CODER_SHIM" "$@"\n')
    text = shim.text().splitlines()
    line = next(i for i, line in enumerate(text) if line.startswith("unitsync_python="))
    text[line] = f"unitsync_python='{python}'"
    path = cli.folder / "shim" / "coder"
    path.parent.mkdir()
    write_program(path, "\n".join(text[1:]) + "\n")
    real = cli.folder / "real" / "coder"
    real.parent.mkdir()
    write_program(real, 'printf "real"; printf "<%s>" "$@"\n')
    return path


@pytest.mark.parametrize("shell", SHELLS)
def test_the_words_that_unitsync_gets(cli: Cli, parrot: Path, shell: str) -> None:
    env = {"PATH": f"{parrot.parent}:{cli.folder}/real:{os.environ['PATH']}"}
    begin = [shell, "sh", str(parrot)] if shell == "busybox" else [shell, str(parrot)]
    for given, expected in TAKEN:
        result = cli.exec(*begin, *given.split(), env=env)
        words = ["1", *START, *expected.split()]
        assert result == (0, "".join(f"<{word}>" for word in words), ""), given
    for given in PASSED_ON:
        result = cli.exec(*begin, *given.split(), env=env)
        words = given.split() or [""]
        assert result == (0, "real" + "".join(f"<{word}>" for word in words), ""), given


def test_words_arrive_as_they_are(cli: Cli, parrot: Path) -> None:
    odd = ["a b", "", "*", "$HOME", "it's", "x\ny", "-", "é"]
    result = cli.exec(str(parrot), "exp", "sync", "fail", *odd)
    assert result.out == "".join(f"<{w}>" for w in ["1", *START, "fail", *odd])


# --- where the rest goes --------------------------------------------------------------


def test_the_rest_goes_to_the_next_coder(coder: Shim) -> None:
    assert coder("ssh", "a b", "-v") == (9, "real coder: ssh a b -v\n", "")


def test_itself_and_other_shims_are_not_the_next(cli: Cli, coder: Shim) -> None:
    second = cli.folder / "second"
    second.mkdir()
    shim.install(second, force=False)
    copies = cli.folder / "copies"
    copies.mkdir()
    shutil.copy(coder.path, copies / "coder")
    link = cli.folder / "link"
    link.mkdir()
    (link / "coder").symlink_to(coder.path)
    (cli.folder / "loop").symlink_to(coder.folder)
    folders = [coder.folder, second, copies, link, cli.folder / "loop", coder.real.parent]
    assert cli.exec("coder", "version", env=coder.env(*folders)).out == "real coder: version\n"
    none = cli.exec("coder", "version", env=coder.env(*folders[:-1]))
    assert none.status == 127
    (line,) = none.told
    assert line.startswith('coder (unitsync shim): this shim only knows "coder exp sync"; there is')


def test_what_is_no_program_is_not_the_next(cli: Cli, coder: Shim) -> None:
    plain = cli.folder / "plain"
    (plain / "coder").mkdir(parents=True)
    data = cli.folder / "data"
    data.mkdir()
    (data / "coder").write_text("not executable\n")
    binary = cli.folder / "binary"
    binary.mkdir()
    shutil.copy("/bin/echo", binary / "coder")
    result = cli.exec("coder", "version", env=coder.env(plain, "", data, "/no/such", binary))
    assert result == (0, "version\n", "")


def test_an_agents_own_coder_is_found_under_tmp(cli: Cli, coder: Shim) -> None:
    folder = Path(f"/tmp/coder.{cli.folder.name}")
    folder.mkdir()
    try:
        write_program(folder / "coder", 'echo "agent:" "$@"\n')
        env = coder.env(coder.folder)
        assert cli.exec("coder", "version", env=env).out == "agent: version\n"
        if os.geteuid() == 0:  # anybody may put a file there
            os.chown(folder / "coder", 12345, 12345)
            assert cli.exec("coder", "version", env=env).status == 127
            os.chown(folder, 12345, 12345)
            assert cli.exec("coder", "version", env=env).status == 127
            assert cli.exec("coder", "version", env=env | {"SUDO_UID": "12345"}).status == 0
    finally:
        shutil.rmtree(folder)


def test_two_that_call_each_other_come_to_an_end(cli: Cli, coder: Shim) -> None:
    write_program(coder.real, f'"{coder.path}" "$@"\n')
    result = coder("version")
    assert result.status == 127
    assert "call each other without end" in result.err


def test_it_needs_nothing_of_the_callers_path(cli: Cli, coder: Shim) -> None:
    """As under sudo, which has a PATH of its own."""
    result = cli.exec(str(coder.path), "exp", "sync", "ping", env={"PATH": "/nowhere"})
    assert result == (0, "Success\n", "")


def test_a_unitsync_that_is_gone_is_told(cli: Cli, coder: Shim) -> None:
    text = coder.path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("unitsync_python="))
    coder.path.write_text(text.replace(line, "unitsync_python=/no/python"))
    result = cli.exec(str(coder.path), "exp", "sync", "ping", env={"PATH": "/nowhere"})
    assert result.status == 127
    (line,) = result.told
    assert line.startswith("coder (unitsync shim): unitsync is gone: there is no /no/python; ")


# --- what its verbs mean --------------------------------------------------------------


def test_it_prints_what_the_replaced_command_prints(coder: Shim) -> None:
    assert coder("exp", "sync", "ping") == (0, "Success\n", "")
    assert coder("exp", "sync", "want", "a", "b") == (0, "Success\n", "")
    assert coder("exp", "sync", "start", "b") == (0, "Success\n", "")
    assert coder("exp", "sync", "complete", "b") == (0, "Success\n", "")
    listed = coder("exp", "sync", "list", "--column", "unit,status,ready").out.splitlines()
    assert [line.split() for line in listed] == [
        ["UNIT", "STATUS", "READY"],
        ["a", "pending", "true"],
        ["b", "completed", "true"],
    ]
    info = json.loads(coder("exp", "sync", "status", "a", "-o", "json").out)
    assert info["dependencies"][0]["current_status"] == "completed"
    assert coder("exp", "sync", "status", "a", "-c", "status").status == 0


def test_complete_is_believed_after_a_timeout(cli: Cli, coder: Shim) -> None:
    text = "coder exp sync want u a; {} start u --timeout 100ms; {} complete u"
    through = "coder exp sync"
    assert coder.script(text.format(through, through)).status == 0
    with cli.client() as client:
        assert client.status("u").status == "completed"
        assert client.status("u").reason == ""


@pytest.mark.parametrize("code", [0, 3])
def test_its_complete_is_believed_by_either_path(cli: Cli, code: int) -> None:
    """The full command line takes over where the cheap path cannot go on, and a script must
    not notice: as in Coder, its complete counts though its start timed out."""
    result = cli.script(
        "unitsync want u a\n"
        "unitsync start u --timeout 100ms\n"
        f"unitsync complete u --exit-code {code}\n",
        env={"UNITSYNC_CODER_SHIM": "1"},
    )
    assert result.status == 0, result
    with cli.client() as client:
        info = client.status("u")
    assert (info.status, info.reason) == (
        ("failed", "exit status 3") if code else ("completed", "")
    )


def test_an_owner_that_ends_is_only_warned_of(cli: Cli, coder: Shim) -> None:
    assert coder.script("coder exp sync start u").status == 0
    with cli.client() as client:
        info = client.status("u")
    assert info.status == "started"
    assert info.on_owner_exit == "warn"


def test_the_startup_is_the_agents(cli: Cli, coder: Shim) -> None:
    """When another ``coder agent`` runs the script, all begins anew."""
    folder = cli.folder / "agent"
    folder.mkdir()
    (folder / "coder").symlink_to(shutil.which("bash") or "")
    (folder / "agent").write_text('"$@"\nexit $?\n')  # what bash takes its argument for

    def boot(text: str) -> Result:
        command = ("bash", "-c", 'cd "$0" && exec ./coder agent "$@"', str(folder))
        return cli.exec(*command, *cli.write_script(text), env=coder.env())

    assert boot("coder exp sync start a; coder exp sync complete a").status == 0
    assert "a " in cli.ok("list")
    assert boot("coder exp sync want b c; coder exp sync list").out.splitlines()[2].startswith("b ")
    assert "a " not in cli.ok("list")
    cli.ok("start", "c")  # no agent above it: it belongs to the newest
    assert "b " in cli.ok("list")


def test_run_does_not_hand_its_own_mode_down(coder: Shim) -> None:
    result = coder.script("coder exp sync run u -- sh -c 'echo \"<$UNITSYNC_CODER_SHIM>\"'")
    assert result == (0, "<>\n", "")


# --- installing -----------------------------------------------------------------------


def test_install(cli: Cli) -> None:
    folder = cli.folder / "new" / "bin"
    result = cli("shim", "install", str(folder), env={"PATH": f"{folder}:{os.environ['PATH']}"})
    assert result == (0, f"installed {folder}/coder\n", "")
    assert stat.S_IMODE((folder / "coder").stat().st_mode) == 0o755
    assert subprocess.run(["dash", "-n", folder / "coder"]).returncode == 0
    assert os.listdir(folder) == ["coder"]
    again = cli("shim", "install", str(folder), env={"PATH": f"{folder}:{os.environ['PATH']}"})
    assert again == result


def test_install_says_why_it_would_not_be_called(cli: Cli) -> None:
    folder = cli.folder / "bin2"
    folder.mkdir()
    result = cli("shim", "install", "bin2", env={"PATH": "/usr/bin:/bin"})
    assert result.told == [
        f"warning: {folder} is not on PATH, so coder does not mean the shim",
        f"hint: export PATH={folder}:$PATH",
    ]
    other = cli.folder / "first"
    other.mkdir()
    write_program(other / "coder", "")
    result = cli("shim", "install", "bin2", env={"PATH": f"{other}:{folder}:/usr/bin:/bin"})
    assert result.status == 0
    assert result.told == [
        f"warning: {other}/coder comes first on PATH, so coder does not mean the shim",
        f"hint: put {folder} before {other} on PATH, or install the shim there",
    ]


def test_install_beside_a_shim_that_comes_first(cli: Cli, coder: Shim) -> None:
    (cli.folder / "bin2").mkdir()
    result = cli("shim", "install", "bin2", env=coder.env())
    assert result == (
        0,
        f"installed {cli.folder}/bin2/coder\n",
        f"unitsync: {coder.path} comes first on PATH and is a shim as well\n",
    )


def test_install_spares_another_coder(cli: Cli) -> None:
    folder = cli.folder / "bin2"
    folder.mkdir()
    (folder / "coder").write_text("theirs")
    result = cli("shim", "install", "bin2")
    assert result[:2] == (1, "")
    assert result.told == [
        f"error: there is another coder at {folder}/coder",
        "hint: choose a folder that comes before it on PATH, or replace it with --force",
    ]
    assert (folder / "coder").read_text() == "theirs"
    assert cli("shim", "install", "bin2", "--force").status == 0
    assert shim.is_shim(folder / "coder")


def test_install_where_it_cannot(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    result = cli("shim", "install", "file")
    assert result[:2] == (1, "")
    assert result.told == [
        f"error: {cli.folder}/file is not a folder",
        "hint: name the folder, without coder",
    ]
    new = cli.folder / "new" / "bin"
    result = cli("shim", "install", "new/bin")
    assert result[:2] == (1, "")
    assert result.told == [
        f"error: there is no folder {new}",
        f"hint: mkdir -p {new} && unitsync shim install {new}",
    ]
    assert not new.parent.exists()
    assert cli.script(result.told[1].removeprefix("hint: ")).status == 0
    assert shim.is_shim(new / "coder")
    result = cli("shim", "install", "/proc/1")
    assert result.status in {1, 77}
    assert len(result.told) <= 2


# --- scripts as Coder's documentation has them ----------------------------------------

TRAP_FIRST = """\
#!/bin/bash
set -euo pipefail
trap 'coder exp sync complete {unit}' EXIT
coder exp sync want {unit} {prerequisites}
coder exp sync start {unit}
echo "{unit} works" >> "$LOG"
"""

COMMA_LIST = """\
#!/bin/bash
set -euo pipefail
UNIT="{unit}"
WAITS_FOR="{commas}"
STARTED=0
if [ -n "$WAITS_FOR" ]; then
    if command -v coder > /dev/null 2>&1; then
        IFS=',' read -ra NAMES <<< "$WAITS_FOR"
        for name in "${{NAMES[@]}}"; do
            name=$(echo "$name" | xargs)
            if [ -n "$name" ]; then
                coder exp sync want "$UNIT" "$name" > /dev/null 2>&1 || \\
                    echo "warning: could not declare $name, going on"
            fi
        done
    else
        echo "no coder here, going on without order"
    fi
fi
if command -v coder > /dev/null 2>&1; then
    if coder exp sync start "$UNIT" > /dev/null 2>&1; then
        STARTED=1
    else
        echo "could not start in order, going on without"
    fi
fi
end_unit() {{
    if [ "$STARTED" -eq 1 ]; then
        coder exp sync complete "$UNIT" > /dev/null 2>&1 || echo "warning: not completed"
    fi
}}
trap end_unit EXIT
echo "$UNIT works" >> "$LOG"
"""

ONE_LINE = (
    "coder exp sync start {unit} && echo '{unit} works' >> $LOG && coder exp sync complete {unit}"
)

PLAIN = """\
#!/bin/sh
coder exp sync want {unit} {prerequisites}
coder exp sync start --timeout 30m {unit} || exit 1
echo "{unit} works" >> "$LOG"
coder exp sync complete {unit}
"""


def test_documented_scripts_run_unchanged_and_in_order(cli: Cli, coder: Shim) -> None:
    log = cli.folder / "log"
    scripts = [
        ("report", COMMA_LIST, ["app", "lint"]),
        ("app", TRAP_FIRST, ["deps", "apt"]),
        ("lint", COMMA_LIST, [" deps", " ", "repo "]),
        ("deps", PLAIN, ["repo"]),
        ("apt", ONE_LINE, []),
        ("repo", ONE_LINE, []),
    ]
    env = coder.env() | {"LOG": str(log), "CODER_AGENT_SOCKET_PATH": "/tmp/no-such.sock"}
    processes = []
    for unit, text, waits in scripts:
        filled = text.format(unit=unit, prerequisites=" ".join(waits), commas=",".join(waits))
        processes.append(cli.spawn(command=cli.write_script(filled), env=env))
    for process in processes:
        result = process.end()
        assert result.status == 0, result
        assert "warning" not in result.out
    order = [line.removesuffix(" works") for line in log.read_text().splitlines()]
    assert sorted(order) == sorted(unit for unit, _, _ in scripts)
    for unit, _, waits in scripts:
        for name in filter(None, map(str.strip, waits)):
            assert order.index(name) < order.index(unit), order
    listed = json.loads(coder("exp", "sync", "list", "-o", "json").out)
    assert {info["status"] for info in listed} == {"completed"}


def test_a_script_that_ignores_a_failed_start_still_ends(cli: Cli, coder: Shim) -> None:
    """Where nothing can be coordinated, such a script goes on, as it does today."""
    text = COMMA_LIST.format(unit="u", commas="a,b")
    env = coder.env() | {"LOG": str(cli.folder / "log"), "UNITSYNC_ENDPOINT": "nonsense"}
    result = cli.exec(*cli.write_script(text), env=env)
    assert result.status == 0
    assert result.out.splitlines() == [
        "warning: could not declare a, going on",
        "warning: could not declare b, going on",
        "could not start in order, going on without",
    ]


def test_without_any_coder_the_guard_holds(cli: Cli) -> None:
    text = COMMA_LIST.format(unit="u", commas="a")
    env = {"LOG": str(cli.folder / "log"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        cli.write_script(text),
        env=cli.env(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (0, "no coder here, going on without order\n")
