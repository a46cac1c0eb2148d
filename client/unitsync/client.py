"""The blocking client."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from types import TracebackType

import zmq

from unitsync import autostart, errors, session, wire
from unitsync import endpoint as endpoints
from unitsync.absent import Absent
from unitsync.client_base import ClientBase, ListPages, Names, Units, WhyPages
from unitsync.conversation import withdrawal
from unitsync.link import Link
from unitsync.session import LinkLost
from unitsync.wakeup import Wakeup


class Client(ClientBase):
    """Talks to the coordinator. Each method is a verb and returns when it is done.

    - ``endpoint``: where the coordinator is; None for the default.
    - ``autostart``: whether changing verbs, wait and ping start a coordinator if
      there is none; None leaves it to UNITSYNC_AUTOSTART.
    - ``startup``: the startup that the caller belongs to; None for UNITSYNC_STARTUP.
    - ``owner``: the process that runs belong to; None for this one.
    - ``on_waiting`` is called in a waiting verb, at once and then every 30 s, with what
      it waits for.

    Only one thread at a time may use a client; a second one gets a UsageError. After a
    fork, the child's first call opens a connection of its own.

    Every method raises the errors of unitsync.errors, Unavailable among them.
    """

    def _prepare(self) -> None:
        self._link: Link | None = None
        self._lock = threading.RLock()

    def want(
        self, unit: str, *prerequisites: str, requires: str = "success", optional: bool = False
    ) -> None:
        """Register *unit* and make it wait for *prerequisites*. Adds all of them or none.

        Raises CycleError, ContradictionError, InvalidName.
        """
        request = self.requests.want(unit, prerequisites, requires=requires, optional=optional)
        session.expect(self.call(request), wire.Ok)

    def declare(
        self,
        units: Mapping[str, Iterable[str]],
        *,
        requires: str = "success",
        optional: bool = False,
    ) -> None:
        """Register all *units* and make each wait for its prerequisites. It is one request:
        everything is added or nothing. Many times faster than ``want`` for each unit.

        Raises what ``want`` raises, and LimitReached for more than 200,000 names.
        """
        request = self.requests.declare(units, requires=requires, optional=optional)
        session.expect(self.call(request), wire.Ok)

    def unwant(self, unit: str, *prerequisites: str) -> None:
        """Stop *unit* from waiting for *prerequisites*."""
        session.expect(self.call(self.requests.unwant(unit, prerequisites)), wire.Ok)

    def start(
        self,
        unit: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = 300.0,
        wait: bool = True,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> wire.Granted:
        """Wait until the prerequisites of *unit* are met and mark it started.

        Raises Skipped if a prerequisite failed; with *on_skip* ``"wait"`` it waits instead
        until that prerequisite has succeeded. Raises TimedOut after *timeout_s* seconds
        (None: never), NotReady with ``wait=False``, AlreadyStarted, EndedMeanwhile.
        """
        request = self.requests.start(
            unit,
            after=after,
            requires=requires,
            optional=optional,
            wait=wait,
            on_owner_exit=on_owner_exit,
            on_skip=on_skip,
        )
        return session.expect(self.call(request, timeout_s=timeout_s), wire.Granted)

    def complete(self, unit: str, *, exit_code: int = 0, even_so: bool = False) -> wire.Ok:
        """End the run of *unit*: completed, or failed if *exit_code* is not 0.

        Raises UnknownUnit.
        """
        request = self.requests.complete(unit, exit_code=exit_code, even_so=even_so)
        return session.expect(self.call(request), wire.Ok)

    def fail(self, unit: str, reason: str | None = "") -> wire.Ok:
        """End the run of *unit* as failed. Raises UnknownUnit."""
        return session.expect(self.call(self.requests.fail(unit, reason)), wire.Ok)

    def wait(
        self,
        *units: str,
        requires: str = "success",
        any: bool = False,
        timeout_s: float | None = 300.0,
    ) -> Names:
        """Wait until all *units* (or ``any`` of them) meet the requirement. Returns the
        names of those that do. Registers nothing.

        Raises Skipped once they can no longer meet it, and TimedOut.
        """
        request = self.requests.wait(units, requires=requires, any=any)
        return session.expect(self.call(request, timeout_s=timeout_s), wire.Ok).units

    def status(self, unit: str) -> wire.UnitInfo:
        """What is known of *unit*. A name that nobody registered has the status
        ``not registered``."""
        return session.expect(self.call(self.requests.status(unit)), wire.StatusReply).unit

    def list(self) -> Units:
        """Every unit, in the order in which they were first mentioned."""
        pages: ListPages = []
        while (request := self.requests.list_after(pages)) is not None:
            pages.append(session.expect(self.call(request), wire.ListReply))
        return [unit for page in pages for unit in page.units]

    def why(self, unit: str = "") -> wire.WhyReply:
        """What *unit* is waiting for; without a name, what everything that is stuck is
        waiting for."""
        pages: WhyPages = []
        while (request := self.requests.why_after(pages, unit)) is not None:
            pages.append(session.expect(self.call(request), wire.WhyReply))
        return session.merged(pages)

    def ping(self) -> wire.Pong:
        return session.expect(self.call(self.requests.ping()), wire.Pong)

    def reset(self, *units: str, all: bool = False, force: bool = False) -> None:
        """Make *units* (or ``all``) pending again, as if they had never run. A started unit
        needs *force*."""
        request = self.requests.reset(units, all=all, force=force)
        session.expect(self.call(request), wire.Ok)

    def stop(self) -> None:
        """End the coordinator and return when it is gone. Raises Unreachable if it takes
        more than ten seconds to end."""
        reply = session.expect(self.call(self.requests.stop()), wire.Ok)
        if self._link is not None and reply.changed:
            try:
                self._receive(self._link, "gone", monotonic() + session.STOP_PATIENCE_S)
            except LinkLost as lost:
                self._drop()
                if lost.overdue:
                    raise session.not_ended(self._endpoint.address) from None

    def unit(
        self,
        name: str,
        *,
        after: Iterable[str] = (),
        requires: str = "success",
        optional: bool = False,
        timeout_s: float | None = 300.0,
        on_owner_exit: str = "fail",
        on_skip: str = "exit",
    ) -> UnitBlock:
        """A ``with`` block that is the run of a unit. Entering it starts the unit, leaving
        it completes the unit, and an exception fails it, with its text as the reason.

        KeyboardInterrupt fails the unit; SystemExit ends it with that exit status. The
        exception always propagates. Entering raises what ``start`` raises.
        """
        request = self.requests.start(
            name,
            after=after,
            requires=requires,
            optional=optional,
            on_owner_exit=on_owner_exit,
            on_skip=on_skip,
        )
        return UnitBlock(self, request, timeout_s)

    # --- the conversation -------------------------------------------------------------

    def call(self, request: wire.AnyRequest, *, timeout_s: float | None = None) -> wire.AnyReply:
        """The final reply to *request*. If it is an Error, it is returned, not raised.

        *timeout_s* bounds Start and Wait. Raises the errors that the client itself finds:
        UsageError, Unreachable, TimedOut, NotPermitted, ProtocolError. A Start that is
        interrupted or gets no answer is withdrawn first.
        """
        if not self._lock.acquire(blocking=False):
            raise errors.UsageError(
                "this Client is in use by another thread", hint="give each thread its own Client"
            )
        try:
            return self._converse(request, timeout_s)
        except BaseException as exc:
            if isinstance(request, wire.Start) and session.may_be_granted_later(exc):
                self._withdraw(request, exc)
            raise
        finally:
            self._lock.release()

    def _converse(self, request: wire.AnyRequest, timeout_s: float | None) -> wire.AnyReply:
        talk = session.Conversation(request, self._endpoint.address)
        step = talk.begin(monotonic(), timeout_s)
        when = request.may.autostart
        while not isinstance(step, session.Done):
            if step.notice is not None and self._on_waiting is not None:
                self._on_waiting(step.notice)
            if isinstance(step, session.Pause):
                self._drop()
                sleep(step.delay_s)
                step = talk.resume(monotonic())
                continue
            answer: session.Answer
            try:
                link = self._open(when, told=talk.told, by=step.reach_by)
                link.send(step.frame)
                answer = self._receive(link, talk.id, step.reply_by(monotonic()))
            except LinkLost as lost:
                if not lost.overdue:
                    self._drop(lost=True)
                answer = lost
            except (Absent, errors.Stopped) as problem:
                answer = problem
            step = talk.next(answer, monotonic())
        return step.reply

    def _receive(self, link: Link, id: str, reply_by: float) -> wire.AnyReply:
        """Raises LinkLost."""
        poller = zmq.Poller()
        poller.register(link.dealer, zmq.POLLIN)
        poller.register(link.monitor, zmq.POLLIN)
        with Wakeup() as wakeup:
            if wakeup.fd >= 0:
                poller.register(wakeup.fd, zmq.POLLIN)
            while True:
                while (reply := link.receive()) is not None:
                    if reply.id in (id, ""):
                        return reply
                while event := link.event():
                    if event == zmq.EVENT_DISCONNECTED or not endpoints.is_there(self._endpoint):
                        raise LinkLost
                left = reply_by - monotonic()
                if left <= 0:
                    raise LinkLost(overdue=True)
                if wakeup.fd in dict(poller.poll(int(left * 1000) + 1)):
                    wakeup.drain()

    def _open(self, when: str, *, told: bool, by: float) -> Link:
        if self._link is not None and self._link.pid != os.getpid():
            self._link = None
        if self._link is None:
            allowed = self._autostart
            autostart.ensure(self._endpoint, when=when, autostart=allowed, told=told, by=by)
            self._link = Link(self._endpoint)
        return self._link

    def _drop(self, *, lost: bool = False) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(lost=lost)

    def _withdraw(self, start: wire.Start, why: BaseException) -> None:
        """Take *start* back, if the coordinator can still be told."""
        link = self._link
        if link is None:
            return
        reason, patience_s = withdrawal(why)
        request = self.requests.withdraw(start, reason)
        try:
            link.send(session.encode(request))
            self._receive(link, request.id, monotonic() + patience_s)
        except (LinkLost, errors.UnitsyncError):
            pass

    def close(self) -> None:
        """Close the connection. A later call opens another."""
        self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class UnitBlock:
    """See ``Client.unit``."""

    def __init__(self, client: Client, request: wire.Start, timeout_s: float | None) -> None:
        self._client = client
        self._request = request
        self._timeout_s = timeout_s
        self._granted: wire.Granted | None = None

    def __enter__(self) -> wire.Granted:
        reply = self._client.call(self._request, timeout_s=self._timeout_s)
        self._granted = session.expect(reply, wire.Granted)
        return self._granted

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._granted is not None
        request = self._client.requests.leave(self._request.unit, exc, self._granted)
        try:
            session.expect(self._client.call(request), wire.Ok)
        except errors.UnitsyncError as problem:
            if exc is None:
                raise
            exc.add_note(session.untold(self._request.unit, problem))
