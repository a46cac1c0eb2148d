"""ZMTP by hand, for what no socket of libzmq would say."""

from __future__ import annotations

import socket
from pathlib import Path

from support.daemon import PATIENCE_S

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
EMPTY_PART = b"\x01\x00"
"""One that more follow."""


def ready(identity: bytes = b"") -> bytes:
    """The READY command of a REQ socket that calls itself *identity*."""
    body = b"\x05READY"
    for name, value in ((b"Socket-Type", b"REQ"), (b"Identity", identity)):
        body += bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
    return b"\x04" + bytes((len(body),)) + body


def message(frame: bytes) -> bytes:
    return EMPTY_PART + b"\x02" + len(frame).to_bytes(8, "big") + frame


def connected(path: Path | str, identity: bytes = b"") -> socket.socket:
    """A connection with its handshake behind it."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(PATIENCE_S)
    link.connect(str(path))
    link.sendall(GREETING + ready(identity))
    got = b""
    while len(got) <= 65 or len(got) < 66 + got[65]:
        more = link.recv(4096)
        assert more, "it has hung up"
        got += more
    return link
