"""What keeps the process that sends traces running, with one that says and does something else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from loguru import logger

from support.daemon import PATIENCE_S
from unitsyncd import traces
from unitsyncd.traces import LINE_MAX, TraceSender, next_pause


def test_a_long_line_is_cut_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "says"
    program.write_text(f"#!/bin/sh\nhead -c {200_000} /dev/zero | tr '\\0' x; echo; printf end\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    async def logged() -> list[str]:
        lines: asyncio.Queue[str] = asyncio.Queue()
        sink = logger.add(lambda line: lines.put_nowait(line.rstrip("\n")), format="{message}")
        sender = TraceSender({}, "ipc:///nowhere")
        sender.join(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(PATIENCE_S):
                return [await lines.get() for _ in range(3)]
        finally:
            await sender.leave()
            logger.remove(sink)

    assert asyncio.run(logged()) == [
        f"traces: {'x' * LINE_MAX}",
        "traces: end",
        "traces: it ended with exit status 0; it is started again in 1 s",
    ]


def test_pauses_grow_until_it_has_run_for_long() -> None:
    least_s, most_s = traces.AGAIN_S
    pause_s, found = 0.0, []
    for ran_s in (0, 1, 1, most_s + 1, 1, 1):
        pause_s = next_pause(pause_s, ran_s)
        found.append(pause_s)
    assert found == [least_s, 2 * least_s, 4 * least_s, least_s, 2 * least_s, 4 * least_s]
    assert next_pause(most_s, 1) == most_s
