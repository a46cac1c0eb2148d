"""Odd but real environments, made for one command each."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from typing import Final

import pytest

from support.coordinators import serving

ALONE: Final = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
"""A shell command in a mount namespace of its own: what it mounts goes with it."""
WITHOUT_PROC: Final = [*ALONE, 'umount -l /proc && exec "$@"', "sh"]

UNPRIVILEGED: Final = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-sys_nice"]
    if os.geteuid() == 0
    else []
)
"""A command that may do no more than another user's: read-only is read-only, nice is nice.
It can read this installation, which other users may not."""


@functools.cache
def namespaces() -> bool:
    try:
        return not subprocess.run([*ALONE, "true"], capture_output=True).returncode
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not namespaces(), reason="this user may not make a mount namespace"
)


def end_coordinators(path: str) -> None:
    """Kill those that serve below *path*, in whatever namespace that is."""
    for pid in serving(f"ipc://{path}"):
        os.kill(pid, signal.SIGKILL)
