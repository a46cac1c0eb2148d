"""What ``serve --otlp`` starts: ``unitsync trace --follow``, which computes and sends traces."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from subprocess import DEVNULL, STDOUT
from time import monotonic
from typing import Final

import msgspec
from loguru import logger

from unitsync.errors import UsageError
from unitsync.link import collector
from unitsyncd.storage.lines import keep_lines, kept_lines

FILE: Final = "otlp"
"""In the coordinator's folder: the variables of the process that sends traces."""
AGAIN_S: Final = (1.0, 300.0)
"""Until it is started again if it has ended: at first, and at the most."""
END_S: Final = 3.0
"""How long it may take to end."""
LINE_MAX: Final = 4096
_ALSO: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

Variables = Mapping[str, str]


def trace_variables(
    url: str | None, environment: Variables, folder: str, *, by_a_verb: bool
) -> Variables | None:
    """The variables of the process that sends traces; None if none are to be sent. *url* is that of
    ``--otlp``, None without. They are kept, so that a coordinator that a verb starts again sends
    traces too. Raises UsageError; but one that a verb has started goes on without."""
    found: Variables | None = None
    named = environment.get(collector.VARIABLE) or None if url is None else url
    if named is None:
        if by_a_verb:
            return _kept(folder)
    else:
        try:
            collector.check_installed()
            collector.endpoint(url, environment)
        except UsageError as problem:
            if not by_a_verb:
                raise
            logger.error("no traces are sent: {}; {}", problem, problem.hint)
        else:
            passed_on = {name: text for name, text in environment.items() if _is_passed_on(name)}
            found = {**passed_on, collector.VARIABLE: named}
    try:
        keep_lines(
            os.path.join(folder, FILE),
            [] if found is None else [msgspec.json.encode(found).decode()],
        )
    except (OSError, UnicodeError) as problem:
        logger.error("where traces are sent cannot be kept: {}", problem)
    return found


def _is_passed_on(name: str) -> bool:
    return name.startswith("OTEL_") or name.upper() in _ALSO or name in _CERTIFICATES


def _kept(folder: str) -> Variables | None:
    try:
        (kept,) = kept_lines(os.path.join(folder, FILE))
        return msgspec.json.decode(kept, type=dict[str, str])
    except ValueError:
        return None


class TraceSender:
    """Keeps the process that sends traces running, from ``join`` to ``leave``. It ends by itself
    when this process does."""

    def __init__(self, variables: Variables, address: str) -> None:
        self._environment = {**os.environ, **variables}
        self._environment.pop("NOTIFY_SOCKET", None)  # systemd's, for the coordinator
        self._command = [
            *(sys.executable, "-P", "-m", "unitsync"),
            *("--endpoint", address, "trace", "--follow"),
        ]
        self._task: asyncio.Task[None] | None = None

    def join(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._keep_running())

    async def leave(self) -> None:
        """Within END_S."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep_running(self) -> None:
        pause_s = 0.0
        while True:
            began = monotonic()
            try:
                how = f"it ended with exit status {await self._run()}"
            except Exception as problem:
                how = str(problem) or repr(problem)
            pause_s = next_pause(pause_s, monotonic() - began)
            logger.warning("traces: {}; it is started again in {:.0f} s", how, pause_s)
            await asyncio.sleep(pause_s)

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=DEVNULL,
            stdout=asyncio.subprocess.PIPE,  # that it is closed tells of our end, however it comes
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we tell it to end
        )
        assert process.stdout is not None
        try:
            async for line in _lines(process.stdout):
                logger.info("traces: {}", line.decode("utf-8", "replace").rstrip())
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(END_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


def next_pause(pause_s: float, ran_s: float) -> float:
    """Until it is started again if it ran that long; *pause_s* was the one before, 0 if none."""
    least_s, most_s = AGAIN_S
    return least_s if ran_s > most_s else max(least_s, min(2 * pause_s, most_s))


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Of a long one its first LINE_MAX bytes."""
    rest = b""
    while part := await stream.read(LINE_MAX):
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line[:LINE_MAX]
        rest = rest[:LINE_MAX]
    if rest:
        yield rest
