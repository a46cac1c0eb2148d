"""Who may talk to the coordinator, and what only its own user and root may ask of it.

Whom ``serve --allow`` lets in is kept beside the journal, so that a coordinator that a verb
starts again lets in the same: a file of lines, the startup of the machine, as what is allowed
ends with it, and then a name or number each.
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
from unitsync.endpoint import user_name
from unitsync.errors import NotPermitted, UsageError
from unitsync.startup import machine_startup
from unitsyncd.adapters.lines import replace_lines

ALLOWED_FILE: Final = "allowed"
_ID_MAX: Final = 2**32 - 2
"""The greatest number of a user (credentials(7)); the next one means nobody."""


class Peer(NamedTuple):
    """The credentials of a connected process (SO_PEERCRED of unix(7))."""

    uid: int
    gid: int
    pid: int


class Access:
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


def keep_allowed(folder: str, names: Sequence[str]) -> None:
    """Let *names* take the place of those that were allowed until now. If that fails it
    is logged: they are let in all the same, until the coordinator ends."""
    path = os.path.join(folder, ALLOWED_FILE)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if names:
            replace_lines(path, (machine_startup(), *names))
    except OSError as problem:
        logger.error("who is allowed cannot be kept: {}", problem)


def kept_allowed(folder: str) -> list[str]:
    """Who was allowed last, but for those who do not exist any more."""
    try:
        with open(os.path.join(folder, ALLOWED_FILE), encoding="utf-8") as file:
            startup, *names = file.read().splitlines()
    except (OSError, ValueError):
        return []
    if startup != machine_startup():
        return []
    known = [name for name in names if any(_named(name))]
    if gone := set(names).difference(known):
        logger.warning("allowed, but there is no such user or group: {}", ", ".join(sorted(gone)))
    return known
