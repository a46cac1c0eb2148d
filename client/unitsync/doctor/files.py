"""Checks of ``doctor``: the address, its folder, and the state kept there."""

import glob
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from unitsync import errors
from unitsync.doctor.finding import Finding, Setup, problem
from unitsync.link import by_hand as wire_by_hand
from unitsync.link import endpoint as endpoints
from unitsync.link import mounts
from unitsync.owner.calling_script import shell_word
from unitsync.text.printing import counted


def endpoint(setup: Setup) -> Iterator[Finding]:
    try:
        setup.endpoint = endpoints.resolve(setup.address)
    except errors.UnitsyncError as wrong:
        yield problem("endpoint", wrong)
        return
    if setup.address:
        named_by = "as --endpoint says"
    elif os.environ.get("UNITSYNC_ENDPOINT"):
        named_by = "as UNITSYNC_ENDPOINT says"
    else:
        named_by = "the default"
    yield Finding("ok", "endpoint", f"{setup.endpoint.address}, {named_by}")


def folder(setup: Setup) -> Iterator[Finding]:
    endpoint, about = setup.endpoint, "folder"
    if endpoint is None:
        return
    try:
        found = endpoints.check_folder(endpoint)
    except errors.UnitsyncError as wrong:
        yield problem(about, wrong)
        return
    if found is None:
        setup.usable = True
        yield Finding("ok", about, f"{endpoint.folder} is not there yet; the first verb makes it")
        return
    mode = found.st_mode & 0o7777
    owner = endpoints.user_name(found.st_uid)
    if not os.access(endpoint.folder, os.X_OK, effective_ids=True):
        us = endpoints.user_name(os.geteuid())
        text = f"{endpoint.folder}, mode {mode:04o}, of {owner}: {us} may not enter it"
        if found.st_uid == os.geteuid():
            hint = f"chmod 700 {endpoint.folder}"
        else:
            hint = f"let {us.removeprefix('user ')} in: unitsync serve --allow, as {owner}"
        yield Finding("problem", about, text, hint)
        return
    kind = mounts.file_system(endpoint.folder)
    if kind in mounts.NETWORK:
        hint = "name a folder on a local file system in UNITSYNC_ENDPOINT"
        yield Finding("problem", about, f"{endpoint.folder} is on a network ({kind})", hint)
        return
    setup.usable = True
    yield Finding("ok", about, f"{endpoint.folder}, mode {mode:04o}, of {owner}")


def journal(setup: Setup) -> Iterator[Finding]:
    endpoint, about = setup.endpoint, "journal"
    if endpoint is None or not setup.usable:
        return
    path = endpoint.journal
    damaged = f"{path}.damaged"
    if os.path.exists(damaged):
        text = f"an earlier one was damaged and is kept as {damaged}"
        hint = setup.advice(f"keep it for a report, or remove it: rm {damaged}*")
        yield Finding("note", about, text, hint)
    if not os.path.isfile(path):
        there = os.path.lexists(path)
        if setup.pong is not None and (setup.pong.units or there):
            how = "is no longer a file" if there else "is gone"
            text = f"{path} {how}: the coordinator's state will be lost when it ends"
            remove = f"rm -r {shell_word(path)}; " if there else ""
            done = f"when the scripts are done: unitsync stop; {remove}unitsync reset --all"
            yield Finding("problem", about, text, setup.advice(done))
        elif there:  # the check of a change has already reported the problem
            yield Finding("note", about, f"{path} is no file")
        else:
            yield Finding("ok", about, "none yet")
        return
    files = glob.glob(f"{glob.escape(path)}*")
    size = sum(os.path.getsize(name) for name in files if os.path.exists(name))
    if (owner := os.lstat(path).st_uid) != os.geteuid():
        # SQLite opens files beside it for writing and gives them to its owner. That must not
        # happen with root's rights in a folder where somebody else may have put links.
        text = f"{size / 1e6:.1f} MB, for {endpoints.user_name(owner)} to look into"
        yield Finding("ok", about, text)
        return
    # Without a log nobody has it open, and reading it would leave a log behind.
    alone = "" if (log := os.path.exists(f"{path}-wal")) else "&immutable=1"
    if log and setup.pong is None:
        text = f"{size / 1e6:.1f} MB, in use or left by a coordinator that was killed"
        yield Finding("ok", about, text)
        return
    try:
        uri = f"{Path(path).as_uri()}?mode=ro{alone}"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as db:
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                yield Finding("ok", about, "nothing was written into it yet")
                return
            count = db.execute("SELECT count(*) FROM epochs").fetchone()[0]
            records = db.execute("SELECT coalesce(sum(count), 0) FROM turns").fetchone()[0]
    except sqlite3.Error as exc:
        if setup.pong is None:  # the check of a change has already reported the problem
            text = f"{path} is damaged: {exc}; it is set aside by the next coordinator"
            yield Finding("note", about, text)
        else:
            text = f"{path} cannot be read: {exc}"
            hint = setup.advice("when the scripts are done: unitsync stop; unitsync reset --all")
            yield Finding("problem", about, text, hint)
        return
    epochs = counted(count, "startup or reset" if count == 1 else "startups and reset")
    text = f"{counted(records, 'record')}, {size / 1e6:.1f} MB, of {epochs}"
    yield Finding("ok", about, text)


def others(setup: Setup) -> Iterator[Finding]:
    if setup.endpoint is None:
        return
    for path in sorted(glob.glob("/tmp/unitsync-*/coordinator.sock")):
        if path != setup.endpoint.path:
            uid = os.lstat(os.path.dirname(path)).st_uid
            text = f"{path}, of {endpoints.user_name(uid)}"
            yield Finding("note", "others", text, _why_another(setup, uid))


def _why_another(setup: Setup, uid: int) -> str:
    """Why the coordinator of the user *uid*, below /tmp, is not the one that *setup* uses."""
    named = "--endpoint" if setup.address else "UNITSYNC_ENDPOINT"
    is_named = setup.address or os.environ.get("UNITSYNC_ENDPOINT")
    if not is_named or uid != wire_by_hand.invoking_user(os.environ):
        return "each user has one of their own"
    return f"{named} names another one; a script that is called without it uses this one"
