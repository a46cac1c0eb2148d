"""Whether files can grow in a folder: tried with a file that has no name. And what to tell
the user if they cannot."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Final

from unitsyncd.core.store import hint_full

TRIED_BYTES: Final = 16 * 1024
"""What a small change takes in the journal."""

_NOT_OURS: Final = (
    "the user that the coordinator runs as must be able to write there; or name another folder "
    "in UNITSYNC_ENDPOINT"
)
_HINTS: Final = {
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EFBIG: "files may not grow further: raise ulimit -f (LimitFSIZE=) where the "
    "coordinator is started",
    errno.EROFS: "its file system is read-only; name another folder in UNITSYNC_ENDPOINT",
}


def nameless(folder: str) -> int:
    """A descriptor of a new file in *folder* that has no name there. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(folder, flags | os.O_TMPFILE, 0o600)
    except OSError as exc:  # some file systems cannot do this, and they say so differently
        if exc.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSPC):
            raise
    descriptor, path = tempfile.mkstemp(prefix=".unitsync-", dir=folder)
    os.unlink(path)
    return descriptor


def grow(descriptor: int, size: int) -> None:
    """Write TRIED_BYTES where a file of *size* bytes would grow. Raises OSError."""
    left = TRIED_BYTES
    while left:
        left -= os.pwrite(descriptor, bytes(left), size + TRIED_BYTES - left)


def hint(problem: OSError, folder: str) -> str:
    """What to do about *problem* in *folder*."""
    return _HINTS.get(problem.errno or 0) or hint_full(folder)
