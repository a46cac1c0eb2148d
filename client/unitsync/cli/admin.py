"""The verbs that are not in verbs.py: serve, stop, doctor and shim, about the coordinator and
the set-up."""

import os
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import typer

from unitsync import wire
from unitsync.cli.typer_commands import Endpoint, OutputFormat, option
from unitsync.cli.verb import Verb, Verbs, example
from unitsync.clients import verbs as client_verbs
from unitsync.doctor import examine, report
from unitsync.errors import UsageError
from unitsync.output.answers import finish, print_err, print_lines
from unitsync.owner import calling_script
from unitsync.text.terminal import stdout
from unitsync.verb.commandline import choice, in_shim
from unitsync.verb.perform import converse
from unitsync.verb.verbs import COORDINATOR, ENDPOINT, OUTPUTS, Flag


def register(app: typer.Typer) -> None:
    """Add these verbs to *app*."""
    for verb, call in (
        (serve, "unitsync serve --allow developers --log-level debug"),
        (stop, "unitsync stop"),
        (doctor, "unitsync doctor"),
    ):
        app.command(cls=Verb, epilog=example(call), rich_help_panel=COORDINATOR)(verb)

    install = example("sudo unitsync shim install /usr/local/bin")
    shim = typer.Typer(cls=Verbs, rich_markup_mode=None, subcommand_metavar="install DIR")
    shim.callback(invoke_without_command=True, epilog=install)(shim_help)
    shim.command("install", cls=Verb, epilog=install)(shim_install)
    app.add_typer(shim, name="shim", rich_help_panel=COORDINATOR)


_ALLOW = Flag(
    "--allow",
    "Who may use it besides its own user and root; may be repeated (UNITSYNC_ALLOW).",
    metavar="USER|GROUP",
)
_LOG_LEVEL = Flag(
    "--log-level",
    "trace, debug, info, warning or error (UNITSYNC_LOG_LEVEL).",
    metavar="LEVEL",
)


_HOSTS = Flag(
    "--hosts",
    "Servers of the log that the hosts of a job share; may be repeated (UNITSYNC_HOSTS).",
    metavar="URL",
)
_JOB = Flag("--job", "The job that spans hosts (UNITSYNC_JOB).", metavar="JOB")
_HOST = Flag(
    "--host",
    "The name of this host in the job; the host name if not given (UNITSYNC_HOST).",
    metavar="HOST",
)
_EXPECTED = Flag(
    "--hosts-expected",
    "How many hosts UNIT@* is about (UNITSYNC_HOSTS_EXPECTED).",
    metavar="N",
)
_ON_HOST_LOST = Flag(
    "--on-host-lost",
    "Whether waits for a host that is silent go on or fail, after how long "
    "(UNITSYNC_ON_HOST_LOST).",
    metavar="wait|fail[:DURATION]",
)
_TAKE_OVER = Flag("--take-over", "Take the name of this host, whoever has it.", field="take_over")
_METRICS = Flag(
    "--metrics",
    "Where Prometheus finds metrics: HOST:PORT of this machine, or unix:PATH (UNITSYNC_METRICS).",
    metavar="ADDRESS",
)
_PER_UNIT = Flag(
    "--metrics-per-unit",
    "Show up to so many units by name in them (UNITSYNC_METRICS_PER_UNIT).",
    metavar="N",
    field="metrics_per_unit",
)
_OTLP = Flag(
    "--otlp",
    "Send each startup to this collector of OpenTelemetry, as a trace (UNITSYNC_OTLP).",
    metavar="URL",
)


