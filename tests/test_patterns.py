"""Patterns: which names each matches, and what is no pattern."""

from __future__ import annotations

import pytest

from unitsync.errors import InvalidName
from unitsync.names.patterns import any_matcher, is_pattern, literal, matcher

NAMES = ["git-clone", "git-clone.app", "git-clone.lib", "GIT", "ide", "größe", "a!b", "a^b"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", NAMES),
        ("git-clone.*", ["git-clone.app", "git-clone.lib"]),
        ("*clone*", ["git-clone", "git-clone.app", "git-clone.lib"]),
        ("g*t", []),
        ("[Gg]*", ["git-clone", "git-clone.app", "git-clone.lib", "GIT", "größe"]),
        ("i??", ["ide"]),
        ("??", []),
        ("gr[!a]ße", ["größe"]),
        ("[!g]*", ["GIT", "ide", "a!b", "a^b"]),
        ("a[!^]b", ["a!b"]),
        ("a[^]b", ["a^b"]),
        ("*.[a-k]*", ["git-clone.app"]),
    ],
)
def test_what_it_matches(pattern: str, expected: list[str]) -> None:
    assert is_pattern(pattern)
    assert list(filter(matcher(pattern), NAMES)) == expected
    assert all(name.startswith(literal(pattern)) for name in expected)


@pytest.mark.parametrize(
    "pattern", ["[", "a[b", "a[]", "a *", "*,b", "x@*", "-*", "*" * 256, "\udc80*", "a[!]b"]
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidName):
        matcher(pattern)


def test_names_and_patterns() -> None:
    match = any_matcher(["ide", "git-clone.*", "x"])
    assert list(filter(match, NAMES)) == ["git-clone.app", "git-clone.lib", "ide"]


def test_a_pattern_of_many_stars_is_quick() -> None:
    assert not matcher("*a" * 100 + "b")("a" * 255)
