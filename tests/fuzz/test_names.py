"""Any text as a unit name, against the rule written once more."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.amount import ROUNDS
from support.driver import Driven
from unitsync import errors, wire
from unitsync.names.unit_names import check_name
from unitsyncd.core.wording import printable

ODD = "-*?[],@ \t\n\0\x1b\x7f\x85\xa0\xad\u0300\u0947\u200b\u200d\u2028\u202e\ufeff\ue000\ufffe"
UNSEEN = {*"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"}
UNSEEN |= {*"\U0001d159\U00013441\U00013442"}
UNSEEN |= {*map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))}
characters = st.one_of(
    st.sampled_from(sorted(UNSEEN)),
    st.sampled_from(ODD + "abc-_.:/äß中🚀\U000e0001\U0010ffff\ud800\udc80"),
    st.characters(),
    st.characters(categories=["Lu", "Ll", "Nd"]),
)
texts = st.one_of(
    st.text(characters, max_size=12),
    st.text(st.sampled_from("abc-_."), min_size=250, max_size=260),
    st.text(st.sampled_from("ä中"), min_size=80, max_size=135),
)


def is_name(text: str) -> bool:
    """1 to 255 bytes of printable UTF-8 without white space, does not begin with ``-``,
    and holds none of ``* ? [ ] , @``. Printable is what a person sees."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    nothing_odd = not any(
        char in "*?[],@" or char.isspace() or unicodedata.category(char)[0] in "CZ" for char in text
    )
    seen = not UNSEEN.intersection(text) and unicodedata.category(text[:1] or "x")[0] != "M"
    return 1 <= size <= 255 and text[0] != "-" and nothing_odd and seen


@given(texts)
@settings(max_examples=1000 * ROUNDS)
def test_the_rule(text: str) -> None:
    if is_name(text):
        check_name(text)
        assert printable(text) == text
    else:
        with pytest.raises(errors.InvalidName) as caught:
            check_name(text)
        assert caught.value.message.isprintable()
        assert caught.value.name.isprintable()
        assert len(caught.value.message) < 700


@given(st.lists(texts.filter(lambda text: "\ud800" not in text and "\udc80" not in text)))
@settings(max_examples=100 * ROUNDS)
def test_the_coordinator_keeps_to_it(given: list[str]) -> None:
    script = Driven().script()
    for text in given:
        try:
            text.encode()
        except UnicodeEncodeError:
            continue  # no client can send that
        reply = script.ask(script.want(text, "fine"))
        if is_name(text) and text != "fine":
            assert isinstance(reply, wire.Ok)
        else:
            assert isinstance(reply, wire.Error)
            assert reply.code == ("invalid_name" if text != "fine" else "cycle")
        reply = script.ask(script.want("unit", text))
        assert isinstance(reply, wire.Ok if is_name(text) and text != "unit" else wire.Error)
    page = script.must(wire.ListReply, wire.List(id="", limit=10_000))
    assert all(is_name(unit.name) for unit in page.units)
