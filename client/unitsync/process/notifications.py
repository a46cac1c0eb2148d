"""What a command says with sd_notify(3): receiving it, and what of it concerns its unit.

``run`` and ``up`` both use it. Imports only what the interpreter has already loaded, and
``_socket``.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

DATAGRAM_BYTES_MAX = 4096
"""A longer one is ignored, as systemd does it."""
_DESCRIPTORS_MAX = 253
"""As many as the kernel passes with one datagram."""
_CREDENTIALS_BYTES = 12
"""A pid, a user and a group (unix(7))."""
FORWARD_PATIENCE_S = 5.0


class Said:
    """What one datagram says: whether the command is ``ready``, and its ``status``, None if it says
    nothing of that."""

    __slots__ = ("ready", "status")

    def __init__(self, datagram: bytes) -> None:
        lines = datagram.split(b"\n")
        self.ready = b"READY=1" in lines
        self.status: str | None = None
        for line in lines:
            if line.startswith(b"STATUS="):
                self.status = line[len(b"STATUS=") :].decode("utf-8", "surrogateescape")
                break


class Receiver:
    """Takes what is said from *socket*, and passes each datagram on to the address *outer*, if that
    is not empty: who has set NOTIFY_SOCKET for us hears everything. Only processes of *users* are
    listened to. *patience_s*: how long it may take to pass one on."""

    def __init__(
        self,
        socket: "Any",
        outer: bytes,
        users: "Collection[int]",
        patience_s: float = FORWARD_PATIENCE_S,
    ) -> None:
        self._socket = socket
        self._outer = b"\0" + outer[1:] if outer.startswith(b"@") else outer
        self._users = users
        self._patience_s = patience_s
        self._link: Any = None

    def receive(self) -> "Said | None":
        """What is said next. It says nothing if nobody is listened to who says it. None if the
        socket was shut down and there is nothing more. Raises OSError; for a *socket* that does
        not block, also BlockingIOError if there is nothing now, or nothing more.

        Descriptors that were sent are closed by then: that answers sd_notify_barrier(3)."""
        import _socket

        room = _socket.CMSG_SPACE(_CREDENTIALS_BYTES)
        if self._outer:
            room += _socket.CMSG_SPACE(4 * _DESCRIPTORS_MAX)
        # Without room for them, the kernel closes the descriptors.
        datagram, more, flags, _ = self._socket.recvmsg(
            DATAGRAM_BYTES_MAX, room, _socket.MSG_CMSG_CLOEXEC
        )
        user = -1
        descriptors: list[int] = []
        for level, kind, data in more:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                user = int.from_bytes(data[4:8], sys.byteorder)
            elif level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors += memoryview(data[: len(data) // 4 * 4]).cast("i")
        try:
            if not datagram and not more:
                return None
            if user not in self._users or flags & _socket.MSG_TRUNC:
                return Said(b"")
            if self._outer:
                self._forward(datagram, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return Said(datagram)

    def _forward(self, datagram: bytes, descriptors: "list[int]") -> None:
        """Pass it on with its *descriptors*. If that fails, nobody needs to know here."""
        import _socket

        try:
            if self._link is None:
                self._link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
                self._link.settimeout(self._patience_s)
            rights = b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors)
            more = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
            self._link.sendmsg([datagram], more, _socket.MSG_NOSIGNAL, self._outer)
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()
        if self._link is not None:
            self._link.close()
