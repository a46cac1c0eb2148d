"""Both clients behind one blocking face, so that one test body runs against both."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from support.coordinators import Coordinator, serving
from unitsync import AsyncClient, Client, wire
from unitsync.testing import throwaway_coordinator

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def shared_coordinator() -> Iterator[str]:
    with throwaway_coordinator() as address:
        yield address


@pytest.fixture
def coordinator(shared_coordinator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As unitsync.testing has it, but all tests of a file find the same one, each without a
    unit."""
    monkeypatch.setenv("UNITSYNC_ENDPOINT", shared_coordinator)
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
    monkeypatch.delenv("UNITSYNC_STARTUP", raising=False)
    yield shared_coordinator
    with Client(startup="") as client:
        client.reset(all=True, force=True)


class Awaited:
    """AsyncClient with the face of Client: each call runs a loop until it is done."""

    def __init__(self, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(**options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not asyncio.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self._runner.run(value(*args, **kwargs))

    @contextmanager
    def unit(self, name: str, **options: Any) -> Iterator[wire.Granted]:
        block = self._client.unit(name, **options)
        granted = self._runner.run(block.__aenter__())
        try:
            yield granted
        except BaseException as exc:
            self._runner.run(block.__aexit__(type(exc), exc, None))
            raise
        self._runner.run(block.__aexit__(None, None, None))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


AnyClient: TypeAlias = Any
"""Client or Awaited, which have the same methods."""
OpenClient: TypeAlias = Callable[..., AnyClient]


@pytest.fixture(params=[Client, Awaited], ids=["blocking", "asyncio"])
def open_client(request: pytest.FixtureRequest) -> Iterator[OpenClient]:
    opened: list[AnyClient] = []

    def open_one(**options: Any) -> AnyClient:
        opened.append(request.param(**options))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def client(coordinator: str, open_client: OpenClient) -> AnyClient:
    return open_client()


@pytest.fixture
def other(coordinator: str) -> Iterator[Client]:
    """A second client, of another owner."""
    with Client(owner=wire.Owner(pid=1, start=1, command="other", watched=False)) as opened:
        yield opened


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future[Any]]]:
    """Runs a call in a thread; its result or exception is in the future."""
    with ThreadPoolExecutor() as pool:
        yield lambda call, *args, **kwargs: pool.submit(partial(call, *args, **kwargs))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for a socket, 0755."""
    with tempfile.TemporaryDirectory(prefix="us-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def mortal(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coordinator]:
    """A coordinator, running, in an environment that starts no other one."""
    mortal = Coordinator(short_path / "c")
    monkeypatch.setenv("UNITSYNC_ENDPOINT", mortal.address)
    monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
    monkeypatch.delenv("UNITSYNC_STARTUP", raising=False)
    mortal.start()
    yield mortal
    mortal.kill()


@pytest.fixture
def nobody_there(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an endpoint without a coordinator, where one may be started; it is
    ended after the test."""
    address = f"ipc://{short_path}/c/coordinator.sock"
    monkeypatch.setenv("UNITSYNC_ENDPOINT", address)
    monkeypatch.delenv("UNITSYNC_AUTOSTART", raising=False)
    monkeypatch.delenv("UNITSYNC_STARTUP", raising=False)
    yield address
    for pid in serving(address):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def send_sigint() -> Callable[[subprocess.Popen[str], int], None]:
    """Interrupts a process once it has printed so many lines."""

    def send(process: subprocess.Popen[str], lines: int) -> None:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)

    return send
