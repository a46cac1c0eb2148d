"""Who may talk to the coordinator, and what only its own user and root may ask of it.

The names given to ``serve --allow`` are kept beside the journal, so that a coordinator that
a verb starts again lets in the same users. The first line of the file is the startup of the
machine, because the permission ends with it. Each further line is a name or number.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from loguru import logger

from unitsync import wire
from unitsync.errors import NotPermitted, UsageError
from unitsync.link.endpoint import user_name
from unitsyncd.storage.lines import keep_lines, kept_lines

ALLOWED_FILE: Final = "allowed"
_ID_MAX: Final = 2**32 - 2
"""The greatest user number (credentials(7)). The next one means "no user"."""


class Peer(NamedTuple):
    """The credentials of a connected process (SO_PEERCRED of unix(7))."""

    uid: int
    gid: int
    pid: int


class Access:
    """The coordinator's own user and root, and those named with ``--allow``. The connection
    of anybody else is closed at once, before its first byte is read."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """*allowed*: names or numbers of users, names of groups. Raises UsageError for
        one that does not exist."""
        self._own = frozenset((os.geteuid(), 0))
        self.users = set(self._own)
        self.groups: set[int] = set()
        """Groups: processes that run with one of them, and users listed as its members."""
        for name in allowed:
            users, groups = _named(name)
            if not users and not groups:
                raise UsageError(
                    f"there is no user or group {name!a} to be allowed",
                    hint="--allow and UNITSYNC_ALLOW take users, by name or number, and groups",
                )
            self.users |= users
            self.groups |= groups

    @property
    def shared(self) -> bool:
        return self.users != self._own or bool(self.groups)

    def check(self, request: wire.AnyRequest, peer: Peer | None) -> None:
        """Raises NotPermitted if *peer* may not make this request."""
        what = request.reserved()
        if what and (peer is None or peer.uid not in self._own):
            who = " and ".join(map(user_name, sorted(self._own, reverse=True)))
            raise NotPermitted(
                f"{what} is for {who} alone",
                hint="others who were let in (serve --allow) may ask everything else",
            )


def _named(name: str) -> tuple[set[int], set[int]]:
    """The users and groups with this *name*."""
    if name.isascii() and name.isdigit():
        number = int(name)
        return ({number} if number <= _ID_MAX else set()), set()
    users, groups = set(), set()
    with contextlib.suppress(KeyError):
        users.add(pwd.getpwnam(name).pw_uid)
    with contextlib.suppress(KeyError):
        groups.add(grp.getgrnam(name).gr_gid)
    return users, groups


def keep_allowed(folder: str, names: Sequence[str]) -> None:
    """Replace the kept names with *names*. A failure is only logged: *names* are still let
    in until the coordinator ends."""
    try:
        keep_lines(os.path.join(folder, ALLOWED_FILE), names)
    except OSError as problem:
        logger.error("the list of allowed users cannot be kept: {}", problem)


def kept_allowed(folder: str) -> list[str]:
    """The names that were allowed last, without those that no longer exist."""
    names = kept_lines(os.path.join(folder, ALLOWED_FILE))
    known = [name for name in names if any(_named(name))]
    if gone := set(names).difference(known):
        logger.warning("allowed, but there is no such user or group: {}", ", ".join(sorted(gone)))
    return known
