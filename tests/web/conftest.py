"""``unitsync web`` as a process, and browsers that ask it."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

from support.coordinators import PATIENCE_S, Coordinator, clean_environment

COMMAND: Final = str(Path(sys.executable).with_name("unitsync"))


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


class Event(NamedTuple):
    kind: str
    id: str
    data: str


class Events:
    """A stream of events, as a browser reads it."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        assert connection.sock is not None
        self.sock = connection.sock
        self.response = connection.getresponse()

    def next(self) -> Event:
        """Raises TimeoutError, and EOFError at the end."""
        found: dict[str, str] = {}
        while line := self.response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if not name and "data" in found:
                return Event(found["event"], found["id"], found["data"])
            found[name] = value
        raise EOFError

    def until(self, kind: str) -> Event:
        while (event := self.next()).kind != kind:
            pass
        return event


class Web:
    """A server that has begun. ``link`` is what it printed."""

    command: ClassVar[Sequence[str]] = (COMMAND,)

    def __init__(self, address: str, *flags: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [*self.command, "web", "--endpoint", address, *flags],
            env=clean_environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().rstrip("\n")
        assert self.link, self.process.communicate(timeout=PATIENCE_S)[1]
        self.url = urlsplit(self.link.rpartition(" ")[2])
        self.socket = self.link[5:].partition(" ")[0] if self.link.startswith("unix:") else ""
        self.token = self.url.query.removeprefix("token=")
        self.cookie = f"unitsync-web-{self.url.port or 'socket'}"

    def connection(self) -> http.client.HTTPConnection:
        name = self.url.hostname or ""
        connection = http.client.HTTPConnection(name, self.url.port, timeout=PATIENCE_S)
        if self.socket:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE_S)
            connection.sock.connect(self.socket)
        else:
            connection.connect()
        return connection

    def ask(self, path: str = "", method: str = "GET", **headers: str) -> Answer:
        """As the page asks, with its cookie. *path* is beside that of the page. A header that is
        empty is left out."""
        connection = self.connection()
        try:
            connection.request(method, self.url.path + path, headers=self._sent(headers))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.headers["Content-Encoding"] == "gzip" and body:
            body = gzip.decompress(body)
        return Answer(response.status, response.headers, body)

    def json(self, path: str, **query: str) -> Any:
        answer = self.ask(f"{path}?{urlencode(query)}")
        assert answer.status == 200, answer.body
        return answer.json

    @contextmanager
    def events(self, last: str = "") -> Iterator[Events]:
        connection = self.connection()
        try:
            headers = self._sent({"Last-Event-ID": last})
            connection.request("GET", f"{self.url.path}changes", headers=headers)
            events = Events(connection)
            with events.response as response:
                assert response.status == 200, response.read()
                assert response.headers["Content-Type"].startswith("text/event-stream")
                yield events
        finally:
            connection.close()

    def _sent(self, headers: Mapping[str, str]) -> dict[str, str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Cookie": f"a=b; {self.cookie}={self.token}", **given}
        return {name: value for name, value in given.items() if value}

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status, and what it has said on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            _, err = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, err


@contextmanager
def serving(address: str, *flags: str, **variables: str) -> Iterator[Web]:
    """It has to end well, and to say nothing on stderr."""
    if "--listen" not in flags and "UNITSYNC_WEB" not in variables:
        flags = ("--listen", "127.0.0.1:0", *flags)
    web = Web(address, *flags, **variables)
    try:
        yield web
    finally:
        ended = web.end()
    assert ended == (0, "")


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """One that serves."""
    with tempfile.TemporaryDirectory(prefix="us-", dir="/tmp") as folder:
        coordinator = Coordinator(Path(folder))
        coordinator.start()
        try:
            yield coordinator
        finally:
            coordinator.kill()
