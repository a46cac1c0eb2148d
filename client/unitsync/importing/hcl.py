"""Reading Terraform's files into blocks: their labels, attributes and lines.

python-hcl2 parses them; the values of attributes are looked at in hcl_values.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unitsync.errors import not_installed
from unitsync.importing.draft import Place, failed, text_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from lark import Token, Tree

    Node: TypeAlias = Tree[Token]

_BLANK: Final = "new_line_or_comment"


@dataclass(frozen=True)
class Expression:
    """An expression of the file at ``place``. ``text`` is the source of the whole file."""

    node: Node
    text: str
    file: Path
    first_line: int = 1
    """The line in the file with which ``text`` begins."""

    @property
    def place(self) -> Place:
        line = 1 if self.node.meta.empty else self.node.meta.line
        return Place(self.file, self.first_line + line - 1)

    @property
    def source(self) -> str:
        """The expression as it is written."""
        if self.node.meta.empty:
            return ""
        return self.text[self.node.meta.start_pos : self.node.meta.end_pos].strip()

    def at(self, node: Node) -> Expression:
        return Expression(node, self.text, self.file, self.first_line)


@dataclass(frozen=True)
class Block:
    """``resource "coder_script" "clone" { ... }``: its kind is ``resource``."""

    kind: str
    labels: tuple[str, ...]
    attributes: dict[str, Expression]
    blocks: tuple[Block, ...]
    place: Place

    def inner(self, kind: str) -> Iterator[Block]:
        return (block for block in self.blocks if block.kind == kind)


def blocks_of(path: Path) -> tuple[Block, ...]:
    """The blocks of the file *path*, in its order. Raises PlanError, and UsageError if the
    library is not installed."""
    text = text_of(path) + "\n"
    tree = _tree(text, Place(path, 1))
    body = next(child for child in kids(tree) if child.data == "body")
    return tuple(_blocks(body, Expression(body, text, path)))


def expression(text: str, place: Place) -> Expression:
    """The expression *text*, which stands at *place*. Raises PlanError."""
    source = f"x = {text}\n"
    tree = _tree(source, place)
    node = tree
    while node.data != "attribute":
        node = kids(node)[0]
    return Expression(kids(node)[-1], source, place.file, place.line)


def _tree(text: str, place: Place) -> Node:
    try:
        import hcl2
        from lark.exceptions import LarkError, UnexpectedInput
    except ImportError:
        raise not_installed("a template is read", "python-hcl2", "import") from None
    try:
        tree: Any = hcl2.parses_to_tree(text)
    except UnexpectedInput as problem:
        line = problem.line if isinstance(problem.line, int) and problem.line > 0 else 1
        at = Place(place.file, place.line + min(line, text.count("\n")) - 1)
        raise failed(at, "this is not Terraform's language") from None
    except (LarkError, RecursionError):
        raise failed(place, "this is not Terraform's language") from None
    return tree  # type: ignore[no-any-return]


def kids(node: Node) -> list[Node]:
    """The parts of *node* that are more than punctuation and comments."""
    return [each for each in node.children if not isinstance(each, str) and each.data != _BLANK]


def word(node: Node) -> str:
    """The name in an identifier, a keyword or a literal."""
    return "".join(str(each) for each in node.children if isinstance(each, str)).strip()


def _blocks(body: Node, of: Expression) -> Iterator[Block]:
    for child in kids(body):
        if child.data != "block":
            continue
        *names, inner = kids(child)
        kind, *labels = (_label(each) for each in names)
        attributes = {}
        for each in kids(inner):
            if each.data == "attribute":
                name, value = kids(each)
                attributes[word(name)] = of.at(value)
        place = of.at(child).place
        yield Block(kind, tuple(labels), attributes, tuple(_blocks(inner, of)), place)


def _label(node: Node) -> str:
    if node.data != "string":
        return word(node)
    return "".join(word(part) for part in kids(node))
