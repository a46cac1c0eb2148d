"""Who may talk to the coordinator, by the credentials of the connected process."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable

from unitsync.errors import UsageError


class Permits:
    """The coordinator's own user and root, and those named with ``--allow``.

    Who is in a group is asked once for each user, within the event loop, and known from
    then on: a directory service that hangs holds up everybody, and who leaves the group
    is let in until the coordinator begins anew."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """*allowed*: names or numbers of users, names of groups. Raises UsageError for
        one that does not exist."""
        self._users = {os.geteuid(), 0}
        self._groups: set[int] = set()
        for name in allowed:
            if name.isascii() and name.isdigit():
                self._users.add(int(name))
                continue
            found = False
            try:
                self._users.add(pwd.getpwnam(name).pw_uid)
                found = True
            except KeyError:
                pass
            try:
                self._groups.add(grp.getgrnam(name).gr_gid)
                found = True
            except KeyError:
                pass
            if not found:
                raise UsageError(
                    f"there is no user or group {name!a} to be allowed",
                    hint="--allow and UNITSYNC_ALLOW take users, by name or number, and groups",
                )
        self._known: dict[tuple[int, int], bool] = {}

    @property
    def shared(self) -> bool:
        return len(self._users) > len({os.geteuid(), 0}) or bool(self._groups)

    def allows(self, uid: int, gid: int) -> bool:
        known = self._known.get((uid, gid))
        if known is None:
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[uid, gid] = uid in self._users or self._in_group(uid, gid)
        return known

    def _in_group(self, uid: int, gid: int) -> bool:
        if not self._groups:
            return False
        groups = {gid}
        try:
            groups.update(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            pass
        return bool(groups & self._groups)
