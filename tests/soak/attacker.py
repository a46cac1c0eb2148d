"""One who may talk and means harm: ids of its own, messages without an end, half a
handshake, floods of connections. Ends when it is killed."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from collections.abc import Callable
from typing import Final

from support.zmtp import EMPTY_PART, GREETING, connected, message

PING: Final = b"\x82\xa4verb\xa4ping\xa2id\xa21a"
HELD_MAX: Final = 300
"""Connections that are kept; then all are let go of."""


def of_its_own_id(path: str, rng: random.Random) -> socket.socket:
    name = rng.choice((b"me", b"\x00" + rng.randbytes(4), rng.randbytes(rng.randrange(1, 200))))
    link = connected(path, name)
    link.sendall(message(PING))
    return link


def of_endless_parts(path: str, rng: random.Random) -> socket.socket:
    link = connected(path)
    link.sendall(EMPTY_PART * rng.randrange(3, 50_000) + rng.choice((b"", b"\x00\x00")))
    return link


def of_half_a_handshake(path: str, rng: random.Random) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    link.sendall(GREETING[: rng.randrange(len(GREETING))])
    return link


def of_a_flood(path: str, rng: random.Random) -> socket.socket:
    for _ in range(rng.randrange(200)):
        with socket.socket(socket.AF_UNIX) as link:
            link.setblocking(False)
            link.connect(path)
    return of_half_a_handshake(path, rng)


ATTACKS: Final[tuple[Callable[[str, random.Random], socket.socket], ...]] = (
    of_its_own_id,
    of_endless_parts,
    of_half_a_handshake,
    of_a_flood,
)


def main(path: str, seed: str) -> None:
    rng = random.Random(seed)
    held: list[socket.socket] = []
    while True:
        with contextlib.suppress(OSError, AssertionError):  # it is not there, or hangs up
            held.append(rng.choice(ATTACKS)(path, rng))
        if len(held) >= HELD_MAX or rng.random() < 0.01:
            for link in held:
                link.close()
            held.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
