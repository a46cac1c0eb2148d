"""The part of msgpack that the command line needs, written by hand, because importing msgspec
takes longer than everything else together. tests/fuzz/test_msgpack.py compares it with msgspec.

Imports only what the interpreter has already loaded.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_DEFAULTS = {
    **dict.fromkeys(("reason", "nearest", "given_up", "command", "epoch", "startup"), ""),
    **dict.fromkeys(("code", "message", "hint"), ""),
    **dict.fromkeys(("run", "prerequisites_total", "waiting_clients", "more", "exit"), 0),
    **dict.fromkeys(("owner", "given_up_by", "requires", "tree"), None),
    **dict.fromkeys(("owner_gone", "still_runs", "optional"), False),
    **dict.fromkeys(("prerequisites", "history", "because", "units", "groups"), ()),
    **dict.fromkeys(("out", "err", "waiting_for"), ()),
    "next": -1,
    "changed": True,
    "since": 0.0,
    "on_owner_exit": "fail",
    "watched": True,
}


class Plain:
    """A map of a reply, with its fields as attributes. Missing fields have the defaults that
    they have in wire.py."""

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        value = self.fields.get(name, _DEFAULTS.get(name))
        if isinstance(value, dict):
            return Plain(value)
        if isinstance(value, list):
            return [Plain(item) if isinstance(item, dict) else item for item in value]
        return value


def pack(value: object) -> bytes:
    """*value* in msgpack. It may be a str, bool, unsigned 64-bit int, float, list or dict.
    Raises ValueError."""
    if isinstance(value, str):
        data = value.encode()
        size = len(data)
        if size < 32:
            return bytes((0xA0 | size,)) + data
        return b"\xdb" + size.to_bytes(4, "big") + data
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes((value,))
        if 0 <= value < 1 << 64:
            return b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, float):
        import _struct

        return b"\xcb" + _struct.pack(">d", value)
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return b"\xdf" + len(value).to_bytes(4, "big") + items
    raise ValueError(value)


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """The value that begins at *at*, and the offset where it ends. Raises ValueError,
    IndexError, RecursionError, TypeError."""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind < 0x90:
        return _unpack_map(data, at, kind & 15)
    if kind < 0xA0:
        return _unpack_list(data, at, kind & 15)
    if kind < 0xC0:
        return data[at : at + (kind & 31)].decode(), at + (kind & 31)
    if kind >= 0xE0:
        return kind - 256, at
    if kind in (0xC0, 0xC2, 0xC3):
        return (None, None, False, True)[kind - 0xC0], at
    if kind == 0xCB:
        import _struct

        if at + 8 > len(data):
            raise ValueError("cut off")
        return _struct.unpack_from(">d", data, at)[0], at + 8
    if 0xCC <= kind <= 0xD3:
        width = 1 << (kind & 3)
        return int.from_bytes(data[at : at + width], "big", signed=kind >= 0xD0), at + width
    if kind in _SIZED:
        width, read = _SIZED[kind]
        size = int.from_bytes(data[at : at + width], "big")
        return read(data, at + width, size)
    raise ValueError(f"msgpack type {kind:#x}")


def _unpack_str(data: bytes, at: int, size: int) -> tuple[Any, int]:
    if at + size > len(data):
        raise ValueError("cut off")
    return data[at : at + size].decode(), at + size


def _unpack_list(data: bytes, at: int, size: int) -> tuple[Any, int]:
    values = []
    for _ in range(size):
        value, at = unpack(data, at)
        values.append(value)
    return values, at


def _unpack_map(data: bytes, at: int, size: int) -> tuple[Any, int]:
    values = {}
    for _ in range(size):
        key, at = unpack(data, at)
        values[key], at = unpack(data, at)
    return values, at


_SIZED = {
    0xD9: (1, _unpack_str),
    0xDA: (2, _unpack_str),
    0xDB: (4, _unpack_str),
    0xDC: (2, _unpack_list),
    0xDD: (4, _unpack_list),
    0xDE: (2, _unpack_map),
    0xDF: (4, _unpack_map),
}
