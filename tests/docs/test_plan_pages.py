"""The pages about plans, followed from their first line to the last in an empty folder: their
files are written and their commands are typed at a terminal, and what comes is on the page."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from pathlib import Path

import pytest

import docpages as pages
from cli.conftest import Cli, cli
from plan.conftest import mistakes
from support.screen import screen

__all__ = ["cli"]

PORT = "8123"
"""The port on the pages."""
WAITING = "unitsync: waiting for "
"""How lines begin that only come if one is early."""
OTHERS = "from-make-compose-supervisord"
NEEDS = {f"{OTHERS}#From make": "make"}
PAGES = (
    *("plans", "modules-and-ready", "from-coder-template"),
    *(f"{OTHERS}#From {tool}" for tool in ("make", "compose", "supervisord")),
)
"""Whole pages, and sections of a page that each begin in an empty folder."""


def steps(page: str) -> list[tuple[str, str]]:
    """What the page has one do: ("command", line), ("write", name, text) and so on, in order; and
    what is shown: ("output", text)."""
    name, _, section = page.partition("#")
    text = pages.read(f"how-to/{name}.md")
    if section:
        text = pages.sections(text, 2)[section]
    found = []
    for block in pages._FENCE.finditer(text):
        before = text[: block.start()].rstrip().splitlines()[-1]
        file = re.search(r"`([\w./-]+)`:$", before)
        if block[3] == "console":
            found.append(("typed", block[4]))
        elif file is not None:
            how = "add" if before.startswith("Add to ") else "write"
            found.append((f"{how} {file[1]}", block[4]))
    return found


def script(page: str) -> tuple[str, str]:
    """A script that does all this, and the transcript that the page has of it."""
    lines, shown = [], ""
    for what, text in steps(page):
        if what == "typed":
            shown += text
            for command in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                lines += [f"echo {shlex.quote(f'$ {command}')}", command]
        else:
            how, name = what.split()
            sign = ">>" if how == "add" else ">"
            lines.append(f"cat {sign} {name} <<'END OF FILE'\n{text}END OF FILE")
            if text.startswith("#!"):
                lines.append(f"chmod +x {name}")
    return "\n".join([*lines, ":"]), shown


def alike(text: str) -> list[str]:
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r" after [\d.]+ (ms|s)\b", "", text)
    text = re.sub(r"[\d.]+ (ms|s|min)\b", "N s", text)
    text = re.sub(r"pid \d+ \(.*", "pid N (…)", text)
    text = re.sub(r"pid \d+", "pid N", text)
    text = re.sub(r"/[\w/.-]+/(?=[\w.-]+)", "/…/", text)
    text = re.sub(r"/…/[0-9a-f]{16}\.log", "/…/….log", text)
    text = re.sub(r" {2,}", "  ", text)
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(WAITING)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES)
def test_who_follows_the_page_sees_what_is_on_it(cli: Cli, page: str) -> None:
    if page in NEEDS and shutil.which(NEEDS[page]) is None:
        pytest.skip(f"there is no {NEEDS[page]}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    text, shown = script(page)
    folder = cli.folder / "startup"
    folder.mkdir()
    env = {**cli._with_command(None), "NO_COLOR": "1", "TERM": "xterm"}
    cli.command = cli.write_script(f"cd {folder}\n{text.replace(PORT, port)}")
    told = screen(cli.at_terminal(width=100, env=env)).replace(port, PORT)
    assert alike(told) == alike(shown)


PARTS = re.compile(
    "which is no unit of this plan$|there is no such file$|the plan has no units$"
    "|^the plan is not finished: "
)
"""What is wrong with a plan that a page shows in part, or as `import` has left it."""


def test_every_plan_on_a_page_is_one(tmp_path: Path) -> None:
    """Keys, values and order; programs may be missing here."""
    found = 0
    for block in (block for page in pages.pages() for block in pages.blocks(page)):
        if block.language == "toml" and "mcp_servers" not in block.text:
            found += 1
            path = tmp_path / f"{found}.toml"
            path.write_text(block.text)
            wrong = [one.message for one in mistakes(path, runnable=False)]
            wrong = [message for message in wrong if not PARTS.search(message)]
            assert not wrong, (block.page, block.line)
    assert found > 10
