"""Shell completion: unit names from the running coordinator, and choices."""

import contextlib
import io
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import typer

from unitsync.link.conversation import Autostart, May
from unitsync.verb.perform import converse

_WAIT_S = 1.0
_PLAIN = frozenset("_%+=:./-@")


@contextlib.contextmanager
def as_bash_has_it() -> Iterator[None]:
    """Join the words that bash has split, and print only what it expects.

    bash ends a word at ":", "=" and "@" (COMP_WORDBREAKS), passes the parts on, and replaces only
    the last part with what it gets."""
    if os.environ.get("_UNITSYNC_COMPLETE") != "complete_bash":
        yield
        return
    given = os.environ.get("COMP_WORDS", "").split("\n")
    at = int(os.environ.get("COMP_CWORD") or 0)
    words: list[str] = []
    begun = ""
    """The part of the last word that bash keeps."""
    joins = False
    for word in given[: at + 1]:
        breaks = bool(words) and word in (":", "=", "@")
        if breaks or joins:
            begun = words[-1] + (word if breaks else "")
            words[-1] += word
        else:
            begun = ""
            words.append(word)
        joins = breaks
    os.environ["COMP_WORDS"] = "\n".join(words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    whole = io.StringIO()
    try:
        with contextlib.redirect_stdout(whole):
            yield
    finally:
        for line in whole.getvalue().splitlines():
            print(line.removeprefix(begun.partition("=")[2] or begun))


def unit_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names on the first page of ``list`` that begin with *incomplete*: registered units
    first, then names that are only waited for.

    Starts no coordinator. On any error there are no names, because a message would be
    printed into the line that the user is typing. Names that a shell would not read as one
    plain word are left out, because shells insert (zsh: evaluate) them raw.
    """
    endpoint = ctx.params.get("endpoint")
    if endpoint is None:
        endpoint = ctx.find_root().params.get("endpoint")
    given = set(ctx.params.get("units") or ()) | set(ctx.params.get("prerequisites") or ())
    given.add(ctx.params.get("unit"))
    try:
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, _WAIT_S)
        request = {"verb": "list", "render": "none"}
        reply = converse(endpoint or "", request, May(looks=True, autostart=Autostart.NEVER))
    except Exception:
        return []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if reply.result != "list":
        return []
    return [
        unit.name
        for unit in reply.units
        if unit.name.startswith(incomplete)
        and unit.name not in given
        and all(char.isalnum() or char in _PLAIN for char in unit.name)
    ]


def listed_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same for the last of several names that are separated by commas."""
    before, comma, last = incomplete.rpartition(",")
    given = set(before.split(","))
    return [f"{before}{comma}{name}" for name in unit_names(ctx, last) if name not in given]


class _TimeIsUp(Exception):
    """No TimeoutError: for a conversation that is a reply that is overdue, which it repeats."""


def _give_up(number: int, frame: FrameType | None) -> NoReturn:
    raise _TimeIsUp
