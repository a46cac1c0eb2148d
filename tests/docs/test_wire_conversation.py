"""The conversation on the protocol page, message by message, with a real coordinator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
import zmq

import docpages as pages
from faults.places import Place, a_place
from unitsync.clients import owner


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in [name for name in os.environ if name.startswith("UNITSYNC_")]:
        monkeypatch.delenv(name)
    with a_place() as place:
        yield place


def lines() -> list[tuple[str, str]]:
    page = pages.read("reference/wire-protocol.md")
    text = page.partition("These are the messages that such a client sends")[2]
    block = text.partition("```text\n")[2].partition("```")[0]
    return [(line[0], line[2:]) for line in block.splitlines()]


def without_what_differs(shown: Any, heard: Any) -> Any:
    """*heard* without the fields that *shown* does not have."""
    if isinstance(shown, dict):
        return {key: without_what_differs(shown[key], heard.get(key)) for key in shown}
    if isinstance(shown, list):
        return [without_what_differs(*pair) for pair in zip(shown, heard, strict=True)]
    return heard


def test_the_conversation_message_by_message(place: Place) -> None:
    place.start()
    ourselves = owner.this_process()
    epoch = ""
    sender: Any = None
    told = 0
    with zmq.Context() as context:

        def connected() -> zmq.Socket[bytes]:
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, 20_000)
            socket.connect(place.address)
            return socket

        socket = connected()
        for who, what in lines():
            if who == "C":
                request = json.loads(what.replace("OWNER", json.dumps(sender)))
                sender = request["owner"]
                request["owner"] = sender | {
                    "pid": ourselves.pid,
                    "start": ourselves.start,
                    "ns": ourselves.ns,
                }
                if "epoch" in request:
                    request["epoch"] = epoch
                socket.send_multipart((b"", msgspec.msgpack.encode(request)))
            elif who == "S":
                reply = msgspec.msgpack.decode(socket.recv_multipart()[1])
                shown = json.loads(what.replace("EPOCH", epoch := reply["epoch"]))
                assert without_what_differs(shown, reply) == shown
                told += 1
            elif "is killed" in what:
                socket.close()
                place.kill()
                place.start()
                socket = connected()
            elif "unitsync stop" in what:
                until_it_waits(place)
                place.stop()
            elif "starts it again" in what:
                socket.close()
                place.start()
                socket = connected()
            elif "git-clone completes" in what:
                until_it_waits(place)
                with place.client() as client:
                    client.start("git-clone")
                    client.complete("git-clone")
        assert told == 5
        socket.close()
    with closing(place.client()) as client:
        info = client.status("deps")
        assert (info.status, info.owner and info.owner.pid) == ("completed", os.getpid())


def until_it_waits(place: Place) -> None:
    with place.client() as client:
        while client.status("deps").waiting_clients != 1:
            pass
