"""Names of units on other hosts: ``UNIT@HOST`` is a unit of that host, ``UNIT@*:8`` stands for
the unit on any eight hosts, and ``UNIT@*`` for it on as many as the job expects.

No unit name holds an ``@``. So each text is one or the other.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from unitsync.errors import InvalidName, UsageError
from unitsync.names.unit_names import check_name
from unitsync.text.printing import quoted, safe

ANY: Final = "*"
"""In the place of a host: all of them."""
HOSTS_MAX: Final = 1000
"""Hosts that a job may have."""
HOST_BYTES_MAX: Final = 64
"""Of what may follow a unit name: the ``@`` and a host, or how many."""

_LABEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_RULE: Final = "1 to 63 letters, digits, _ and -, not beginning with -"


class RemoteName(NamedTuple):
    unit: str
    host: str
    """ANY if it is about the unit on several hosts."""
    hosts: int = 0
    """How many, if ``host`` is ANY; 0 for as many as the job expects."""

    def __str__(self) -> str:
        return f"{self.unit}@{self.host}" + (f":{self.hosts}" if self.hosts else "")


def is_remote(text: str) -> bool:
    return "@" in text


def remote_name(text: str) -> RemoteName:
    """What *text*, which holds an ``@``, stands for. Raises InvalidName."""
    unit, _, where = text.rpartition("@")
    host, colon, digits = where.partition(":")
    if not {"*", "?", "["}.isdisjoint(unit):
        raise InvalidName(
            f"{quoted(text)} names no unit: no pattern can stand before an @",
            hint="name each unit; all hosts of a job are UNIT@*",
            name=text,
        )
    check_name(unit)
    if host != ANY:
        check_host(where)
        return RemoteName(unit, where)
    hosts = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    if colon and not 1 <= hosts <= HOSTS_MAX:
        raise InvalidName(
            f"{quoted(text)} does not name hosts: after @*: comes how many, 1 to {HOSTS_MAX:,}",
            hint=f"for example {unit}@*:8",
            name=text,
        )
    return RemoteName(unit, ANY, hosts)


def check_here(name: str, verb: str) -> None:
    """Raise UsageError if *name* is that of a unit on another host: the *verb* is only for those
    of this one."""
    if is_remote(name):
        unit, _, host = name.rpartition("@")
        where = f"on {host}: " if host[:1] != ANY else ""
        raise UsageError(
            f"{verb} is for units of this host, and {quoted(name)} names another",
            hint=f"{where}unitsync {verb} {safe(unit)}",
        )


def check_host(host: str) -> None:
    """Raise InvalidName unless *host* can be the name of a host."""
    if not _LABEL.fullmatch(host):
        raise InvalidName(f"{quoted(host)} is not the name of a host: {_RULE}", name=host)


def check_job(job: str) -> None:
    """Raise UsageError unless *job* can be the name of a job."""
    if not _LABEL.fullmatch(job):
        raise UsageError(f"{quoted(job)} is not the name of a job: {_RULE}")


def with_count(names: Iterable[str], count: int) -> list[str]:
    """*names*, where those of a unit on all hosts are about *count* of them instead. Raises
    UsageError if there is none, or if the count is not possible."""
    counted = [f"{name}:{count}" if name.endswith("@*") else name for name in names]
    if counted == list(names):
        if told := next((name for name in names if "@*:" in name), ""):
            unit = told.partition("@")[0]
            raise UsageError(
                f"--count: {quoted(told)} says already on how many hosts",
                hint=f"{unit}@*:{count}, or {unit}@* with --count {count}",
            )
        raise UsageError(
            "--count says how many hosts UNIT@* is about, and there is no UNIT@*",
            hint="for example --after 'ready@*' --count 8",
        )
    if not 1 <= count <= HOSTS_MAX:
        raise UsageError(f"--count: 1 to {HOSTS_MAX:,} hosts, not {count}")
    return counted
