"""One DEALER socket to the coordinator, used by both clients.

Nothing here blocks. A link lasts for one connection: when that is lost, the client closes
the link and opens another. Only the process that opened the socket ever uses it.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
import warnings
import weakref
from typing import Final

import zmq

from unitsync import errors, wire
from unitsync.clients.base import LinkLost
from unitsync.link.endpoint import Endpoint

_LINGER_MS: Final = 1000
"""How long a closed link may take to send what is still queued."""
_RETRY_MS: Final = 20
_FILES: Final = 16
"""Descriptors that libzmq needs for a context, its threads and a first link, and a few more."""
_THREADS: Final = 3
"""Threads that libzmq starts, and a spare one."""
_SOCKETS_MAX: Final = 32_768
_POLLIN: Final = int(zmq.POLLIN)

_context: zmq.Context[zmq.Socket[bytes]] | None = None
_context_pid = 0
_making = threading.RLock()
_numbers = itertools.count()
_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _shared_context() -> zmq.Context[zmq.Socket[bytes]]:
    """This process's context. libzmq's threads do not survive a fork: a child makes its own."""
    global _context, _context_pid
    with _making:
        if _context is None or _context_pid != os.getpid():
            _check_files()
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
            _begin_threads(context)
            _context, _context_pid = context, os.getpid()
        return _context


def _check_files() -> None:
    """Raises OSError if libzmq could not open its files and would end the process."""
    pipes: list[int] = []
    try:
        while len(pipes) < _FILES:
            pipes += os.pipe()
    finally:
        for descriptor in pipes:
            os.close(descriptor)


def _check_threads() -> None:
    """Raises RuntimeError if libzmq could not start its threads and would end the process."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    try:
        while len(threads) < _THREADS:
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            threads.append(thread)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _forked() -> None:
    """In a forked child: drop the parent's sockets, without pyzmq's warnings that nobody closed
    them. The lock is new, because another thread may have held it at the fork."""
    global _making, _context
    _making = threading.RLock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for link in list(_links):
            del link.dealer, link.monitor
        _links.clear()
        _context = None


os.register_at_fork(after_in_child=_forked)


def _begin_threads(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Create a first socket, so that libzmq starts its threads. They block all signals, but
    only once they run; before that they would receive signals meant for the process. So all
    signals are blocked here meanwhile. Raises RuntimeError."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _check_threads()
        context.socket(zmq.PAIR).close(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Link:
    """Raises Unreachable if the process may open no more files or start no more threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        try:
            self._open(endpoint)
            return
        except RuntimeError:
            problem, limits = "start no more threads", "ulimit -u, ulimit -v, TasksMax=, MemoryMax="
        except (OSError, zmq.ZMQError) as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            problem, limits = "open no more files", "ulimit -n, LimitNOFILE="
        raise errors.Unreachable(
            f"this process may {problem}, and cannot talk to the coordinator",
            hint=f"raise the limit: {limits}",
            endpoint=endpoint.address,
        )

    def _open(self, endpoint: Endpoint) -> None:
        context = _shared_context()
        self.pid = os.getpid()
        self.dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        try:
            self.dealer.setsockopt(zmq.LINGER, _LINGER_MS)
            self.dealer.setsockopt(zmq.SNDHWM, 0)  # bounded by the requests in flight
            self.dealer.setsockopt(zmq.RCVHWM, 0)
            self.dealer.setsockopt(zmq.RECONNECT_IVL, _RETRY_MS)  # a full backlog
            # Not get_monitor_socket(): it makes the address from the file descriptor, and
            # this socket may have the descriptor of one that was closed just now.
            events = f"inproc://unitsync-link-{next(_numbers)}"
            self.dealer.monitor(events, zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
            self.monitor: zmq.Socket[bytes] = context.socket(zmq.PAIR)
            self.monitor.setsockopt(zmq.LINGER, 0)
            self.monitor.connect(events)
            self.dealer.connect(endpoint.address)
            _links.add(self)
        except BaseException:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        """Raises LinkLost if it cannot be queued."""
        try:
            self.dealer.send_multipart((b"", frame), zmq.DONTWAIT)
        except zmq.ZMQError:
            raise LinkLost from None

    def receive(self) -> wire.AnyReply | None:
        """The next reply that has arrived, None if there is none. Raises ProtocolError."""
        frames = _received(self.dealer)
        if frames is None:
            return None
        if len(frames) != 2 or frames[0]:
            raise errors.ProtocolError(f"a reply of {len(frames)} frames; it must be one")
        return wire.decode_reply(frames[1])

    def event(self) -> int:
        """The next event: EVENT_DISCONNECTED, EVENT_CONNECT_RETRIED (it could not
        connect and tries again), or 0 for none. Read the replies first: those that came
        before a disconnection are still there."""
        frames = _received(self.monitor)
        return int.from_bytes(frames[0][:2], "little") if frames else 0

    def close(self, *, lost: bool = False) -> None:
        """Close the sockets. With *lost*, drop what is still queued: it is repeated on another
        link, and libzmq would send it once more, later, to the next coordinator."""
        if self.pid != os.getpid():
            return  # it is the parent's; closing it would talk to the parent's threads
        if lost:
            self.dealer.setsockopt(zmq.LINGER, 0)
        monitor: zmq.Socket[bytes] | None = getattr(self, "monitor", None)
        if monitor is not None:
            self.dealer.disable_monitor()
            monitor.close()
        self.dealer.close()


def _received(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """The next message that has arrived, None if there is none.

    It first asks whether there is one, so that pyzmq raises nothing. In pyzmq's wheels
    from Python 3.12 on (which use the stable ABI) an exception runs a line of Python for
    each entry of its traceback, and an exception that a signal handler raises meanwhile is
    dropped. So Ctrl-C and SIGTERM would be lost.
    """
    if int(socket.get(zmq.EVENTS)) & _POLLIN:
        try:
            return socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            pass
    return None
