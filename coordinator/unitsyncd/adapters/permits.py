"""Who may talk to the coordinator, and what only its own user and root may ask of it."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from typing import Final, NamedTuple

from unitsync import wire
from unitsync.endpoint import user_name
from unitsync.errors import NotPermitted, UsageError

_ID_MAX: Final = 2**32 - 2
"""The greatest number of a user (credentials(7)); the next one means nobody."""


class Peer(NamedTuple):
    """The credentials of a connected process (SO_PEERCRED of unix(7))."""

    uid: int
    gid: int
    pid: int


class Permits:
    """The coordinator's own user and root, and those named with ``--allow``. Everybody
    else is hung up on when they connect, before their first byte is read."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """*allowed*: names or numbers of users, names of groups. Raises UsageError for
        one that does not exist."""
        self._own = frozenset((os.geteuid(), 0))
        self.users = set(self._own)
        self.groups: set[int] = set()
        """Whoever runs with this group, or is listed as its member."""
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
        """Raises NotPermitted if *peer* may not ask this."""
        what = request.reserved()
        if what and (peer is None or peer.uid not in self._own):
            who = " and ".join(map(user_name, sorted(self._own, reverse=True)))
            raise NotPermitted(
                f"{what} is for {who} alone",
                hint="others who were let in (serve --allow) may ask everything else",
            )


def exist(name: str) -> bool:
    """Whether there is such a user or group."""
    return any(_named(name))


def _named(name: str) -> tuple[set[int], set[int]]:
    """The users and groups that are called *name*."""
    if name.isascii() and name.isdigit():
        number = int(name)
        return ({number} if number <= _ID_MAX else set()), set()
    users, groups = set(), set()
    try:
        users.add(pwd.getpwnam(name).pw_uid)
    except KeyError:
        pass
    try:
        groups.add(grp.getgrnam(name).gr_gid)
    except KeyError:
        pass
    return users, groups
