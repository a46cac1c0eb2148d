"""Snapshots of the units in a file beside the journal, written by a thread.

The file is only a shortcut. If it is missing, damaged or of another format, it is ignored,
and the journal is replayed from the start of the epoch.
Layout: a magic line, then chunks of <length, crc32, msgpack>. The first one is the header.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
from loguru import logger

from unitsyncd.core import fact_codec
from unitsyncd.core.requirement import Need
from unitsyncd.core.store import SavedRemote, SavedUnit, Snapshot

_MAGIC: Final = b"unitsync snapshot 1\n"
_FRAME: Final = struct.Struct("<II")
_CHUNK_UNITS: Final = 200
"""Units encoded at a time: the thread lets the event loop run in between."""


class _Header(msgspec.Struct, frozen=True):
    epoch: str
    seq: int
    units: int
    before: list[tuple[str, str, Need]] = []
    remote: SavedRemote = SavedRemote()


class Snapshots:
    def __init__(self, path: str) -> None:
        self._path = path
        self._thread: threading.Thread | None = None

    def load(self) -> Snapshot | None:
        """The saved snapshot, None if there is no readable one."""
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except OSError:
            return None
        try:
            if not data.startswith(_MAGIC):
                raise ValueError("it has another format")
            chunks = _chunks(data)
            header = fact_codec.decoder(_Header).decode(next(chunks))
            decode = fact_codec.decoder(list[SavedUnit]).decode
            units = [saved for chunk in chunks for saved in decode(chunk)]
            if len(units) != header.units:
                raise ValueError("it is not complete")
        except (ValueError, StopIteration, msgspec.MsgspecError, struct.error) as exc:
            logger.warning("the snapshot {} is passed over: {}", self._path, exc)
            return None
        return Snapshot(header.epoch, header.seq, units, header.before, header.remote)

    @property
    def busy(self) -> bool:
        """Whether the last one is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write *snapshot*. It replaces the last one when it is complete. Its units
        are removed meanwhile: to free all of them at once would hold up everybody. Must not
        be called while ``busy``."""
        assert not self.busy
        thread = threading.Thread(target=self._write, args=(snapshot,), name="snapshot")
        try:
            thread.start()
        except RuntimeError as exc:  # no more threads for us
            logger.warning("no snapshot could be written: {}", exc)
            return
        self._thread = thread

    def close(self) -> None:
        """Wait until the present write has ended."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        encode = fact_codec.encoder().encode
        units = snapshot.units
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "wb") as file:
                file.write(_MAGIC)
                counted = snapshot.epoch, snapshot.seq, len(units)
                _put(file, encode(_Header(*counted, snapshot.before, snapshot.remote)))
                units.reverse()
                while units:
                    _put(file, encode(units[: -_CHUNK_UNITS - 1 : -1]))
                    del units[-_CHUNK_UNITS:]
            os.replace(temporary, self._path)
        except OSError as exc:
            logger.warning("no snapshot could be written: {}", exc)
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _put(file: BinaryIO, payload: bytes) -> None:
    file.write(_FRAME.pack(len(payload), zlib.crc32(payload)))
    file.write(payload)


def _chunks(data: bytes) -> Iterator[bytes]:
    position = len(_MAGIC)
    while position < len(data):
        length, crc = _FRAME.unpack_from(data, position)
        position += _FRAME.size
        payload = data[position : position + length]
        if zlib.crc32(payload) != crc:
            raise ValueError("it is damaged")
        yield payload
        position += length
