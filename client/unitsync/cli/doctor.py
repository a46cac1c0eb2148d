"""The verb ``doctor``: what is wrong with this set-up, and what to do."""

from __future__ import annotations

import glob
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import typer

from unitsync import endpoint as endpoints
from unitsync import errors, mounts, wire
from unitsync._version import __version__
from unitsync.cli import options
from unitsync.cli.talk import open_client, print_out
from unitsync.cli.verb import Verb
from unitsync.endpoint import Endpoint
from unitsync.printing import counted, duration

FILES_LOW: Final = 1024
"""A limit of open files up to here leaves room for a few hundred waiting scripts."""


class Finding(NamedTuple):
    """``level``: ok, note (good to know) or problem (something will not work)."""

    level: str
    about: str
    text: str
    hint: str = ""


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb to *app*."""
    app.command("doctor", cls=Verb, epilog=_EXAMPLE, rich_help_panel=panel)(doctor)


_EXAMPLE = """\b
Example:
  unitsync doctor
"""


def doctor(
    ctx: typer.Context,
    output: options.OutputFormat = None,
    endpoint: options.Endpoint = None,
) -> int:
    """Check this set-up and say what to do about what is wrong.

    Starts nothing and changes nothing. Exits with 1 if there is a problem.
    """
    findings = list(examine(endpoint or ctx.obj))
    if options.wants_json(output):
        from unitsync.cli import render

        print_out([render.json_text([finding._asdict() for finding in findings])])
    else:
        from unitsync.cli import text

        print_out(text.findings(findings, text.stdout()))
    return int(any(finding.level == "problem" for finding in findings))


def examine(address: str | None) -> Iterator[Finding]:
    """All findings, in an order in which each helps to understand the next."""
    yield Finding("ok", "version", f"unitsync {__version__}, protocol {wire.PROTOCOL}")
    yield from _settings()
    try:
        place = endpoints.resolve(address)
    except errors.UnitsyncError as problem:
        yield _problem("endpoint", problem)
        return
    yield Finding("ok", "endpoint", f"{place.address}, {_named_by(address)}")
    folder = list(_folder(place))
    yield from folder
    if all(finding.level != "problem" for finding in folder):
        yield from _coordinator(place)
        yield from _journal(place)
    yield from _open_files()
    yield from _others(place)
    yield from _coder()


def _settings() -> Iterator[Finding]:
    for check in (options.timeout_s, options.on_owner_exit, endpoints.autostart_allowed):
        try:
            allowed = check(None)
        except errors.UnitsyncError as problem:
            yield _problem("settings", problem)
        else:
            if allowed is False:
                value = os.environ["UNITSYNC_AUTOSTART"]
                text = f"UNITSYNC_AUTOSTART={value}: no verb starts a coordinator"
                yield Finding("note", "settings", text)


def _named_by(address: str | None) -> str:
    if address:
        return "as --endpoint says"
    return "as UNITSYNC_ENDPOINT says" if os.environ.get("UNITSYNC_ENDPOINT") else "the default"


def _folder(place: Endpoint) -> Iterator[Finding]:
    try:
        found = endpoints.check_folder(place)
    except errors.UnitsyncError as problem:
        yield _problem("folder", problem)
        return
    if found is None:
        yield Finding("ok", "folder", f"{place.folder} is not there yet; the first verb makes it")
        return
    mode = found.st_mode & 0o7777
    owner = endpoints.user_name(found.st_uid)
    if not os.access(place.folder, os.X_OK, effective_ids=True):
        us = endpoints.user_name(os.geteuid())
        text = f"{place.folder}, mode {mode:04o}, of {owner}: {us} has no way in"
        hint = f"let {us.removeprefix('user ')} in: unitsync serve --allow, as {owner}"
        yield Finding("problem", "folder", text, hint)
        return
    kind = mounts.file_system(place.folder)
    if kind in mounts.NETWORK:
        hint = "name a folder on a local file system in UNITSYNC_ENDPOINT"
        yield Finding("problem", "folder", f"{place.folder} is on a network ({kind})", hint)
    else:
        yield Finding("ok", "folder", f"{place.folder}, mode {mode:04o}, of {owner}")


def _coordinator(place: Endpoint) -> Iterator[Finding]:
    about = "coordinator"
    try:
        if not endpoints.is_there(place):
            stopped = os.path.exists(place.stopped)
            how = "was stopped" if stopped else "is not running"
            yield Finding("ok", about, f"{how}; the first verb starts it")
            return
        with open_client(place.address, autostart=False, render=wire.Render.NONE) as client:
            pong = client.ping()
    except errors.UnitsyncError as problem:
        yield _problem(about, problem)
        return
    since = pong_age(pong)
    units = f"{counted(pong.units, 'unit')}, {counted(pong.edges, 'edge')}"
    yield Finding("ok", about, f"pid {pong.pid}, for {since}: {units}")
    yield Finding("ok", "startup", pong.startup)
    if pong.version != __version__:
        hint = "unitsync stop; the next verb starts this version"
        yield Finding("note", "version", f"the coordinator is unitsync {pong.version}", hint)
    yield from _surroundings(pong.pid)


def pong_age(pong: wire.Pong) -> str:
    import time

    return duration(time.time() - pong.since)


def _surroundings(pid: int) -> Iterator[Finding]:
    """Where the coordinator lives, and what that means for its callers."""
    for name, what, hint in (
        ("pid", "process ids", "owners are not watched across the two: use --owner, or run"),
        ("mnt", "file systems", "a /tmp of its own (PrivateTmp) hides the socket from others"),
    ):
        ours, theirs = _link(f"/proc/self/ns/{name}"), _link(f"/proc/{pid}/ns/{name}")
        if ours and theirs and ours != theirs:
            yield Finding("note", "namespace", f"the coordinator sees other {what} than we", hint)
    ours, theirs = _cgroup("self"), _cgroup(str(pid))
    if ours and theirs and ours != theirs:
        hint = "to keep it apart from its callers run it as a service: unitsync serve"
        text = f"it lives in {theirs} and ends when that is stopped"
        yield Finding("note", "cgroup", text, hint)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _cgroup(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            return file.read().strip().rpartition(":")[2]
    except OSError:
        return ""


def _journal(place: Endpoint) -> Iterator[Finding]:
    path = place.journal
    damaged = f"{path}.damaged"
    if os.path.exists(damaged):
        hint = f"keep it for a report, or remove it: rm {damaged}*"
        yield Finding(
            "note", "journal", f"an earlier one was damaged and is kept as {damaged}", hint
        )
    if not os.path.exists(path):
        yield Finding("ok", "journal", "none yet")
        return
    files = glob.glob(f"{glob.escape(path)}*")
    size = sum(os.path.getsize(name) for name in files if os.path.exists(name))
    if endpoints.serving_user(place) != os.geteuid():
        # SQLite opens files beside it for writing, and gives them to its owner: not with
        # the rights of root where somebody else may have put links.
        whose = endpoints.user_name(place.user)
        yield Finding("ok", "journal", f"{size / 1e6:.1f} MB, for {whose} to look into")
        return
    # Without a log nobody has it open; to read it would leave one behind.
    alone = "" if os.path.exists(f"{path}-wal") else "&immutable=1"
    try:
        db = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro{alone}", uri=True, timeout=5)
        try:
            count = db.execute("SELECT count(*) FROM epochs").fetchone()[0]
            records = db.execute("SELECT coalesce(sum(count), 0) FROM turns").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error as exc:
        hint = "the coordinator sets it aside when it starts next; then: unitsync reset --all"
        yield Finding("problem", "journal", f"{path} cannot be read: {exc}", hint)
        return
    epochs = counted(count, "startup or reset" if count == 1 else "startups and reset")
    text = f"{counted(records, 'record')}, {size / 1e6:.1f} MB, of {epochs}"
    yield Finding("ok", "journal", text)


def _open_files() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= FILES_LOW:
        text = f"at most {hard}: room for about {hard * 2 // 3} waiting scripts at once"
        yield Finding("note", "open files", text, "raise the hard limit: ulimit -Hn, LimitNOFILE=")
    else:
        yield Finding("ok", "open files", f"at most {hard:,}")


def _others(place: Endpoint) -> Iterator[Finding]:
    for path in sorted(glob.glob("/tmp/unitsync-*/coordinator.sock")):
        if path != place.path:
            owner = endpoints.user_name(os.lstat(os.path.dirname(path)).st_uid)
            yield Finding("note", "others", f"{path}, of {owner}", "each user has one of their own")


def _coder() -> Iterator[Finding]:
    from pathlib import Path

    from unitsync.cli import shim

    found = shutil.which("coder")
    if found is None:
        yield Finding("ok", "coder", "no coder on PATH")
    elif shim.is_shim(Path(found)):
        yield Finding("ok", "coder", f"{found} is the shim: coder exp sync means unitsync")
    else:
        hint = "unitsync shim install DIR, with DIR before it on PATH"
        yield Finding("note", "coder", f"{found} is not the shim: coder exp sync is its own", hint)


def _problem(about: str, problem: errors.UnitsyncError) -> Finding:
    return Finding("problem", about, problem.message, problem.hint)
