"""sd_notify(3): tells a service manager that the coordinator is ready, or ending."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send *state* (``READY=1``) to $NOTIFY_SOCKET. Does nothing if that is not set."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # the manager is gone, so there is nobody to tell
