"""Facts and saved units as bytes: msgpack of their structs, and a number for each Need."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from unitsync.wire import Requirement
from unitsyncd.core.requirement import Need, need_of

_SUCCESS: Final = Requirement.SUCCESS
_COMPLETION: Final = Requirement.COMPLETION
_START: Final = Requirement.START
NUMBERS: Final = {
    need_of(_SUCCESS, optional=False): 0,
    need_of(_COMPLETION, optional=False): 1,
    need_of(_START, optional=False): 2,
    need_of(_SUCCESS, optional=True): 3,
    need_of(_COMPLETION, optional=True): 4,
    need_of(_START, optional=True): 5,
    need_of(_SUCCESS, optional=False, of_start=True): 6,
    need_of(_COMPLETION, optional=False, of_start=True): 7,
    need_of(_START, optional=False, of_start=True): 8,
    need_of(_SUCCESS, optional=True, of_start=True): 9,
    need_of(_COMPLETION, optional=True, of_start=True): 10,
    need_of(_START, optional=True, of_start=True): 11,
}
"""Never change a number: existing journals contain it."""
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
