"""Clients in several threads, and the threads of libzmq.

These must get no signal that is meant for the process. They block all signals, but each
only once it has begun to run. Until then, on a busy machine for many milliseconds, a
SIGCHLD could go to one of them and be lost, and ``run`` would wait for ever for the end
of a command that had ended.
"""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import zmq

from unitsync.clients import dealer as link
from unitsync.link import endpoint

IN_USE = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def blocked(task: Path) -> set[int]:
    """The signals that a thread of this process does not take: all, if it has ended."""
    try:
        lines = (task / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return set(signal.valid_signals())
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def test_no_thread_takes_a_signal_from_the_first_moment_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = endpoint.resolve("ipc:///nonexistent/s")
    tasks = Path("/proc/self/task")
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for _ in range(30):
        monkeypatch.setattr(link, "_context", None)
        before = set(tasks.iterdir())
        opened = link.Link(place)
        new = set(tasks.iterdir()) - before
        masks = [blocked(task) for task in new]
        context: zmq.Context[zmq.Socket[bytes]] | None = link._context
        opened.close()
        assert context is not None
        context.term()
        assert len(new) >= 2
        assert all(mask >= IN_USE for mask in masks), masks
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mine


def test_many_threads_open_links_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share one context, and none takes the name of another's."""
    place = endpoint.resolve("ipc:///nonexistent/s")
    threads = 8
    together = Barrier(threads)

    def opened(_: int) -> list[tuple[link.Link, zmq.Context[zmq.Socket[bytes]]]]:
        together.wait()
        links = [link.Link(place) for _ in range(5)]
        return [(each, each.dealer.context) for each in links]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(20):
                monkeypatch.setattr(link, "_context", None)
                found = [pair for pairs in pool.map(opened, range(threads)) for pair in pairs]
                for each, _ in found:
                    each.close()
                contexts = {id(context): context for _, context in found}
                for context in contexts.values():
                    context.term()
                assert len(contexts) == 1
    finally:
        sys.setswitchinterval(interval)
