"""Reads the docs: code blocks, tables, sections, and the commands in them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)(```+)(\S*)[^\n]*\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str


class Call(NamedTuple):
    """``unitsync`` with *arguments*, as a page shows it."""

    where: str
    arguments: tuple[str, ...]


def pages() -> list[Path]:
    """Everything that a user reads."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    return sorted([*found, *(ROOT / "examples").rglob("*.md")])


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(str(path.relative_to(ROOT)), line, found[3], found[4])


def sections(text: str, level: int) -> dict[str, str]:
    """Heading (without backticks) → what stands below it, up to the next heading that is
    not deeper."""
    found: dict[str, str] = {}
    parts = re.split(rf"^({'#' * level} .+)$", text, flags=re.MULTILINE)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        above = re.split(rf"^#{{1,{level}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]
        found[heading[level + 1 :].replace("`", "")] = above
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows in *text*, headings and rules left out."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|") or re.fullmatch(r"[|\-: ]+", line):
            continue
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if re.fullmatch(r"\|[|\-: ]+", following):
            continue  # a heading
        cells = re.split(r"(?<!\\)\|", line.strip("|"))
        found.append([cell.strip() for cell in cells])
    return found


def code(cell: str) -> list[str]:
    """What stands between backticks in *cell*."""
    return re.findall(r"`([^`]+)`", cell)


def calls_in_examples() -> Iterator[Call]:
    """Every call in the files that are there to be copied."""
    for path in sorted((ROOT / "examples").rglob("*")):
        where = str(path.relative_to(ROOT))
        if path.name == "devcontainer.json":
            settings = json.loads(path.read_text(encoding="utf-8"))
            steps = [step for step in settings.values() if isinstance(step, dict)]
            for command in (command for step in steps for command in step.values()):
                yield from _calls_in(command, where)
        elif path.suffix in (".sh", ".service") or path.name == "Dockerfile":
            text = path.read_text(encoding="utf-8")
            if path.suffix != ".sh":
                text = re.sub("^#.*$", "", text, flags=re.MULTILINE)
            for number, line in _command_lines(Block(where, 1, "sh", text)):
                if line.count("'") % 2:  # the command goes on over several lines
                    line = line.rpartition("'")[0]
                yield from _calls_in(line, f"{where}:{number}")


def calls(path: Path) -> Iterator[Call]:
    """Every call of unitsync in the shell blocks, transcripts and sentences of *path*."""
    sentences = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for span in re.findall(r"`(unitsync [^`]*)`", sentences):
        if len(span.split()) == 2:
            span += " --help"  # only the verb's name is meant
        if "…" not in span:
            yield from _calls_in(span.replace("\\|", "|"), f"{path.relative_to(ROOT)} `{span}`")
    for block in blocks(path):
        if block.language in ("sh", "bash", "console", "dockerfile", "ini"):
            for number, line in _command_lines(block):
                yield from _calls_in(line, f"{block.page}:{number}")


def _command_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined; of a transcript, only what was typed."""
    text = re.sub(r"\\\n", " ", block.text)
    for number, line in enumerate(text.splitlines(), block.line):
        if block.language == "console":
            typed, prompt, command = line.partition("$ ")
            if prompt and not typed.strip():
                yield number, command
        else:
            yield number, line


def _calls_in(line: str, where: str, depth: int = 0) -> Iterator[Call]:
    if "unitsync" not in line and "exp sync" not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&`")
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError as exc:
        raise AssertionError(f"{where}: {line!r} cannot be read: {exc}") from None
    command: list[str] = []
    for token in [*tokens, ";"]:
        if re.fullmatch(r"[();<>|&`]+", token):
            yield from _call(command, where)
            command = []
        else:
            command.append(token)
    for token in tokens:  # commands within quotes: trap '…', sh -c '…', "$(…)"
        if re.search(r"unitsync |exp sync ", token) and depth < 3:
            yield from _calls_in(token, where, depth + 1)


_BEFORE_A_COMMAND = frozenset(
    ("!", "RUN", "do", "elif", "else", "exec", "if", "nohup", "sudo", "then", "until", "while")
)


def _call(command: list[str], where: str) -> Iterator[Call]:
    words = ["0" if word == "$?" else word.removeprefix("ExecStart=") for word in command]
    while words and (words[0] in _BEFORE_A_COMMAND or re.match(r"[A-Za-z_]+=", words[0])):
        del words[0]
    if words and (words[0] == "unitsync" or words[0].endswith("/bin/unitsync")):
        yield Call(where, tuple(words[1:]))
    elif words[:3] == ["coder", "exp", "sync"]:
        yield Call(where, tuple(words[3:]))
