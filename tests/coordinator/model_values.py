"""What the steps of the model test are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from support.driver import Script
from support.oracle import Edge

NAMES = "abcde"
name = st.sampled_from(NAMES)
names = st.lists(name, min_size=1, max_size=4, unique=True)
who = st.integers(0, 3)
edges = st.builds(
    Edge,
    st.sampled_from(("success", "success", "completion", "start")),
    st.sampled_from((False, False, True)),
)
which = st.integers(0, 100)
pattern = st.sampled_from(("*", "?", "[ab]", "[!ab]", "[d-e]*", "??"))
elsewhere = st.sampled_from(("x@h1", "x@h2", "x@*:1", "x@*:2"))
prerequisite = st.one_of(name, name, pattern, elsewhere)
patterns = st.lists(
    st.one_of(name, pattern, elsewhere),
    min_size=1,
    max_size=3,
    unique=True,
)


@dataclass(eq=False)
class Client:
    """A start or a wait that has not come to its end."""

    socket: Script
    request: Any
    owner: str
    held_back: bool = False
    """Otherwise it was told that it may claim, and has not done so yet."""
