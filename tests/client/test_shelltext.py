"""What a text goes on to do after a call in it. tests/callers has real shells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitsync.owner.shelltext import is_over_after_call

PROGRAMS = ("unitsync", "coder")

OVER = [
    "unitsync start ide",
    "/opt/bin/unitsync start ide",
    "~/bin/unitsync start ide",
    "python3 -P -m unitsync start ide",
    "coder exp sync start ide",
    "coder --verbose exp sync start ide || exit",
    "unitsync start ide && exit 0; exit 1",
    "unitsync start ide; [ $? -eq 0 ] || exit 1",
    "unitsync start ide; if [ $? -ne 0 ]; then exit 1; fi",
    "unitsync start ide; test $? = 0 && echo 'it; started' || echo no",
    "unitsync start ide || make clean",
    "unitsync start ide || { make clean; exit 1; }",
    "unitsync start ide || if true; then make clean; fi",
    "unitsync start ide || for i in 1 2; do make; done; true",
    "unitsync start ide || (make; exit 1) || make again",
    "if unitsync start ide; then true; else make clean; fi",
    "if true; then unitsync start ide; else make; fi",
    "if ! unitsync start ide; then make clean; if true; then make; fi; fi",
    "! unitsync start ide && make clean",
    "{ cd /; unitsync start ide; } 2>&1 | tee -a log",
    "( cd /; unitsync start ide; ) | tee log || exit 1",
    "unitsync start ide | while read l; do echo $l >> log; done",
    "unitsync start ide > >(tee log) 2>&1",
    "unitsync start ide &> log",
    "unitsync start ide < <(echo)",
    "unitsync start ide 3>&- 2>&1 >|log",
    "case $1 in a) unitsync start ide;; esac",
    "f() { unitsync start ide; }; f",
    "f() ( unitsync start ide )\nf x",
    "function f { unitsync start ide; }; f",
    "unitsync start ide & true",
    "unitsync start a && unitsync start ide",
    "unitsync start ide; unitsync complete ide",
    "trap 'unitsync complete ide' EXIT; unitsync start ide",
    "echo it\\'s; unitsync start ide",
    "echo it's; unitsync start ide",
    "unitsync start ide # it's; make",
    '"$UNITSYNC" start ide || exit',
    "unitsync start ide --after $(names $(hostname))",
    "unitsync start ide --after $(cd /etc; echo $IDE) || make",
    "unitsync start ide; [ 0 = $? ] || exit 1",
    "unitsync start ide > >(tee log; make)",
    "unitsync start ide; > /run/ide",
    'unitsync start ide; : <<< "$IDE"',
    "unitsync start ide &>log || make",
    "unitsync start ide |& tee log",
    "cd /srv && \\\nunitsync start ide",
    "make && unitsync start ide",
    "make; unitsync want ide; make; unitsync start ide",
    # other shells
    "unitsync start ide; or exit 1",
    "unitsync start ide; or begin; make; exit 1; end",
    "if unitsync start ide; end",
    "if not unitsync start ide; exit 1; end",
    "function f; unitsync start ide; end; f",
    "try { unitsync start ide } catch e { }",
    # other languages
    'import os; os.system("unitsync start ide")',
    'import os, sys; sys.exit(os.system("unitsync start ide"))',
    'import subprocess; subprocess.run(["unitsync", "start", "ide"], check=True)',
    "subprocess.run('cd / && unitsync start ide', shell=True)\nprint('ok')\n",
    'system("unitsync start ide") == 0 or die "no"',
    'system("unitsync start ide") == 0 or warn("no");',
    'system("unitsync start ide") == 0 || die("no");',
    'BEGIN { system("unitsync start ide || exit 1"); exit }',
    "alias.go=!unitsync start ide",
    "npm exec unitsync start ide",
    'eval "unitsync start \\"ide\\""',
]

GOES_ON = [
    'unitsync start ide; echo "$(make)"',
    'unitsync start ide; x="`make`"',
    "unitsync start ide; ./pkg.test",
    "unitsync start ide; run.test -v",
    "unitsync start ide; sys.exit",
    "unitsync start ide; make",
    "unitsync start ide\nmake\n",
    "unitsync start ide && make",
    "unitsync start ide & make",
    "unitsync start ide & wait",
    "unitsync start ide || exit 1; make",
    "unitsync start ide || exit 1 && make",
    "unitsync start ide; true || make",
    "unitsync start ide && echo a; make",
    "unitsync start ide; A=b make",
    "unitsync start ide; x=$(make)",
    "unitsync start ide; echo x | make",
    "unitsync start ide; : < gate",
    'unitsync start ide; "$@"',
    "unitsync start ide; $MAKE",
    "unitsync start ide; . ./make",
    "unitsync start ide; exec make",
    "unitsync start ide | tee log; make",
    "unitsync start ide | while read l; do echo $l; done; make",
    "{ unitsync start ide; } && make",
    "( unitsync start ide ) ; ( make )",
    "if unitsync start ide; then make; fi",
    "if ! unitsync start ide; then exit; else make; fi",
    "if ! unitsync start ide; then exit; fi; make",
    "if true; then unitsync start ide; fi; make",
    "! unitsync start ide || make",
    "until unitsync start ide; do sleep 1; done; make",
    "while :; do unitsync start ide; sleep 1; done",
    "for i in 1 2; do unitsync start ide; make; done",
    "f() { unitsync start ide; make; }; f",
    "f() { unitsync start ide; }; g() { make; }; f; g",
    "g() { make; }; f() { unitsync start ide; }; f; g",
    "unitsync start ide; make; unitsync complete ide",
    "trap 'unitsync complete ide' EXIT\nunitsync start ide || exit\nmake\n",
    "bash -c 'unitsync start ide; make'",
    "bash -c 'unitsync start ide'; make",
    "unitsync start ide <<EOF\nmake\nEOF",
    "unitsync start ide; echo 'a\nb' 'c'; make",
    "unitsync start ide # a comment\nmake",
    "unitsync start ide; echo a#b; make",
    'unitsync start ide; echo "\\""; make; echo "x"',
    "unitsync start ide; if false; then true; else make; fi",
    "if ! unitsync start ide; then exit 1; fi && make",
    "( unitsync start ide || exit 1 ); make",
    "x=$(unitsync start ide || exit 1); make",
    "f() { make; }; unitsync start ide; f",
    "unitsync start ide; 2>log make",
    "unitsync start ide; 'end'",
    "unitsync start ide; ./run.test(N)",
    'exec("unitsync start ide", status => read("gate"))',
    "unitsync start ide; if make; end",
    'import os; os.system("unitsync start ide"); open("gate").read()',
    'os.system("unitsync start ide; make")',
    'exec("unitsync start ide", () => { read("gate") })',
    'spawn("unitsync", ["start", "ide"]).on("exit", () => read(1))',
    "foreground  unitsync  start  ide ; make",
]

NO_CALL = [
    "",
    "make",
    ". ./startup.sh",
    'eval "$STARTUP"',
    "unitsync status ide",
    "unitsync startide",
    "cd /opt/unitsync && make start",
    "unitsync; start ide",
    "unitsync-start ide",
]


@pytest.mark.parametrize("text", OVER)
def test_over(text: str) -> None:
    assert is_over_after_call(text, "start", PROGRAMS)


@pytest.mark.parametrize("text", GOES_ON)
def test_goes_on(text: str) -> None:
    assert not is_over_after_call(text, "start", PROGRAMS)


@pytest.mark.parametrize("text", NO_CALL)
def test_no_call(text: str) -> None:
    assert not is_over_after_call(text, "start", PROGRAMS)


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("unitsync start ide; make; unitsync complete ide", False),
        ("make; unitsync complete ide", True),
        ("make && unitsync complete ide; make clean", False),
        ("unitsync start ide; unitsync complete ide", True),
        ("trap 'unitsync complete ide' EXIT; unitsync start ide; make", False),
    ],
)
def test_a_complete_is_said_by_whom_the_start_was(text: str, over: bool) -> None:
    assert is_over_after_call(text, "complete", PROGRAMS) is over


PIECES = st.sampled_from(
    [
        *("unitsync start ide", "unitsync", "start", "make", "true", "echo", "x=1", "$?", "f()"),
        *(" ", "\n", ";", "&", "&&", "||", "|", "(", ")", "`", "{", "}", "<", ">", ">&2", "#"),
        *("if", "then", "else", "fi", "while", "do", "done", "until", "!", "or", "end", "case"),
        *("'", '"', "\\", "$(", "esac", ",", "[", "]", "=>", "é", "\udc80"),
    ]
)


@given(st.lists(PIECES, max_size=40).map(" ".join) | st.lists(PIECES, max_size=40).map("".join))
def test_every_text_has_an_answer(text: str) -> None:
    assert is_over_after_call(text, "start", PROGRAMS) in (True, False)
