"""Field notes: a folder of notes becomes a folder of web pages."""

import html
import sys
from pathlib import Path

import tinymark

PAGE = '<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n{body}\n'


def title_of(text: str) -> str:
    return text.strip().splitlines()[0].removeprefix("# ")


def build(notes: Path, site: Path) -> list[str]:
    """One page for each note, and an index. Returns the titles in the index's order."""
    site.mkdir(parents=True, exist_ok=True)
    titles, entries = [], []
    for note in sorted(notes.glob("*.txt")):
        text = note.read_text(encoding="utf-8")
        title = title_of(text)
        page = PAGE.format(title=html.escape(title), body=tinymark.to_html(text))
        (site / f"{note.stem}.html").write_text(page, encoding="utf-8")
        titles.append(title)
        entries.append(f'<li><a href="{note.stem}.html">{html.escape(title)}</a>')
    body = "<h1>Field notes</h1>\n<ul>\n" + "\n".join(entries) + "\n</ul>"
    (site / "index.html").write_text(PAGE.format(title="Field notes", body=body), encoding="utf-8")
    return titles


def main() -> None:
    notes, site = map(Path, sys.argv[1:3])
    print(f"{len(build(notes, site))} pages in {site}")
