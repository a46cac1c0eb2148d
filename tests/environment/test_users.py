"""Users with great numbers (14) and odd umasks (16)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import PATIENCE_S, Daemons
from support.users import _LOADED, CLI, run, serving_as
from test_permissions import given_to, unitsync

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

GREAT = 2**32 - 3
NOBODY = 65534


@pytest.mark.parametrize("user", [2**31, GREAT])
def test_a_user_with_a_great_number(daemons: Daemons, user: int) -> None:
    """14: one that is read with a sign is another user."""
    given_to(user, daemons.folder / "c")
    endpoint = daemons.endpoint
    with serving_as(user, endpoint) as served:
        ask = (sys.executable, "-c", CLI, str(user))
        assert run(*ask, "want", "a", "b", endpoint=endpoint) == (0, "")
        assert unitsync("want", "a", "c", endpoint=endpoint, env={"SUDO_UID": str(user)}) == (0, "")
        assert run(*ask, "stop", endpoint=endpoint) == (0, "")
        served.communicate(timeout=PATIENCE_S)
        assert served.returncode == 0


LOCK = (
    _LOADED
    + """
import unitsync.link.endpoint, unitsync.link.spawn
place = unitsync.link.endpoint.resolve(sys.argv[1])
os.umask(int(sys.argv[2], 8))
for _ in range(3):
    os.close(unitsync.link.spawn._try_lock(place))
print("locked")
"""
)


def locks(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOCK, str(NOBODY), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("umask", ["0", "022", "077", "0222", "0277", "0577", "0777"])
@pytest.mark.parametrize("below", ["c", "x/y/c"])
def test_an_odd_umask_is_no_hindrance(daemons: Daemons, umask: str, below: str) -> None:
    """16: who makes a folder and a lock can use them, now and the next time."""
    daemons.folder.chmod(0o1777)
    folder = daemons.folder / below
    assert locks(f"ipc://{folder}/s", umask) == "locked"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for above in list(folder.parents)[: below.count("/")]:
        assert stat.S_IMODE(above.stat().st_mode) == 0o755


def test_a_lock_that_an_earlier_version_left(daemons: Daemons) -> None:
    folder = given_to(NOBODY, daemons.folder / "c")
    Path(folder, "spawn.lock").touch(0o000)
    os.chown(folder / "spawn.lock", NOBODY, NOBODY)
    assert locks(daemons.endpoint, "022") == "locked"
