"""A coordinator whose folder is a file system of its own, with little room.

Only in a mount namespace of its own: a test calls ``held_apart``, and its file, called as a
program, does the rest in ``a_place_on_a_small_disk``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.places import Place, a_place, clean_environment

HELD = "all of it held\n"


def held_apart(file: str, *arguments: str) -> None:
    """Run *file* in a mount namespace. It must print HELD."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not make a mount namespace")
    # First, because other packages are called cli too.
    tests = str(Path(__file__).parent.parent)
    path = [tests, *(place for place in sys.path if place)]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, file, *arguments],
        env=clean_environment() | {"PYTHONPATH": os.pathsep.join(path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert (done.returncode, done.stdout) == (0, HELD), done.stderr


@contextmanager
def a_place_on_a_small_disk(size: str) -> Iterator[Place]:
    with a_place() as place:
        place.home.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place.home))
        try:
            place.start()
            yield place
            if place.serving():
                place.stop()
        finally:
            # Lazily: a coordinator that is still there is ended by a_place().
            subprocess.run(["umount", "-l", str(place.home)], check=True)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
