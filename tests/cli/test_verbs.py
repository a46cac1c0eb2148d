"""Every verb against a real coordinator: what it prints, to which stream, and its exit
status. The golden files hold the whole of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import Any

import pytest

from cli.conftest import MODULE, PATIENCE_S, UNITSYNC, Cli, Result, check_golden, normalised, shown

pytestmark = pytest.mark.usefixtures("shared_cli")


def transcript(cli: Cli, calls: str) -> str:
    """Each line of *calls* called by one and the same script, and all that came of it."""
    lines = [line.strip() for line in calls.strip().splitlines()]
    script = "".join(
        f"unitsync {line} > out.{n} 2> err.{n}; echo $? > status.{n}\n"
        for n, line in enumerate(lines)
    )
    assert cli.script(script) == (0, "", "")
    results = [
        Result(
            int((cli.folder / f"status.{n}").read_text()),
            (cli.folder / f"out.{n}").read_text(),
            (cli.folder / f"err.{n}").read_text(),
        )
        for n in range(len(lines))
    ]
    return "\n".join(map(shown, lines, results))


@pytest.mark.own_coordinator
def test_from_nothing_to_done(cli: Cli) -> None:
    calls = """
        list
        status ide
        why
        why ide
        stop
        ping
        list
        why
        want ide git-clone deps
        want --requires completion ide linter
        unwant ide linter
        unwant ide linter
        list
        status ide
        status idee
        why
        why ide
        start ide --no-wait
        start git-clone
        start git-clone
        why ide
        complete git-clone
        complete git-clone
        status git-clone
        start deps --after git-clone
        complete deps --exit-code 0
        start --timeout 5s ide
        complete ide
        list
        why ide
        list --column unit,status
        ping --output json
        stop
        stop
    """
    text = transcript(cli, calls)
    check_golden("from-nothing-to-done.txt", _without_ids(text))


def test_failures(cli: Cli) -> None:
    calls = """
        want deps git-clone
        want ide deps
        want report --requires completion ide
        fail nobody
        complete nobody
        start git-clone
        fail git-clone --reason 'exit status 128: no such host'
        fail git-clone --reason 'another reason'
        complete git-clone
        start ide
        complete ide
        start other --after git-clone
        fail other --reason 'I give up'
        wait deps
        wait ide deps
        wait deps --for completion
        wait deps nobody --any --for completion
        status ide
        why
        why report
        list
        start git-clone
        complete git-clone --exit-code 3
        complete git-clone --exit-code 0
        reset git-clone
        list
        why
        start git-clone
        reset git-clone
        reset --all
        reset git-clone --force
        reset nobody
        reset --all
        list
    """
    check_golden("failures.txt", transcript(cli, calls))


def test_declarations_that_are_refused(cli: Cli) -> None:
    calls = """
        want a b
        want b c
        want c a
        want a a
        want a d --requires start
        want a d
        want a d --optional
        want a e b 'not a name'
        want -- a -x
        want 'a*' b
        want a 'x,y'
        want héllo wörld
        start ''
        status 'a b'
        wait @a
        list
    """
    check_golden("refused.txt", transcript(cli, calls))


def test_json(cli: Cli) -> None:
    calls = """
        want ide deps
        want ide linter --requires completion --optional
        want ide server --requires start
        start server --on-owner-exit ignore
        start deps
        fail deps --reason 'no space'
        want report ide
    """
    assert "!" not in transcript(cli, calls)
    text = {
        call: json.loads(cli.ok(*call.split(), "--output", "json"))
        for call in ("status ide", "status server", "status unknown", "list", "why ide", "why")
    }
    check_golden("json.txt", json.dumps(text, indent=2) + "\n")
    assert cli.ok("list", "-o", "json") == cli.ok("list", "--output", "json")


def _without_ids(text: str) -> str:
    out = []
    for line in text.splitlines(keepends=True):
        for name in ("startup", "epoch", "version"):
            if line.strip().startswith(f'"{name}": "'):
                line = line.partition(":")[0] + f': "{name.upper()}",\n'
        out.append(line)
    return "".join(out)


# --- waiting ------------------------------------------------------------------------


def test_a_waiting_start_says_what_for_and_goes_on_at_once(cli: Cli) -> None:
    process = cli.spawn("start", "b", "--after", "a")
    assert process.next_line() == "unitsync: b waits for a: not registered yet"
    cli.ok("start", "a")
    assert process.popen.poll() is None
    cli.ok("complete", "a")
    assert process.end()[:2] == (0, "")
    assert json.loads(cli.ok("status", "b", "-o", "json"))["status"] == "started"


def test_a_wait_for_a_name_that_nobody_knows_suggests_the_nearest(cli: Cli) -> None:
    cli.ok("want", "build-image", "x")
    process = cli.spawn("wait", "build-imgae", "--for", "start")
    assert process.next_line() == (
        "unitsync: waiting for build-imgae: not registered yet "
        "(did you mean build-image?), needs its start"
    )
    cli.ok("start", "build-imgae")
    assert process.end()[:2] == (0, "")


def test_wait_any_says_that_one_is_enough(cli: Cli) -> None:
    process = cli.spawn("wait", "a", "b", "--any")
    assert process.next_line() == "unitsync: waiting for one of 2 units:"
    cli.ok("run", "b", "--", "true")
    assert process.end()[:2] == (0, "b\n")


def test_wait_any_prints_which(cli: Cli) -> None:
    cli.ok("start", "b")
    cli.ok("complete", "b")
    assert cli.ok("wait", "a", "b", "--any") == "b\n"
    assert cli.ok("wait", "b") == ""


def test_timeouts(cli: Cli) -> None:
    cli.ok("ping")
    result = cli("start", "b", "--after", "a", "--timeout", "200ms")
    assert result[:2] == (124, "")
    assert result.told == [
        "unitsync: b waits for a: not registered yet",
        "error: b timed out after 200 ms waiting for a: not registered yet",
        "hint: unitsync why b; --timeout 1h waits longer",
    ]
    told = cli("wait", "a", "--timeout", "1100ms").told
    assert told[1] == "error: timed out after 1.1 s waiting for a: not registered yet"
    assert cli("wait", "a", env={"UNITSYNC_TIMEOUT": "100ms"}).status == 124
    none = cli("wait", "a", "--timeout", "0")
    assert (none.status, none.told[-2]) == (
        124,
        "error: timed out waiting for a: not registered yet",
    )
    assert cli("start", "c", "--after", "a", "--no-wait").status == 75


def test_want_without_prerequisites_registers(cli: Cli) -> None:
    assert cli.ok("want", "ide") == ""
    assert "Status:  pending" in cli.ok("status", "ide")
    assert cli("unwant", "ide").told[0] == "error: PREREQUISITE is missing"


def test_a_corrected_typo_is_gone(cli: Cli) -> None:
    cli.ok("run", "git-clone", "--", "true")
    script = "unitsync run ide --after {} --timeout 0 -- true"
    assert cli.script(script.format("git-clnoe")).status == 124
    assert cli.script(script.format("git-clone")).status == 0


@pytest.mark.parametrize("how", ["option", "variable"])
@pytest.mark.parametrize("verb", ["start", "run"])
def test_on_skip_wait_waits_until_what_failed_has_succeeded(cli: Cli, verb: str, how: str) -> None:
    assert cli("run", "clone", "--", "false").status == 1
    words = [verb, "ide", "--after", "clone", *(["--on-skip", "wait"] if how == "option" else [])]
    env = {"UNITSYNC_ON_SKIP": "wait"} if how == "variable" else {}
    waiting = cli.spawn(*words, *(["--", "echo", "done"] if verb == "run" else []), env=env)
    assert "unitsync: ide waits for clone: failed" in waiting.next_line()
    cli.ok("run", "clone", "--", "true")
    ended = waiting.end()
    assert (ended.status, ended.out) == (0, "done\n" if verb == "run" else "")


@pytest.mark.parametrize("told", [["--on-skip", "cry"], []])
def test_on_skip_is_exit_or_wait(cli: Cli, told: list[str]) -> None:
    env = {} if told else {"UNITSYNC_ON_SKIP": "cry"}
    refused = cli("start", "ide", *told, env=env)
    name = told[0] if told else "UNITSYNC_ON_SKIP"
    assert refused.status == 2
    assert refused.told[0] == f"error: {name}: 'cry' is not one of exit, wait"


def test_an_empty_after_is_not_passed_over_in_silence(cli: Cli) -> None:
    cli.ok("ping")
    for after in (["--after", ""], ["--after="], ["--after", ",", "--requires", "start"]):
        result = cli("start", "b", *after)
        assert (result.status, result.out) == (0, "")
        assert result.told[0] == "unitsync: --after is empty: b waits for nothing more"
        cli("complete", "b")
        result = cli("run", "b", *after, "--", "true")
        assert result == (0, "", "unitsync: --after is empty: b waits for nothing more\n")
    cli.ok("start", "b", "--after", "", "--after", "b-0,", "--optional")


@pytest.mark.own_coordinator
def test_autostart_is_on_or_off_and_nothing_else(cli: Cli) -> None:
    result = cli("ping", env={"UNITSYNC_AUTOSTART": "Yes"})
    assert result == (0, "Success\n", "")
    for word in ("maybe", "2"):  # and the coordinator runs by now
        result = cli("ping", env={"UNITSYNC_AUTOSTART": word})
        assert result[:2] == (2, "")
        assert result.told == [
            f"error: UNITSYNC_AUTOSTART: '{word}' is neither on nor off",
            "hint: one of 0, no, false, off, 1, yes, true, on",
        ]
        assert "UNITSYNC_AUTOSTART" in cli("doctor", env={"UNITSYNC_AUTOSTART": word}).out
    cli.ok("stop")
    off = cli("doctor", env={"UNITSYNC_AUTOSTART": "no"})
    assert off.status == 1
    assert "no coordinator runs, and starting one is turned off" in off.out


def test_several_may_wait_to_start_one_unit(cli: Cli) -> None:
    """Each by its own script: the first is granted, the others are told by whom."""
    cli.ok("want", "u", "gate")
    script = f"{' '.join(cli.command)} start u; status=$?; sleep 0.1; exit $status"
    waiting = [cli.spawn(command=["bash", "-c", f"{script} # {n}"]) for n in range(3)]
    for process in waiting:
        process.next_line()
    cli.ok("start", "gate")
    cli.ok("complete", "gate")
    results = [process.end() for process in waiting]
    assert sorted(result.status for result in results) == [0, 1, 1]
    refused = next(result for result in results if result.status)
    assert refused.told[-2].startswith("error: u is already running: started ")


@pytest.mark.parametrize("verb", ["start", "wait", "run"])
def test_ctrl_c(cli: Cli, verb: str) -> None:
    arguments = {
        "start": ["start", "b", "--after", "a"],
        "wait": ["wait", "a"],
        "run": ["run", "b", "--after", "a", "--", "true"],
    }
    process = cli.spawn(*arguments[verb])
    process.next_line()
    process.send(signal.SIGINT)
    result = process.end()
    assert result[:2] == (130, "")
    assert result.told[1:] == ["error: interrupted"]
    with cli.client() as client:  # it is not granted any more
        if verb != "wait":
            assert client.status("b").waiting_clients == 0
        client.start("a")
        client.complete("a")
        if verb != "wait":
            assert client.status("b").status == "pending"


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_other_ends(cli: Cli, name: str) -> None:
    process = cli.spawn("start", "b", "--after", "a")
    process.next_line()
    number = getattr(signal, f"SIG{name}")
    process.send(number)
    result = process.end()
    assert result.status in {128 + number, -number}
    with cli.client() as client:
        assert client.status("b").waiting_clients == 0


# --- owners -------------------------------------------------------------------------


def owner_of(cli: Cli, unit: str) -> dict[str, Any]:
    info = json.loads(cli.ok("status", unit, "--output", "json"))
    assert isinstance(info["owner"], dict)
    return info["owner"]


def test_the_owner_is_the_calling_script(cli: Cli) -> None:
    script = cli.write_script(
        "unitsync start plain || exit\n"
        "(unitsync start subshell)\n"
        "x=$(unitsync start substitution)\n"
        "env -u FOO timeout 20 nice unitsync start wrapped\n"
        "unitsync start other --owner $PPID\n"
        "echo ready >&2; sleep 60"
    )
    process = cli.spawn(command=script)
    assert process.next_line() == "ready"
    for unit in ("plain", "subshell", "substitution", "wrapped"):
        assert owner_of(cli, unit)["pid"] == process.pid, unit
        assert owner_of(cli, unit)["command"] == " ".join(script)
    assert owner_of(cli, "other")["pid"] == os.getpid()


def test_started_by_another_living_owner(cli: Cli) -> None:
    process = cli.spawn(command=cli.write_script("unitsync start u; echo ready >&2; sleep 60"))
    process.next_line()
    result = cli("start", "u")
    assert result[:2] == (1, "")
    assert result.told[0].startswith("error: u is already running: started ")
    assert f" ago by pid {process.pid} (bash /tmp/" in result.told[0]


@pytest.mark.parametrize(
    ("verb", "way_out"),
    [
        ("complete u", "complete u"),
        ("complete u --even-so", "complete u"),
        ("complete u --exit-code 3", "complete u --exit-code 3"),
        ("fail u --reason x", "fail u"),
    ],
)
def test_who_has_no_say_is_told_who_has_and_how_to_speak_for_it(
    cli: Cli, verb: str, way_out: str
) -> None:
    process = cli.spawn(command=cli.write_script("unitsync start u; echo ready >&2; sleep 60"))
    process.next_line()
    hint = f"{way_out} --owner {process.pid}"
    result = cli.script(f"unitsync start u 2>/dev/null; unitsync {verb}; unitsync {hint}")
    assert result[:2] == (0, "")
    assert len(result.told) == 2
    begin = "unitsync: nothing was changed: this script does not run u"
    assert result.told[0].startswith(f"{begin}, pid {process.pid} (bash /tmp/")
    assert result.told[0].endswith(") does")
    assert result.told[1] == f"hint: to end it all the same: unitsync {hint}"
    ended = "completed" if way_out == "complete u" else "failed"
    assert json.loads(cli.ok("status", "u", "-o", "json"))["status"] == ended


def test_who_has_no_say_is_told_how_to_go_on_if_the_owner_is_gone(cli: Cli) -> None:
    script = "unitsync start u --on-owner-exit ignore; echo ready >&2; sleep 60"
    process = cli.spawn(command=cli.write_script(script))
    process.next_line()
    refused = "unitsync start u 2>/dev/null; echo refused >&2; read; unitsync fail u"
    other = cli.spawn(command=cli.write_script(refused), stdin=subprocess.PIPE)
    assert other.next_line() == "refused"
    process.send(signal.SIGKILL)
    with cli.client() as client:
        while not any(entry.what == "owner gone" for entry in client.status("u").history):
            pass
    begin = "hint: unitsync start u begins a new run"
    assert other.popen.communicate("\n", timeout=50)[1].splitlines() == [
        "unitsync: nothing was changed: this script does not run u, which is still started",
        f"{begin}; to end this one, in another shell: unitsync fail u",
    ]
    cli.ok("fail", "u")


def test_a_script_that_ends_without_a_word(cli: Cli) -> None:
    """Its reason is short wherever it stands, and status says once what to do."""
    long = " ".join(["argument"] * 20)
    assert cli.exec("bash", "-c", f"{' '.join(cli.command)} start u; sleep 0; : {long}").status == 0
    cli.ok("wait", "u", "--for", "completion")
    skipped = cli("start", "v", "--after", "u")
    assert skipped.status == 3
    text = re.sub(r"\(bash -c .*…\)", "(SCRIPT)", normalised(cli.ok("status", "u")))
    assert text.splitlines()[:6] == [
        "Unit:    u",
        "Status:  failed N s ago: its script, pid PID (SCRIPT), ended without `complete`",
        "Ready:   yes",
        "Hint:    let run report how it ends: unitsync run u -- COMMAND",
        "         or set the traps that unitsync complete --help shows;",
        "         if it may end like that, start it with --on-owner-exit complete",
    ]
    for told in (text.split("Hint:")[0], skipped.err, cli.ok("list"), cli.ok("why", "v")):
        assert "ended without `complete`" in told
        assert "--on-owner-exit" not in told


def test_a_script_that_may_end_without_a_word_has_to_be_spoken_for(cli: Cli) -> None:
    script = "unitsync start 'u(1)' --on-owner-exit warn"
    assert "Hint:" not in cli.script(f"{script}; unitsync status 'u(1)'").out
    with cli.client() as client:
        while not client.status("u(1)").owner_gone:
            pass
    hint = "Hint:    say how it went: unitsync complete 'u(1)', or unitsync fail 'u(1)'"
    assert cli.ok("status", "u(1)").splitlines()[3] == hint
    cli.ok("complete", "u(1)")
    assert "Hint:" not in cli.ok("status", "u(1)")


def test_a_run_that_is_killed_is_not_blamed_for_a_missing_complete(cli: Cli) -> None:
    process = cli.spawn("run", "u", "--", "sh", "-c", "echo ready >&2; sleep 60")
    assert process.next_line() == "ready"
    process.send(signal.SIGKILL)
    cli.ok("wait", "u", "--for", "completion")
    text = cli.ok("status", "u")
    ended = "was killed or could not record its end"
    assert f"(unitsync run u -- sh -c 'echo ready >&2; sleep …) {ended}" in text
    assert "`complete`" not in text
    assert "Hint:" not in text


# --- streams ------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_trouble(cli: Cli) -> None:
    with cli.client() as client:
        for n in range(2000):
            client.want(f"unit-{n}", f"unit-{n + 1}")
    command = " ".join(cli.command)
    for verb in ("list", "list -o json", "why"):
        result = cli.exec("bash", "-c", f"{command} {verb} | head -1; echo ${{PIPESTATUS[*]}}")
        assert result.err == ""
        assert result.out.splitlines()[-1] == "0 0"


def test_closed_streams(cli: Cli) -> None:
    command = " ".join(cli.command)
    cli.ok("ping")
    result = cli.exec("sh", "-c", f"{command} ping >&-; echo $?")
    assert (result.out, result.err) == ("0\n", "")
    result = cli.exec("sh", "-c", f"{command} complete nobody 2>&- >&- <&-; echo $?")
    assert (result.out, result.err) == ("4\n", "")
    result = cli.exec("sh", "-c", f"{command} list > /dev/full; echo $?")
    assert (result.out, result.err) == (
        "1\n",
        "error: cannot write to stdout: no space left on device\n",
    )


def test_a_locale_without_unicode_prints_escapes(cli: Cli) -> None:
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    cli.ok("want", "ide", "é→")
    assert cli("list", env=env).out.splitlines()[2].startswith("\\xe9\\u2192 ")
    assert "\\xe9\\u2192" in cli("why", "ide", env=env).out
    assert "\\xe9\\u2192" in cli("status", "ide", env=env).out


def test_stdin_is_left_alone(cli: Cli) -> None:
    script = "unitsync start a; unitsync complete a; unitsync list; cat"
    done = subprocess.run(
        cli.write_script(script),
        input="the rest",
        env=cli.env(cli._with_command(None)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.endswith("the rest")


def test_a_terminal_gets_colour_and_no_line_wider_than_it_is(cli: Cli) -> None:
    cli.ok("want", "a" * 100, *(f"prerequisite-{n}" for n in range(20)))
    cli.ok("start", "prerequisite-0")
    for width in (40, 80, 200):
        text = cli.at_terminal("list", width=width)
        assert "\x1b[36mstarted" in text
        plain = re.sub(r"\x1b\[[\d;]*m", "", text)
        assert "\x1b" not in plain
        assert max(map(len, plain.splitlines())) <= width
    assert "\x1b" not in cli.at_terminal("list", width=80, env={"NO_COLOR": "1"})
    assert "\x1b" not in cli.at_terminal("list", width=80, env={"TERM": "dumb"})
    assert "\x1b[36mstarted" in cli.at_terminal("why", width=80)
    assert "\x1b" not in cli.ok("why")


def test_status_keeps_to_the_terminal_too(cli: Cli) -> None:
    cli.ok("want", "ide", "a" * 39, "b" * 60)
    cli.ok("start", "a" * 39)
    cli.ok("fail", "a" * 39, "--reason", "a reason of several words " * 8)
    for width in (20, 40, 80):
        lines = cli.at_terminal("status", "ide", width=width).splitlines()
        assert max(map(len, lines)) <= width
    assert lines[2].startswith(" " * 9)
    assert len(cli.ok("status", "ide").splitlines()) == 7  # elsewhere nothing is folded


def test_normalising_leaves_nothing_that_changes(cli: Cli) -> None:
    text = normalised(
        "started 12 s ago by pid 5 (bash /tmp/us-ab/tmpx.sh) 2026-01-01T00:00:00+01:00"
    )
    assert text == "started N s ago by pid PID (bash SCRIPT) TIME"


@pytest.mark.parametrize("cli", [MODULE], ids=["module"], indirect=True)
def test_words_that_typer_has_taken_apart_give_the_same_output(cli: Cli) -> None:
    """``python -m unitsync`` never takes words apart by itself."""
    calls = ("want a b", "complete c", "wait c --timeout 0", "start a -x", "start a --no-wait")
    for words in (*calls, "status a", "why a", "list --output json"):
        ours, theirs = cli(*words.split()), cli.exec(*UNITSYNC, *words.split())
        assert normalised(str(ours)) == normalised(str(theirs)), words
