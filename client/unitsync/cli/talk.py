"""From a verb to its reply and from the reply to lines and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from unitsync import errors, express, surroundings, wire
from unitsync.cli.options import in_shim
from unitsync.printing import safe, silence, write_lines

if TYPE_CHECKING:
    from unitsync.client import Client
    from unitsync.requests import Requests


def open_client(
    endpoint: str | None,
    *,
    owner: wire.Owner | None = None,
    autostart: bool | None = None,
    render: wire.Render | None = None,
) -> Client:
    """A client for one verb. Replies carry the text to print unless *render* says
    otherwise, and notices of waiting go to stderr at once."""
    from unitsync.client import Client

    if render is None:
        render = wire.Render.CODER if in_shim() else wire.Render.TEXT
    return Client(
        endpoint,
        autostart=autostart,
        startup=_startup(),
        owner=owner,
        on_waiting=_notice,
        render=render,
    )


def perform(
    endpoint: str | None,
    build: Callable[[Requests], wire.AnyRequest],
    *,
    timeout_s: float | None = None,
    owner_pid: int | None = None,
) -> wire.AnyReply:
    """The final reply to the request that *build* makes, sent for the calling script or
    for the process *owner_pid*."""
    from unitsync import owner

    who = owner.calling_script() if owner_pid is None else owner.of_pid(owner_pid)
    with open_client(endpoint, owner=who) as client:
        return converse(client, build(client.requests), timeout_s=timeout_s)


def converse(
    client: Client, request: wire.AnyRequest, *, timeout_s: float | None = None
) -> wire.AnyReply:
    """``client.call``, and a signal that ends this process withdraws a waiting start
    first, as Ctrl-C does."""
    with _EndingSignals():
        return carry_on(client, request, timeout_s=timeout_s)


def carry_on(
    client: Client, request: wire.AnyRequest, *, timeout_s: float | None = None
) -> wire.AnyReply:
    """``client.call`` with *request* as the express path began it in this process, if it
    did: its id, what it was told, and the time that it has taken so far."""
    begun, express.resumed = express.resumed, None
    if begun is None:
        return client.call(request, timeout_s=timeout_s)
    sent = begun["request"]
    known = {"id": sent["id"], "epoch": sent.get("epoch", request.epoch)}
    if isinstance(request, wire.Start):
        known["since_run"] = sent.get("since_run", -1)
    if isinstance(request, wire.Start | wire.Wait):
        known["waited_s"] = monotonic() - begun["began"]
    request = replace(request, **known)
    return client.call(request, timeout_s=timeout_s, overdue=begun["overdue"])


def finish(reply: wire.AnyReply) -> int:
    """Print what *reply* brings and return its exit status. Raises what print_out raises.

    The status of what was done stays what it is, whatever stdout takes: a start that was
    granted is granted.
    """
    if isinstance(reply, wire.Error) and not reply.err:
        return report(errors.from_code(reply.code, reply.message, reply.hint, reply.details))
    print_err(map(safe, reply.err))
    try:
        print_out(map(safe, reply.out))
    except errors.UnitsyncError as problem:
        if not isinstance(reply, wire.Granted | wire.Ok) or getattr(reply, "units", None):
            raise
        print_err([f"warning: {problem}"])
    return reply.exit


def report(problem: errors.UnitsyncError) -> int:
    """Print *problem* as every error is printed and return its exit status."""
    lines = [f"error: {problem.message}"]
    if problem.hint:
        lines.append(f"hint: {problem.hint}")
    print_err(map(safe, lines))
    return problem.exit_status


def print_out(lines: Iterable[str]) -> None:
    """Raises UnitsyncError if stdout takes no more, as on a full disk; a reader that
    went away is no error."""
    try:
        write_lines(sys.stdout, lines)
    except BrokenPipeError:
        silence(1)
    except OSError as exc:
        silence(1)
        raise errors.UnitsyncError(
            f"cannot write to stdout: {(exc.strerror or str(exc)).lower()}"
        ) from None


def print_err(lines: Iterable[str]) -> None:
    """Never raises: there is nobody left to tell."""
    try:
        write_lines(sys.stderr, lines)
    except OSError:
        silence(2)


def _notice(reply: wire.Waiting) -> None:
    """Never raises: a wait goes on, whoever is told of it."""
    print_err(map(safe, reply.err))
    try:
        print_out(map(safe, reply.out))
    except errors.UnitsyncError:
        pass


def _startup() -> str | None:
    """The startup that this verb belongs to, None for what the environment says."""
    if in_shim() and not os.environ.get("UNITSYNC_STARTUP"):
        return surroundings.coder_startup() or None
    return None


class _EndingSignals:
    """While it lasts, SIGTERM and SIGHUP raise SystemExit(128 + number), unless this
    process was told to ignore them."""

    def __enter__(self) -> None:
        self._before = {
            number: signal.signal(number, _raise)
            for number in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is signal.SIG_DFL
        }

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
