"""Which file system a folder is on."""

import os
import re
from typing import Final

NETWORK: Final = frozenset(
    (
        *("afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
    )
)
"""Types that several machines may mount at the same time. All of them see the file of a
socket there, but the socket reaches only processes on one machine."""

_ESCAPED: Final = re.compile(rb"\\([0-3][0-7]{2})")


def file_system(folder: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that *folder* is on, "" if it cannot be found out.

    *mounts* is in the format of proc_pid_mountinfo(5).
    """
    path = os.fsencode(os.path.realpath(folder))
    best, found = b"", b""
    try:
        # As bytes, because users may mount things too, under any name. Only space, tab,
        # newline, backslash and # are escaped.
        with open(mounts, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    for line in lines:
        fields = line.split(b" ")
        if b"-" not in fields:
            continue
        point = _ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), fields[4])
        inside = path == point or path.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):
            best, found = point, fields[fields.index(b"-") + 1]
    return os.fsdecode(found)
