"""Odd but real environments, made for one command each."""

from __future__ import annotations

import functools
import subprocess
from typing import Final

import pytest

ALONE: Final = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
"""A shell command in a mount namespace of its own: what it mounts goes with it."""
WITHOUT_PROC: Final = [*ALONE, 'umount -l /proc && exec "$@"', "sh"]


@functools.cache
def namespaces() -> bool:
    try:
        return not subprocess.run([*ALONE, "true"], capture_output=True).returncode
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not namespaces(), reason="this user may not make a mount namespace"
)
