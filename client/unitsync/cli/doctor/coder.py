"""Checks of ``doctor``: which ``coder`` a script gets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from unitsync.cli import shim
from unitsync.cli.doctor.finding import Finding, Setup


def command(setup: Setup) -> Iterator[Finding]:
    found = shutil.which("coder")
    if found is None:
        yield Finding("ok", "coder", "no coder on PATH")
    elif shim.is_shim(Path(found)):
        yield Finding("ok", "coder", f"{found} is the shim: coder exp sync means unitsync")
    else:
        hint = "unitsync shim install DIR, with DIR before it on PATH"
        yield Finding("note", "coder", f"{found} is not the shim: coder exp sync is its own", hint)
