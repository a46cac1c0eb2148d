"""Asks for metrics over a plain socket, and reads them with the official client's parser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from support.daemon import PATIENCE_S

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answer(NamedTuple):
    status: str
    headers: dict[str, str]
    body: str


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    kind, _, place = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(place)
    else:
        sock = socket.create_connection((kind, int(place)), timeout=PATIENCE_S)
    with sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def ask(address: str, request: bytes = GET) -> Answer:
    with connected(address) as sock:
        sock.sendall(request)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = {name: value.strip() for name, _, value in (field.partition(":") for field in fields)}
    assert int(headers["Content-Length"]) == len(body)
    return Answer(first.removeprefix("HTTP/1.1 "), headers, body.decode())


def values(text: str) -> dict[str, float]:
    """By name and labels: ``unitsync_units{state="failed"}``."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type != "unknown", family.name
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found
            found[key] = sample.value
    return found


def scrape(address: str) -> dict[str, float]:
    answer = ask(address)
    assert answer.status == "200 OK", answer
    return values(answer.body)
