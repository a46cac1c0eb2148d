"""Programs in many languages that call a verb by system(3), popen(3) or what each has for
it: the program is the script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Final, NamedTuple

import pytest

from callers.calling import Caller, need

CALLS: Final = {
    "plain": "unitsync start ide",
    "with more": "cd / && unitsync start ide >> $ME.log 2>&1 || exit 1",
}


class Language(NamedTuple):
    command: str
    text: str
    """With CALL for the call, and what waits at the gate behind it."""
    name: str = "program"


PYTHON: Final = "import asyncio, os, subprocess\n{}\nopen(os.environ['GATE']).read()\n"
NODE: Final = "const c = require('child_process'), fs = require('fs');\n{}\n"
WAIT: Final = "fs.readFileSync(process.env.GATE)"

LANGUAGES: Final = {
    "os.system": Language("python3", PYTHON.format("os.system('CALL')")),
    "shell=True": Language("python3", PYTHON.format("subprocess.run('CALL', shell=True)")),
    "os.popen": Language("python3", PYTHON.format("os.popen('CALL').read()")),
    "asyncio": Language(
        "python3",
        PYTHON.format(
            "async def main():\n"
            "    await (await asyncio.create_subprocess_shell('CALL')).wait()\n"
            "asyncio.run(main())"
        ),
    ),
    "posix_spawn": Language(
        "python3",
        PYTHON.format("os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'CALL'], os.environ), 0)"),
    ),
    "php": Language("php", "<?php system('CALL'); file_get_contents(getenv('GATE'));"),
    "php exec": Language("php", "<?php exec('CALL'); file_get_contents(getenv('GATE'));"),
    "lua": Language("lua", "os.execute('CALL')\nio.open(os.getenv('GATE')):read('a')\n"),
    "lua popen": Language(
        "lua", "io.popen('CALL'):close()\nio.open(os.getenv('GATE')):read('a')\n"
    ),
    "awk": Language("awk -f", 'BEGIN { system("CALL"); getline x < ENVIRON["GATE"] }\n'),
    "gawk": Language("gawk -f", 'BEGIN { "CALL" | getline; getline x < ENVIRON["GATE"] }\n'),
    "mawk": Language("mawk -f", 'BEGIN { system("CALL"); getline x < ENVIRON["GATE"] }\n'),
    "busybox awk": Language(
        "busybox awk -f", 'BEGIN { system("CALL"); getline x < ENVIRON["GATE"] }\n'
    ),
    "perl": Language("perl", "system('CALL'); open(F, '<', $ENV{GATE}); <F>;\n"),
    "perl backticks": Language("perl", "$x = `CALL`; open(F, '<', $ENV{GATE}); <F>;\n"),
    "ruby": Language("ruby", "system('CALL'); File.read(ENV['GATE'])\n"),
    "ruby backticks": Language("ruby", "`CALL`; File.read(ENV['GATE'])\n"),
    "tcl": Language("tclsh", "exec sh -c {CALL}\nset f [open $env(GATE)]; gets $f\n"),
    "expect": Language(
        "expect", "spawn sh -c {CALL}\nexpect eof\nset f [open $env(GATE)]; gets $f\n"
    ),
    "guile": Language(
        "guile --no-auto-compile",
        '(system "CALL")\n(call-with-input-file (getenv "GATE") read-char)\n',
    ),
    "execSync": Language("node", NODE.format(f"c.execSync('CALL'); {WAIT}")),
    "exec": Language("node", NODE.format(f"c.exec('CALL', () => {WAIT})")),
    "spawn": Language(
        "node", NODE.format(f"c.spawn('unitsync', ['start', 'ide']).on('exit', () => {WAIT})")
    ),
    "make": Language("make -sf", "all:\n\tCALL\n\tread x < $$GATE\n"),
    "just": Language("just -f", "all:\n  CALL\n  cat $GATE\n", "justfile"),
    "npm": Language(
        "npm run go --prefix",
        '{"scripts": {"prego": "CALL", "go": "cat $GATE"}}',
        "package.json",
    ),
}

C: Final = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    if (getenv("POPEN"))
        pclose(popen(getenv("CALL"), "r"));
    else
        system(getenv("CALL"));
    char byte;
    return read(open(getenv("GATE"), O_RDONLY), &byte, 1);
}
"""


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", LANGUAGES)
def test_a_program_that_calls(caller: Caller, how: str, call: str) -> None:
    language = LANGUAGES[how]
    words = language.command.split()
    need(words[0])
    dollar = {"make": "$$", "perl backticks": "\\$"}.get(how, "$")
    text = language.text.replace("CALL", CALLS[call].replace("$", dollar))
    path = caller.file(text, f"{how}.d/{language.name}")
    if how == "npm":
        path = path.removesuffix("/package.json")
    if words[0] == "python3":
        words[0] = sys.executable
    caller.check_belongs_to_caller(*words, path)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("function", ["system", "popen"])
def test_the_c_library(caller: Caller, function: str, call: str) -> None:
    need("gcc")
    source = caller.file(C, "program.c")
    program = source.removesuffix(".c")
    if not shutil.which(program):
        built = subprocess.run(["gcc", "-o", program, source], check=False)
        if built.returncode:
            pytest.skip("gcc makes no programs here")
    more = [f"CALL={CALLS[call]}", *(["POPEN=1"] if function == "popen" else [])]
    caller.check_belongs_to_caller("env", *more, program)


@pytest.mark.parametrize("call", CALLS)
def test_ninja(caller: Caller, call: str) -> None:
    need("ninja")
    command = CALLS[call].replace("$", "$$")
    text = f"""
rule start
  command = {command}
rule wait
  command = cat $$GATE
build a: start
build b: wait || a
"""
    caller.check_belongs_to_caller("ninja", "-f", caller.file(text, "build.ninja"))
