"""What is answered: JSON, made once for all who ask for the same."""

from __future__ import annotations

import gzip
from typing import Final

import msgspec

from unitsync._version import __version__

PACKED_FROM_BYTES: Final = 1024
_PACKED_LEVEL: Final = 5


class Answer(msgspec.Struct, frozen=True):
    body: bytes
    packed: bytes
    """The same as gzip; empty if it is too short for that."""
    tag: str = ""
    """As an ETag, for what does not change; otherwise ""."""


def answer_of(fields: object, tag: str = "") -> Answer:
    body = msgspec.json.encode(fields)
    packed = b""
    if len(body) >= PACKED_FROM_BYTES:
        packed = gzip.compress(body, _PACKED_LEVEL, mtime=0)
    return Answer(body, packed, f'"{__version__}-{tag}"' if tag else "")
