"""The bytes on the protocol page, sent to a real coordinator by hand."""

from __future__ import annotations

import re
import socket

import pytest
import zmq

import docpages as pages
from unitsync import wire


def lines(heading: str, side: str) -> list[str]:
    """The bytes of *side* (C or S) in the example below *heading*, one string a line."""
    text = pages.read("reference/wire-protocol.md").partition("## Bytes by hand")[2]
    part = text.partition(f"**{heading}")[2].partition("```text\n")[2].partition("```")[0]
    return [line[1:].strip() for line in part.splitlines() if line.startswith(f"{side} ")]


def from_hex(heading: str, side: str) -> bytes:
    return bytes.fromhex(" ".join(lines(heading, side)))


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, f"the coordinator hung up after {data.hex(' ')}"
        data += more
    return data


def test_bytes_by_hand(coordinator: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(coordinator.removeprefix("ipc://"))

        sock.sendall(from_hex("Greeting", "C"))
        assert read(sock, 64) == from_hex("Greeting", "S")

        sock.sendall(from_hex("Handshake", "C"))
        expected = from_hex("Handshake", "S")
        assert read(sock, len(expected)) == expected

        sock.sendall(from_hex("Request", "C"))
        shown = " ".join(lines("Reply", "S")).split()
        head = read(sock, 2 + 9)
        reply = read(sock, int.from_bytes(head[3:], "big"))
        wanted = re.sub(r"\s*\.\.\s*", ".*", " ".join(shown))
        assert re.fullmatch(wanted, (head + reply).hex(" "))

    error = wire.decode_reply(reply)
    assert isinstance(error, wire.Error)
    assert (error.code, error.exit) == ("not_ready", 75)
    assert error.details == {"unit": "deps", "waiting_for": ["git-clone"]}


def test_the_same_bytes_through_a_plain_req_socket(coordinator: str) -> None:
    frames = from_hex("Request", "C")
    assert frames[:3] == b"\x01\x00\x00"
    message = frames[4:]
    assert len(message) == frames[3]
    with zmq.Context() as context, context.socket(zmq.REQ) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, 10_000)
        sock.connect(coordinator)
        sock.send(message)
        reply = wire.decode_reply(sock.recv())
    assert isinstance(reply, wire.Error)
    assert reply.code == "not_ready"


def test_the_conversation_on_the_page(coordinator: str, tmp_path: pytest.TempPathFactory) -> None:
    """Run as it stands, but for the address and the name of the MessagePack library."""
    import threading

    import msgspec

    from unitsync import Client

    text = pages.read("reference/wire-protocol.md").partition("## A whole conversation")[2]
    program = text.partition("```python\n")[2].partition("```")[0]
    address = 'f"ipc:///tmp/unitsync-{os.getuid()}/coordinator.sock"'
    assert address in program
    program = program.replace(address, repr(coordinator))
    program = program.replace("import msgpack  # any MessagePack library\n", "")
    program = program.replace("zmq.Context.instance()", "context")

    class msgpack:
        packb = staticmethod(msgspec.msgpack.encode)
        unpackb = staticmethod(msgspec.msgpack.decode)

    heard: list[tuple[object, ...]] = []
    waiting = threading.Event()

    def hear(*words: object) -> None:
        heard.append(words)
        waiting.set()

    with zmq.Context() as context, Client() as sync:
        names = {"msgpack": msgpack, "context": context, "print": hear}
        script = threading.Thread(target=exec, args=(program, names))
        script.start()
        assert waiting.wait(20)
        sync.start("git-clone")
        sync.complete("git-clone")
        script.join(20)
        assert not script.is_alive()
        names["sock"].close(0)  # type: ignore[attr-defined]
        assert heard[0] == ("waiting for", ["git-clone"])
        assert sync.status("deps").status == "completed"
