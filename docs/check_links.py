"""Finds dead links in the project's Markdown; needs no network and no library.

Every link or image with a relative target must name a file of this repository, and
a ``#fragment`` must be a heading (or an ``id``) of that page. Addresses with a scheme
are not looked up, so that the check gives the same answer everywhere.

Usage: ``python docs/check_links.py [ROOT]``. Prints ``path:line: what`` for each dead
link; exits 1 if there was one.
"""

from __future__ import annotations

import re
import sys
import urllib.parse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INLINE = re.compile(r"\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?(?:\s+[\"'(].*?)?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?")
REFERENCE_NAME = re.compile(r"^ {0,3}\[([^\]]+)\]:\s")
REFERENCE_USE = re.compile(r"\[([^\[\]]+)\]\[([^\[\]]*)\]")
HTML_TARGET = re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=[\"']([^\"']+)[\"']")
HTML_ID = re.compile(r"<[a-z]+\s[^>]*?(?:id|name)=[\"']([^\"']+)[\"']")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:")
SKIPPED_FOLDERS = frozenset({"node_modules", "build", "dist", "__pycache__"})


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The page's lines with their numbers from 1, without fenced code."""
    fence = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield number, line


def slug(heading: str) -> str:
    """The fragment that forges give a heading: lower case, no punctuation, dashes."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]+>|[`*]", "", text)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def fragments(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for _, line in prose(path):
        found.update(HTML_ID.findall(line))
        if heading := HEADING.match(line):
            base, number = slug(heading[1]), 0
            name = base
            while name in found:
                number += 1
                name = f"{base}-{number}"
            found.add(name)
    return frozenset(found)


def complaint(root: Path, page: Path, target: str) -> str:
    """Why *target*, as written in *page*, leads nowhere; "" if it leads somewhere."""
    if SCHEME.match(target) or target.startswith("//"):
        return ""
    name, _, fragment = target.partition("#")
    name = urllib.parse.unquote(name)
    if name.startswith("/"):
        return f"{target} begins with /, which means something else on every site"
    there = (page.parent / name).resolve() if name else page
    if not there.is_relative_to(root):
        return f"{target} leads out of the repository"
    if not there.exists():
        return f"{target} names no file"
    if not fragment or there.suffix != ".md":
        return ""
    if urllib.parse.unquote(fragment) not in fragments(there):
        return f"{target} names no heading of {there.relative_to(root)}"
    return ""


def dead_links(root: Path, page: Path) -> Iterator[tuple[int, str]]:
    """Line and complaint of each dead link of *page*."""
    lines = [(number, CODE_SPAN.sub("", line)) for number, line in prose(page)]
    named = {m[1].casefold() for _, line in lines if (m := REFERENCE_NAME.match(line))}
    for number, line in lines:
        targets = [*INLINE.findall(line), *HTML_TARGET.findall(line)]
        targets += [m[1] for m in [REFERENCE.match(line)] if m]
        for target in targets:
            if why := complaint(root, page, target):
                yield number, why
        for text, name in REFERENCE_USE.findall(line):
            if (name or text).casefold() not in named:
                yield number, f"[{text}][{name}] has no definition"


def pages(root: Path) -> Iterator[Path]:
    """Every Markdown file below *root*, hidden and generated folders left out."""
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part in SKIPPED_FOLDERS for part in parts):
            yield path


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    checked = dead = 0
    for page in pages(root):
        checked += 1
        for number, why in dead_links(root, page):
            dead += 1
            print(f"{page.relative_to(root)}:{number}: {why}")
    print(f"{checked} pages, {dead} dead links", file=sys.stderr)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
