"""Which file system a folder is on."""

from __future__ import annotations

import os
from typing import Final

NETWORK: Final = frozenset(
    (
        *("afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
    )
)
"""Types that several machines may have mounted at once: a socket there reaches only
processes of one machine, while its file is seen by all."""


def file_system(folder: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that *folder* is on, "" where it cannot be told.

    *mounts* is in the format of proc_pid_mountinfo(5).
    """
    path = os.path.realpath(folder)
    best, found = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if "-" not in fields:
            continue
        point = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, fields[fields.index("-") + 1]
    return found
