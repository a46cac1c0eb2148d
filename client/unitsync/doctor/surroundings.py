"""Checks of ``doctor``: variables, Python, /proc and what this process may do."""

import os
import resource
import sys
from collections.abc import Iterator
from typing import Final

from unitsync import errors, wire
from unitsync._version import __version__
from unitsync.doctor.finding import Finding, Setup, problem
from unitsync.link.autostart import is_allowed
from unitsync.owner.calling_script import proc_is_ours, shell_word
from unitsync.text.nearest import nearest
from unitsync.verb import commandline

FILES_LOW: Final = 1024
"""A limit of at most this many open files leaves room for only a few hundred waiting scripts."""

SHEBANG_BYTES_MAX: Final = 256

VARIABLES: Final = frozenset(
    (
        *("UNITSYNC_ENDPOINT", "UNITSYNC_AUTOSTART", "UNITSYNC_STARTUP", "UNITSYNC_TIMEOUT"),
        *("UNITSYNC_ON_OWNER_EXIT", "UNITSYNC_ON_SKIP", "UNITSYNC_ALLOW", "UNITSYNC_LOG_LEVEL"),
        *("UNITSYNC_MAX_UNITS", "UNITSYNC_MAX_EDGES", "UNITSYNC_MAX_WAITING"),
        *("UNITSYNC_MAX_WAITED_FOR", "UNITSYNC_MAX_STARTUPS", "UNITSYNC_MAX_CONNECTIONS"),
        *("UNITSYNC_MAX_MEMORY", "UNITSYNC_MAX_FOLLOWERS", "UNITSYNC_MAX_KEPT_STARTUPS"),
        *("UNITSYNC_MAX_KEPT_MIB", "UNITSYNC_UNIT", "UNITSYNC_UP"),
        *("UNITSYNC_METRICS", "UNITSYNC_METRICS_PER_UNIT", "UNITSYNC_OTLP"),
        *("UNITSYNC_WEB", "UNITSYNC_WEB_TOKEN"),
        *("UNITSYNC_LOG_BYTES", "UNITSYNC_LOG_RUNS", "UNITSYNC_LOG_STARTUPS"),
        *(
            "UNITSYNC_HOST",
            "UNITSYNC_HOSTS",
            "UNITSYNC_HOSTS_API_PREFIX",
        ),
        *(
            "UNITSYNC_HOSTS_CREDS",
            "UNITSYNC_HOSTS_EXPECTED",
            "UNITSYNC_HOSTS_TLS_CA",
        ),
        *(
            "UNITSYNC_HOSTS_TLS_CERT",
            "UNITSYNC_HOSTS_TLS_KEY",
            "UNITSYNC_JOB",
        ),
        *("UNITSYNC_ON_HOST_LOST",),
        *("UNITSYNC_CODER_SHIM", "UNITSYNC_CODER_SHIM_DEPTH", "UNITSYNC_FAULT"),
    )
)
"""All variables that unitsync reads or sets."""


def version(setup: Setup) -> Iterator[Finding]:
    yield Finding("ok", "version", f"unitsync {__version__}, protocol {wire.PROTOCOL}")


def settings(setup: Setup) -> Iterator[Finding]:
    """The variables that verbs read. A coordinator on trial checks those that it reads."""
    for check in (
        commandline.timeout_s,
        commandline.on_owner_exit,
        commandline.on_skip,
        is_allowed,
    ):
        try:
            check(None, os.environ)
        except errors.UnitsyncError as wrong:
            yield problem("settings", wrong)
    for name in sorted(os.environ):
        if name.startswith("UNITSYNC_") and name not in VARIABLES:
            meant = nearest(name, sorted(VARIABLES))
            hint = f"did you mean {meant}?" if meant else ""
            yield Finding("note", "settings", f"{name} means nothing to unitsync", hint)


def python(setup: Setup) -> Iterator[Finding]:
    """A PYTHONHOME of another version cannot be reported: Python does not start with it."""
    if home := os.environ.get("PYTHONHOME", ""):
        text = f"PYTHONHOME={home}: a Python of another version does not start with it"
        hint = "unset PYTHONHOME in scripts that call unitsync"
        yield Finding("note", "python", text, hint)


def command(setup: Setup) -> Iterator[Finding]:
    """The script that pip has written. execve(2) cuts the path of its interpreter at a space,
    and at 255 bytes."""
    script = os.path.join(os.path.dirname(sys.executable or ""), "unitsync")
    try:
        with open(script, "rb") as file:
            line = file.readline()
    except OSError:
        return
    path = line[2:].strip()
    if not line.startswith(b"#!/") or os.fsencode(sys.executable) != path:
        return
    if b" " in path or len(line) > SHEBANG_BYTES_MAX:
        why = "has a space" if b" " in path else "is too long"
        text = f"{script} cannot be run: the path of its Python {why}"
        call = f"{shell_word(sys.executable)} -m unitsync"
        hint = f"install it below another folder, or call it as {call}"
        yield Finding("problem", "command", text, hint)


def proc(setup: Setup) -> Iterator[Finding]:
    if not proc_is_ours():
        what = "is not there" if not os.path.exists("/proc/self") else "shows other processes"
        text = f"/proc {what}: nobody can see when a script ends, so runs are not watched"
        yield Finding("note", "processes", text, "mount -t proc proc /proc")


def open_files(setup: Setup) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield Finding("ok", "open files", "any number")
    elif hard <= FILES_LOW:
        text = f"at most {hard}: room for about {hard * 2 // 3} waiting scripts at once"
        yield Finding("note", "open files", text, "raise the hard limit: ulimit -Hn, LimitNOFILE=")
    else:
        yield Finding("ok", "open files", f"at most {hard:,}")
