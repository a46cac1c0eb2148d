"""Facts and saved units as bytes: msgpack of their structs, and a number for each Need."""

from __future__ import annotations

import itertools
from typing import Any, Final, TypeVar

import msgspec

from unitsync.wire import Requirement
from unitsyncd.core.requirement import By, Need, need_of

NUMBERS: Final = {
    need_of(requirement, optional, of_start=of_start, by=by): number
    for number, (by, of_start, optional, requirement) in enumerate(
        itertools.product(
            (By.NAME, By.PATTERN, By.OWN_PATTERN, By.MATCH, By.BEFORE),
            (False, True),
            (False, True),
            (Requirement.SUCCESS, Requirement.COMPLETION, Requirement.START),
        )
    )
}
"""Never change a number: existing journals contain it. The earlier ones are those of names."""
_NEEDS: Final = {number: need for need, number in NUMBERS.items()}

T = TypeVar("T")


def encoder() -> msgspec.msgpack.Encoder:
    return msgspec.msgpack.Encoder(enc_hook=NUMBERS.__getitem__)


def decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_need)


def _need(kind: type, number: Any) -> Need:
    try:
        return _NEEDS[number]
    except KeyError:
        raise ValueError(f"{number!r} is no requirement") from None
