"""Text with very little markup, to HTML."""

import html
import re


def to_html(text: str) -> str:
    """Blank lines part paragraphs, ``# `` begins a heading, asterisks mean emphasis."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        body = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html.escape(block))
        if body.startswith("# "):
            blocks.append(f"<h1>{body[2:]}</h1>")
        else:
            blocks.append(f"<p>{body}</p>")
    return "\n".join(blocks)
