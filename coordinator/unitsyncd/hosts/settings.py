"""What a coordinator is told about its job and its log, by options and environment."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import socket
import ssl
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from unitsync.errors import InvalidName, UsageError, not_installed
from unitsync.names.remote_names import HOSTS_MAX, check_host, check_job
from unitsync.text.durations import seconds_in

GRACE_S: Final = 60.0
"""How long a host may be silent before ``--on-host-lost fail`` counts it as lost. It has to be
more than a leader's election (8 s) and a name's take-over (20 s) take."""
API_PREFIX: Final = "$JS.API"
_PREFIX: Final = re.compile(r"[A-Za-z0-9$_-]+(\.[A-Za-z0-9$_-]+)*")
_SCHEMES: Final = ("nats", "tls")
_LABEL_MAX: Final = 63


@dataclass
class Options:
    """Of ``serve``: "" or None where the option is not given."""

    hosts: str | None = None
    job: str | None = None
    host: str | None = None
    hosts_expected: str | None = None
    take_over: bool = False
    on_host_lost: str | None = None


class HostsSettings(msgspec.Struct, frozen=True):
    servers: list[str]
    job: str
    host: str
    expected: int = 0
    """Hosts of the job; 0 if nobody said."""
    take_over: bool = False
    """Take the name of this host, whoever has it."""
    fail_when_lost: bool = False
    """End waits for a host that is silent for ``grace_s``."""
    grace_s: float = GRACE_S
    credentials: str = ""
    """File with a NATS user's JWT and seed."""
    api_prefix: str = API_PREFIX
    """Under which subjects JetStream takes requests: another one where the log is in another
    account, or in a domain."""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def addresses(self) -> str:
        """The servers, without passwords and tokens."""
        return ", ".join(address(server) for server in self.servers)

    def tls(self) -> ssl.SSLContext | None:
        """Raises UsageError if the files are no certificates."""
        if not (self.tls_ca or self.tls_cert):
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
            if self.tls_cert:
                context.load_cert_chain(self.tls_cert, self.tls_key or None)
        except (OSError, ssl.SSLError) as problem:
            raise UsageError(
                f"the TLS files for the log cannot be used: {problem}",
                hint="PEM files in UNITSYNC_HOSTS_TLS_CA, _CERT and _KEY",
            ) from None
        return context


def hosts_settings(
    options: Options | Namespace, environment: Mapping[str, str]
) -> HostsSettings | None:
    """None if this coordinator is alone. Raises UsageError."""
    servers = (options.hosts or environment.get("UNITSYNC_HOSTS", "")).replace(",", " ").split()
    job = options.job or environment.get("UNITSYNC_JOB", "")
    if not servers:
        if options.hosts is not None or options.job is not None:
            raise UsageError(
                "a job that spans hosts needs the servers of its log",
                hint="--hosts nats://HOST:4222, or UNITSYNC_HOSTS",
            )
        return None
    for server in servers:
        _check_server(server)
    if not job:
        raise UsageError(
            "a coordinator that is one of several hosts needs the name of their job",
            hint="--job JOB, or UNITSYNC_JOB; the same on all hosts, another one for each run",
        )
    try:
        check_job(job)
    except InvalidName as problem:
        raise UsageError(problem.message, hint="--job JOB, or UNITSYNC_JOB") from None
    check_library()
    fails, grace_s = _on_host_lost(
        options.on_host_lost or environment.get("UNITSYNC_ON_HOST_LOST", "")
    )
    settings = HostsSettings(
        servers=servers,
        job=job,
        host=_host(options.host or environment.get("UNITSYNC_HOST", "")),
        expected=_expected(options.hosts_expected, environment),
        take_over=options.take_over,
        fail_when_lost=fails,
        grace_s=grace_s,
        credentials=_file(environment, "UNITSYNC_HOSTS_CREDS"),
        api_prefix=_api_prefix(environment),
        tls_ca=_file(environment, "UNITSYNC_HOSTS_TLS_CA"),
        tls_cert=_file(environment, "UNITSYNC_HOSTS_TLS_CERT"),
        tls_key=_file(environment, "UNITSYNC_HOSTS_TLS_KEY"),
    )
    settings.tls()
    return settings


def check_library() -> None:
    """Raise UsageError if the library that speaks to the log is not installed."""
    if importlib.util.find_spec("nats") is None:
        raise not_installed("unitsync speaks to the log of a job", "nats-py", "hosts")


def address(server: str) -> str:
    """The URL of a *server* without its password or token."""
    scheme, _, rest = server.rpartition("://")
    return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


def own_name() -> str:
    """The name of this machine, up to its first dot, as the name of a host."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])
    return plain.lstrip("-")[:_LABEL_MAX] or "localhost"


def _check_server(server: str) -> None:
    try:
        parts = urlsplit(server if "://" in server else f"nats://{server}")
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        usable = usable and parts.username != "" and not (parts.path.strip("/") or parts.query)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"{address(server)} is not the URL of a NATS server",
            hint="for example nats://log-1:4222, or nats://TOKEN@log-1:4222 with a token of "
            "letters, digits, - and _",
        )


def _host(named: str) -> str:
    if not named:
        return own_name()
    try:
        check_host(named)
    except InvalidName as problem:
        raise UsageError(problem.message, hint="--host NAME, or UNITSYNC_HOST") from None
    return named


def _expected(option: str | None, environment: Mapping[str, str]) -> int:
    text = environment.get("UNITSYNC_HOSTS_EXPECTED", "") if option is None else option
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= HOSTS_MAX):
        raise UsageError(
            f"a job has 1 to {HOSTS_MAX:,} hosts, not {text}",
            hint="--hosts-expected N, or UNITSYNC_HOSTS_EXPECTED",
        )
    return int(text)


def _on_host_lost(text: str) -> tuple[bool, float]:
    """(whether waits fail, after how many seconds)"""
    what, colon, after = (text or "wait").partition(":")
    grace_s = seconds_in(after) if colon else GRACE_S
    if what not in ("wait", "fail") or (colon and what == "wait"):
        grace_s = None
    if grace_s is None or not math.isfinite(grace_s):
        raise UsageError(
            f"--on-host-lost is wait, fail or fail:DURATION, not {text}",
            hint="for example --on-host-lost fail:2m",
        )
    return what == "fail", grace_s


def _api_prefix(environment: Mapping[str, str]) -> str:
    prefix = environment.get("UNITSYNC_HOSTS_API_PREFIX", "") or API_PREFIX
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(
            f"UNITSYNC_HOSTS_API_PREFIX: {prefix!a} is no subject",
            hint=f"{API_PREFIX} if it is not set, or $JS.DOMAIN.API",
        )
    return prefix


def _file(environment: Mapping[str, str], variable: str) -> str:
    path = environment.get(variable, "")
    if path and not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read", hint=f"{variable} names a file")
    return path and os.path.abspath(path)  # it is kept, for a coordinator in another folder
