"""Unit names: what a person cannot see is not part of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata

import pytest

from journal.driving import MACHINE, Driver
from journal.memory_store import MemoryStore
from support.needs import SUCCESS
from unitsync import wire
from unitsync.errors import InvalidName
from unitsync.names.unit_names import check_name
from unitsync.verb.commandline import as_utf8
from unitsyncd.core.events import AnyFact, Declared, Registered
from unitsyncd.core.store import EpochRecord

UNSEEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2800\u3164\ufe00\ufe0e\ufe0f\uffa0"
    "\U0001d159\U00013441\U00013442\U000e0100\U000e01ef"
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u2060\u2064\ufeff\ufff0\U0001bca0\U000e0001\U000e0041"
)
SEEN = (
    *("e\u0301cole", "\u00e9cole", "\u0938\u0947\u0935\u093e", "\u0e1a\u0e23\u0e34\u0e01\u0e32"),
    *("\U0001f680", "\u4e2d\u6587", "\ud55c\uae00", "\u1112\u1161\u11ab", "\u2801", "a\u20dd"),
    *("\u2400", "\u2422", "\u2205", "\u00b4", "\u02ca"),
)


def refused(name: str) -> str:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert caught.value.message.isascii()
    return caught.value.message


@pytest.mark.parametrize("char", UNSEEN, ids=ascii)
def test_a_character_that_shows_as_nothing(char: str) -> None:
    for name in (char, f"a{char}", f"a{char}b", f"{char}a", char * 3):
        assert ascii(char)[1:-1] in refused(name)


@pytest.mark.parametrize("name", ["\u0301", "\u0301a", "\u0947", "\u20dd", "\u093e"], ids=ascii)
def test_a_mark_with_nothing_to_stand_on(name: str) -> None:
    assert refused(name).endswith("it begins with a combining mark")


@pytest.mark.parametrize("name", SEEN, ids=ascii)
def test_what_can_be_seen_is_taken(name: str) -> None:
    check_name(name)


def test_all_that_unicode_calls_ignorable_by_default() -> None:
    """Python's unicodedata has not got that property, Perl's tables have."""
    if not (perl := shutil.which("perl")):
        pytest.skip("there is no perl")
    program = r'for (0..0x10FFFF) { print "$_\n" if chr =~ /\p{Default_Ignorable_Code_Point}/ }'
    found = subprocess.run(
        [perl, "-e", program], capture_output=True, text=True, check=True, timeout=60
    )
    ignorable = [int(number) for number in found.stdout.split()]
    assert len(ignorable) > 4000
    for number in ignorable:
        refused(f"a{chr(number)}b")


def test_whatever_is_taken_alone_is_of_a_kind_that_shows() -> None:
    for number in range(0x110000):
        try:
            check_name(char := chr(number))
        except InvalidName:
            continue
        assert char.isprintable()
        assert unicodedata.category(char)[0] in "LNPS"


def test_what_an_earlier_version_took_goes_on() -> None:
    """A coordinator of that version was asked for these; a newer one comes back."""
    unit, awaited = "\u3164", "x\ufe0f"
    records: list[tuple[str, AnyFact]] = [
        (unit, Registered(1.0)),
        ("last", Registered(2.0)),
        ("last", Declared(2.0, unit, SUCCESS)),
        ("last", Declared(2.0, awaited, SUCCESS)),
    ]
    store = MemoryStore()
    driver = Driver(store)
    driver.ask(wire.Reset(id="all", all=True))
    store.begin(EpochRecord("theirs", MACHINE, MACHINE, 0.0))
    store.append(store.next_seq, records)
    driver.crash()

    assert isinstance(driver.want(unit, "first"), wire.Ok)
    assert isinstance(driver.want("more", unit, awaited), wire.Ok)
    for request in (
        wire.StatusOf(id="1", unit=unit),
        wire.StatusOf(id="2", unit=awaited),
        wire.Why(id="3", unit=unit),
        wire.Wait(id="4", units=[unit, awaited]),
        wire.Reset(id="5", units=[unit]),
        wire.Unwant(id="6", unit=unit, prerequisites=["first"]),
    ):
        reply = driver.ask(request)
        assert not isinstance(reply, wire.Error), reply
    for name in (unit, awaited):
        assert isinstance(driver.start(name), wire.Granted)
        assert isinstance(driver.complete(name), wire.Ok)
    assert isinstance(driver.start("last"), wire.Granted)
    for name in ("\uffa0", f"{unit}\u3164"):
        reply = driver.want("last", name)
        assert isinstance(reply, wire.Error)
        assert reply.code == "invalid_name"


def test_a_name_is_utf8_whatever_the_locale_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the words of a command go back to where they came from, as they were."""
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    given = os.fsencode("café").decode("ascii", "surrogateescape")
    assert as_utf8(["start", given, "--", given]) == ["start", "café", "--", "café"]
    assert as_utf8(["run", given, "--", given]) == ["run", "café", "--", given]
    assert as_utf8(["run", given]) == ["run", "café"]
