"""A throw-away coordinator for tests.

With pytest, name this module once and then ask for the fixture::

    pytest_plugins = ["unitsync.testing"]           # in conftest.py

    def test_index(coordinator):
        with Client() as sync:                      # talks to the throw-away coordinator
            ...

Without pytest use ``throwaway_coordinator``, whose address goes to the clients::

    with throwaway_coordinator() as address, Client(address) as sync:
        ...
"""

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from unitsync.errors import Unreachable
from unitsync.link.by_hand import PATH_BYTES_MAX

START_PATIENCE_S: Final = 30.0
STOP_PATIENCE_S: Final = 10.0


@contextmanager
def throwaway_coordinator(options: Sequence[str] = ()) -> Iterator[str]:
    """Run a coordinator in a temporary folder of its own and yield its address, for
    ``Client(address)``. No environment variable is set.

    It is a child of this process and has no units and no UNITSYNC_* variables. It takes the
    *options* of ``unitsync serve``. Leaving the block ends it and removes its folder. Raises
    Unreachable if it does not come up.
    """
    with tempfile.TemporaryDirectory(
        prefix="us-", dir=_short_folder(), ignore_cleanup_errors=True
    ) as folder:
        address = f"ipc://{folder}/coordinator.sock"
        read, write = os.pipe()
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "unitsyncd", "--endpoint", address),
                    *("--ready-fd", str(write), *options),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[write],
                start_new_session=True,  # so that Ctrl-C ends the tests first
                env={k: v for k, v in os.environ.items() if not k.startswith("UNITSYNC_")},
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        try:
            report = _report(read)
            if report != "ready":
                raise Unreachable(
                    f"the throw-away coordinator did not start: {report or 'it ended at once'}",
                    endpoint=address,
                )
            yield address
        finally:
            _end(process)


def _report(descriptor: int) -> str:
    with open(descriptor, "rb", buffering=0) as pipe:
        if not select.select([pipe], [], [], START_PATIENCE_S)[0]:
            return f"not ready within {START_PATIENCE_S:.0f} s"
        return pipe.read(4096).decode("utf-8", "replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _short_folder() -> str | None:
    """Where to make the folder: in TMPDIR, unless that is too long for a socket's path."""
    usual = tempfile.gettempdir()
    return None if len(os.fsencode(usual)) < PATH_BYTES_MAX // 2 else "/tmp"


try:
    import pytest
except ImportError:  # throwaway_coordinator works without
    pass
else:

    @pytest.fixture
    def coordinator(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """The address of a coordinator for this test alone. Clients and commands in the
        test use it unless told otherwise. When it ends, they start no other one."""
        with throwaway_coordinator() as address:
            monkeypatch.setenv("UNITSYNC_ENDPOINT", address)
            monkeypatch.setenv("UNITSYNC_AUTOSTART", "0")
            monkeypatch.delenv("UNITSYNC_STARTUP", raising=False)
            yield address
