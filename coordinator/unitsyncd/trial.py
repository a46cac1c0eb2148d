"""Finds out whether a coordinator could serve here and make changes. Changes nothing
itself. For ``unitsync doctor``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final

from loguru import logger

from unitsync import errors, wire
from unitsync.link.endpoint import Endpoint, check_folder
from unitsyncd.actors.ports import NobodyWatched
from unitsyncd.core.store import StoreError
from unitsyncd.limits import Limits
from unitsyncd.requests.supervisor import Supervisor
from unitsyncd.saved_state import read_state
from unitsyncd.storage import disk_space
from unitsyncd.system.folder_lock import AlreadyServed, refuse_network, refuse_what_is_no_socket

FILES: Final = ("coordinator.log", "spawn.lock", "journal.db", "journal.db-wal", "journal.db.mark")


def try_to_serve(endpoint: Endpoint, startup: str, limits: Limits) -> None:
    """Returns if a coordinator would serve at *endpoint* and make changes for *startup*.

    Otherwise raises the error that the start of the coordinator, or a change, would fail
    with. Raises AlreadyServed if there is a coordinator. Raises StoreError, OSError.
    """
    logger.remove()
    folder = endpoint.folder
    if check_folder(endpoint) is None:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        _write_in(folder)
        return
    refuse_network(endpoint)
    with _held(endpoint):
        refuse_what_is_no_socket(endpoint)
        for name in FILES:
            _refuse_what_is_no_file_of_ours(os.path.join(folder, name))
        _write_in(folder)
        _ask_for_a_change(endpoint, startup, limits)


def _write_in(folder: str) -> None:
    try:
        descriptor = disk_space.nameless(folder)
        try:
            disk_space.grow(descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError as exc:
        what = f"nothing can be written in {folder}: {exc.strerror}"
        raise errors.UnitsyncError(what, hint=disk_space.hint(exc, folder)) from None


@contextlib.contextmanager
def _held(endpoint: Endpoint) -> Iterator[None]:
    """Locks the folder meanwhile, so that no coordinator starts and writes to the files that
    are being read. Raises AlreadyServed."""
    folder = os.open(endpoint.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AlreadyServed(endpoint.address) from None
    finally:
        os.close(folder)


def _refuse_what_is_no_file_of_ours(path: str) -> None:
    if not os.path.lexists(path):
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        if os.path.isfile(path):
            return
        why = "it is no file"
    except OSError as exc:
        why = str(exc.strerror)
    raise errors.UnitsyncError(
        f"{path} cannot be written: {why}",
        hint="remove what is in the way, or name another folder in UNITSYNC_ENDPOINT",
    )


def _ask_for_a_change(endpoint: Endpoint, startup: str, limits: Limits) -> None:
    try:
        machine, recovered, lost = read_state(endpoint.journal, limits)
    except StoreError as exc:
        raise errors.UnitsyncError(f"the journal cannot be used: {exc}", hint=exc.hint) from None
    supervisor = Supervisor(
        startup=startup,
        machine=machine,
        new_epoch=lambda: secrets.token_hex(8),
        owners=NobodyWatched(),
        identity=SimpleNamespace(version="", pid=0, since=0.0),
        limits=limits,
        on_defect=lambda what, defect: None,
        recovered=recovered,
        lost=lost,
    )
    frame = wire.encode(wire.Ping(id="trial", startup=startup, trial=True))
    ((_, told),) = supervisor.turn([(b"", frame)], time.monotonic(), time.time())
    reply = wire.decode_reply(told)
    if isinstance(reply, wire.Error):
        raise errors.from_code(reply.code, reply.message, reply.hint, reply.details)
