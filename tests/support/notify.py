"""Programs that say something with sd_notify(3), for commands under ``run`` and ``up``."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

with_systemd_notify = pytest.mark.skipif(
    shutil.which("systemd-notify") is None, reason="there is no systemd-notify"
)

_LINK = """
import array, os, select, socket, sys
address = os.environb[b"NOTIFY_SOCKET"]
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
link.connect(b"\\0" + address[1:] if address[:1] == b"@" else address)
"""
SAY = f"""{_LINK}
for word in sys.argv[1:]:
    link.send(os.fsencode(word))
"""
"""Each word is a datagram."""
SAY_AND_DIE = f"""{SAY}
os._exit(int(os.environ.get("STATUS", "0")))
"""
"""Before anybody may have heard of it."""
COUNT = f"""{_LINK}
for number in range(int(sys.argv[1])):
    link.send(b"STATUS=%d" % number)
"""
"""So many, as fast as it can."""
BARRIER = f"""{_LINK}
read, write = os.pipe()
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write] * int(sys.argv[1])))]
link.sendmsg([b"BARRIER=1"], rights)
os.close(write)
poll = select.poll()
poll.register(read, 0)
sys.exit(poll.poll(30_000) != [(read, select.POLLHUP)])
"""
"""Sends so many descriptors, and fails unless they are closed, as sd_notify_barrier(3) has it."""
AS_NOBODY = f"""
import array, os, select, socket, sys  # which nobody may not even read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
{SAY}"""


def program(folder: Path, text: str) -> str:
    """Shell words that run *text*, which is kept in a file in *folder*. Anybody may read it."""
    path = folder / f"says-{abs(hash(text))}.py"
    path.write_text(text)
    path.chmod(0o644)
    return shlex.join([sys.executable, "-S", "-I", str(path)])