def serve(
    ctx: typer.Context,
    allow: Annotated[list[str] | None, option(_ALLOW)] = None,
    log_level: Annotated[str | None, option(_LOG_LEVEL)] = None,
    hosts: Annotated[list[str] | None, option(_HOSTS)] = None,
    job: Annotated[str | None, option(_JOB)] = None,
    host: Annotated[str | None, option(_HOST)] = None,
    hosts_expected: Annotated[str | None, option(_EXPECTED)] = None,
    on_host_lost: Annotated[str | None, option(_ON_HOST_LOST)] = None,
    take_over: Annotated[bool, option(_TAKE_OVER)] = False,
    metrics: Annotated[str | None, option(_METRICS)] = None,
    metrics_per_unit: Annotated[str | None, option(_PER_UNIT)] = None,
    otlp: Annotated[str | None, option(_OTLP)] = None,
    endpoint: Endpoint = None,
) -> int:
    """Run the coordinator in the foreground.

    Only needed to see it work or to put it under a supervisor: the first verb starts
    one by itself. With --hosts and --job it is one host of a job that spans several.
    """
    from unitsyncd import daemon

    arguments = ["--take-over"] if take_over else []
    for flag, value in (
        (ENDPOINT.name, endpoint or ctx.obj or None),
        (_LOG_LEVEL.name, log_level),
        (_HOSTS.name, ",".join(hosts) if hosts else None),
        (_JOB.name, job),
        (_HOST.name, host),
        (_EXPECTED.name, hosts_expected),
        (_ON_HOST_LOST.name, on_host_lost),
        (_METRICS.name, metrics),
        (_PER_UNIT.name, metrics_per_unit),
        (_OTLP.name, otlp),
    ):
        if value is not None:
            arguments += [flag, str(value)]
    for who in allow or ():
        arguments += ["--allow", who]
    return daemon.main(arguments)


def stop(ctx: typer.Context, endpoint: Endpoint = None) -> int:
    """End the coordinator and keep its state for the next start."""
    from unitsync.link import endpoint as endpoints

    resolved = endpoints.resolve(endpoint or ctx.obj)
    request = {
        "verb": "stop",
        "render": "coder" if in_shim(os.environ) else "text",
        "owner": calling_script.calling_owner(sys.argv),
    }
    reply = converse(resolved.address, request, wire.Stop.may)
    if reply.result == "ok":
        # Not by waiting for a connection to break: there may be room for only one client.
        deadline = monotonic() + client_verbs.STOP_PATIENCE_S
        while reply.changed and endpoints.is_held(resolved):
            if monotonic() >= deadline:
                raise client_verbs.not_ended(resolved.address)
            sleep(_STOP_LOOK_S)
        return finish(reply, reply.out or ["stopped"], done=True)
    return finish(reply)


_STOP_LOOK_S = 0.01


def doctor(
    ctx: typer.Context,
    output: OutputFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Check this set-up and say what to do about what is wrong.

    Leaves nothing behind and changes nothing. Exits with 1 if there is a problem; if a
    change would be refused, that is one.
    """
    findings = list(examine(endpoint or ctx.obj))
    if choice(output or "table", OUTPUTS, "--output") == "json":
        from unitsync.output import json_output

        print_lines([json_output.json_text([finding._asdict() for finding in findings])])
    else:
        print_lines(report(findings, stdout()))
    return int(any(finding.level == "problem" for finding in findings))


def shim_help(ctx: typer.Context) -> None:
    """Make `coder exp sync` call unitsync."""
    if ctx.invoked_subcommand is None:
        print_lines(ctx.get_help().splitlines())


def shim_install(
    ctx: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder on PATH.", show_default=False)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace another coder that is there.")
    ] = False,
    endpoint: Endpoint = None,
) -> int:
    """Write the shim, a small program `coder`, into DIR.

    It hands `coder exp sync ...` to unitsync; everything else goes on to the next
    `coder` on PATH. With --endpoint, everybody who calls it uses that coordinator.
    """
    from unitsync.coder import shim
    from unitsync.link import endpoint as endpoints

    if not folder:
        raise UsageError(
            "DIR is empty, as from an unset variable", hint="unitsync shim install DIR"
        )
    address = endpoint or ctx.obj or ""
    if address:
        endpoints.resolve(address)
    path, advice = shim.install(Path(folder), force=force, endpoint=address)
    print_lines([f"installed {path}"])
    print_err(advice)
    return 0
