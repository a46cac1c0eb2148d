"""Env-files: what is read of them, and in which line something is wrong."""

from __future__ import annotations

import pytest

from unitsync.process.env_file import variables


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfA=1\n", {"A": "1"}),
        (b"A\nexport B='2 # 3'\n", {"B": "2 # 3"}),
        (b"A=1\nA=$B\n", {"A": "$B"}),
    ],
)
def test_what_is_read(content: bytes, expected: dict[str, str]) -> None:
    values, found = variables(content)
    assert (values, found) == (expected, [])


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"A=1\n\xff\n", 2, "the env-file is not UTF-8"),
        (b"A=1\n\n\n'B=C'=3\n", 4, "this is no name of a variable"),
        (b"A=1\nB=x\0y\n", 2, "the env-file holds the character NUL"),
        (b"\n\nnot a line\n", 3, "this line of the env-file cannot be read"),
    ],
)
def test_where_something_is_wrong(content: bytes, line: int, message: str) -> None:
    _, found = variables(content)
    assert [(one.line, one.message) for one in found] == [(line, message)]
