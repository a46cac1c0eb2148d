"""The bytes on the protocol page, sent to a real coordinator by hand."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

import docpages as pages
from faults.places import a_place
from unitsync import Client, wire


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


def test_a_handshake_may_come_before_the_other_greeting(coordinator: str) -> None:
    """As the page says; so a client need not wait for two answers before it asks."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(coordinator.removeprefix("ipc://"))
        sock.sendall(from_hex("Greeting", "C") + from_hex("Handshake", "C"))
        expected = from_hex("Greeting", "S") + from_hex("Handshake", "S")
        assert read(sock, len(expected)) == expected
        sock.sendall(from_hex("Request", "C"))
        assert read(sock, 2) == b"\x01\x00"


def test_two_requests_at_once_are_both_answered(coordinator: str) -> None:
    """In any order; what tells them apart is the id."""
    request = from_hex("Request", "C")
    assert request.count(b"\xa2id\xa1\x31") == 1
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(coordinator.removeprefix("ipc://"))
        sock.sendall(from_hex("Greeting", "C") + from_hex("Handshake", "C"))
        read(sock, len(from_hex("Greeting", "S") + from_hex("Handshake", "S")))
        sock.sendall(request + request.replace(b"\xa2id\xa1\x31", b"\xa2id\xa1\x32"))
        replies = []
        for _ in range(2):
            head = read(sock, 2 + 9)
            assert head[:3] == b"\x01\x00\x02"
            replies.append(wire.decode_reply(read(sock, int.from_bytes(head[3:], "big"))))
    assert {reply.id for reply in replies} == {"1", "2"}


def test_a_request_before_the_greeting_is_hung_up_on(coordinator: str) -> None:
    """Of the coordinator: libzmq has not made the connection before that. It is not carried out."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(coordinator.removeprefix("ipc://"))
        sock.sendall(b"".join(from_hex(each, "C") for each in ("Greeting", "Handshake", "Request")))
        told = b""
        with suppress(ConnectionResetError):
            while more := sock.recv(4096):
                told += more
    assert (from_hex("Greeting", "S") + from_hex("Handshake", "S")).startswith(told)
    with Client() as client:
        assert client.status("deps").status == "not registered"


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


def test_the_conversation_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as it stands, but for the address, the name of the MessagePack library, and how
    long it waits for an answer; while the coordinator is killed, and stopped."""
    text = pages.read("reference/wire-protocol.md").partition("## A whole conversation")[2]
    program = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "msgpack.py").write_text(
        "import msgspec\npackb = msgspec.msgpack.encode\nunpackb = msgspec.msgpack.decode\n"
    )
    with a_place() as place:
        monkeypatch.setenv("UNITSYNC_ENDPOINT", place.address)
        for as_it_is, here in (
            ('f"/tmp/unitsync-{os.getuid()}"', repr(str(place.home))),
            ("OVERDUE_S = 5", "OVERDUE_S = 1"),
            ('request["patience_s"] = 30 ', 'request["patience_s"] = 1 '),
        ):
            assert as_it_is in program
            program = program.replace(as_it_is, here)
        bin = Path(sys.executable).parent
        script = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PATH": f"{bin}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert script.stdout is not None
            assert script.stdout.readline() == "waiting for ['git-clone']\n"
            place.kill()
            assert script.stdout.readline() == "waiting for ['git-clone']\n"
            with place.client() as client:
                client.stop()
                client.start("git-clone")
                client.complete("git-clone")
                assert script.wait(30) == 0
                assert client.status("deps").status == "completed"
        finally:
            script.kill()
            script.communicate()
