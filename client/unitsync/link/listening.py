"""Where a server of ours listens, HOST:PORT or unix:PATH, and the socket there."""

from __future__ import annotations

import errno
import os
import socket
import stat
from ipaddress import ip_address
from typing import Final

import msgspec

from unitsync.errors import UnitsyncError, UsageError
from unitsync.link.by_hand import PATH_BYTES_MAX

_PORT_MAX: Final = 65_535
_PORT_DIGITS: Final = 5


class Address(msgspec.Struct, frozen=True):
    path: str = ""
    """Of a unix socket; "" if it is ``host`` and ``port``."""
    host: str = ""
    port: int = 0
    """0 for any that is free."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(text: str, named: str, hint: str, *, any_port: bool = False) -> Address:
    """The address that *text* names. *named* says where it stands. Raises UsageError."""
    kind, _, path = text.partition(":")
    if kind == "unix":
        if not path.startswith("/") or len(os.fsencode(path)) > PATH_BYTES_MAX:
            raise UsageError(
                f"{named} {text!a}: not the absolute path of a socket, of at most "
                f"{PATH_BYTES_MAX} bytes",
                hint=hint,
            )
        return Address(path=path)
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_number = port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS
    is_port = is_number and int(port) <= _PORT_MAX
    if not (host and is_port and (any_port or int(port))):
        raise UsageError(f"{named} {text!a}: neither HOST:PORT nor unix:PATH", hint=hint)
    return Address(host="127.0.0.1" if host == "localhost" else host, port=int(port))


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def listen(address: Address, backlog: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    if address.path:
        return _listen_at(address.path, backlog)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=backlog)


def _listen_at(path: str, backlog: int) -> socket.socket:
    """Only our user and root reach it. Replaces the socket that a killed server has left there."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        if _is_left_over(path):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _is_left_over(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        return asking.connect_ex(path) == errno.ECONNREFUSED


def why_not(what: str, problem: OSError, if_taken: str) -> UnitsyncError:
    """The error if it was not possible to listen, for *what* that was to be shown there. *if_taken*
    says what to do if something else is there."""
    if problem.errno == errno.EADDRINUSE:
        return UnitsyncError(f"no {what}: something else is there", hint=if_taken)
    return UnitsyncError(
        f"no {what}: {problem.strerror or problem}",
        hint="an address of this machine, or unix:PATH in a folder that exists",
    )
