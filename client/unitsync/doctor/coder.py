"""Checks of ``doctor``: which ``coder`` a script runs, and which coordinator that reaches."""

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from unitsync import errors
from unitsync.coder import shim
from unitsync.doctor.finding import Finding, Setup
from unitsync.link import endpoint as endpoints

_ABOUT = "coder"


def command(setup: Setup) -> Iterator[Finding]:
    programs = shim.programs()
    shims = [program for program in programs if shim.is_shim(program)]
    if not programs:
        yield Finding("ok", _ABOUT, "no coder on PATH")
        return
    first = programs[0]
    if not shims:
        hint = "unitsync shim install DIR, with DIR before it on PATH"
        yield Finding("note", _ABOUT, f"{first} is not the shim: coder exp sync is its own", hint)
        return
    if first not in shims:
        text = f"scripts find {first} first, not the shim {shims[0]}: they do not come here"
        hint = f"put {shims[0].parent} before {first.parent} on PATH"
        if first.is_symlink():
            hint = f"rm {shlex.quote(str(first))}, or {hint}"
        yield Finding("problem", _ABOUT, text, hint)
    for program in shims:
        yield from _shim(setup, program, first=program == first)


def _shim(setup: Setup, program: Path, *, first: bool) -> Iterator[Finding]:
    """Whether *program* can be run, and which coordinator it talks to."""
    try:
        made_with = shim.settings_of(program)
    except OSError as exc:
        yield Finding("problem", _ABOUT, f"{program} cannot be read: {exc.strerror}")
        return
    again = f"unitsync shim install --force {shlex.quote(str(program.parent))}"
    python = made_with.get("python", "")
    if not os.access(python, os.X_OK) and shutil.which("unitsync") is None:
        yield Finding("problem", _ABOUT, f"{program} is the shim, but there is no {python}", again)
        return
    said = "is the shim" if first else "is a shim as well"
    named = made_with.get("endpoint") or None
    try:
        theirs = endpoints.resolve(named)
    except errors.UnitsyncError as wrong:
        yield Finding("problem", _ABOUT, f"{program} {said}: {wrong.message}", again)
        return
    if setup.endpoint is None or os.path.realpath(theirs.path) == os.path.realpath(
        setup.endpoint.path
    ):
        text = f"{program} {said}: coder exp sync means unitsync, at the same coordinator"
        yield Finding("ok", _ABOUT, text)
    else:
        hint = f"{again} --endpoint {setup.endpoint.address}"
        yield Finding("note", _ABOUT, f"{program} {said}, and talks to {theirs.address}", hint)
