"""The verbs that show what happens in a startup and why it took so long. Described as those in
verbs.py of the package are.
"""

from unitsync.link.conversation import Autostart, May
from unitsync.verb.verbs import LOOKING_BACK, OUTPUT, Flag, Verb

STARTUP = Flag(
    "--startup",
    "Which startup: 0 is the latest, -1 the one before. Default: 0.",
    metavar="N",
)
FROM = Flag("--from", "Read this file, made by export, instead.", metavar="FILE")
ALL = Flag("--all", "Show all units, however many there are.", field="all")
PICTURE = Flag(
    "--output",
    "json, or a file whose ending says what it becomes: .svg, .html, or .json for Perfetto and "
    "chrome://tracing. Default: bars.",
    short="-o",
    metavar="json|FILE",
)
GRAPH = Flag(
    "--output",
    "A file whose ending says what it becomes: .dot, .mmd (Mermaid) or .svg. Default: DOT, to "
    "stdout.",
    short="-o",
    metavar="FILE",
)
FOLLOW = Flag("--follow", "Go on with what comes, until Ctrl-C.", short="-f", field="follow")
AFTER_EVENT = Flag("--since", "Only what came after the event with this number.", metavar="N")
OTLP = Flag(
    "--otlp",
    "The collector, for example http://localhost:4318 (UNITSYNC_OTLP, "
    "OTEL_EXPORTER_OTLP_ENDPOINT).",
    metavar="URL",
)
LISTEN = Flag(
    "--listen",
    "HOST:PORT, or unix:PATH of a socket (UNITSYNC_WEB). With port 0 it takes one that is free. "
    "Default: 127.0.0.1:7711.",
    metavar="ADDRESS",
    variable="UNITSYNC_WEB",
)
PREFIX = Flag(
    "--prefix",
    "What all paths begin with, if a proxy sends that along.",
    metavar="PATH",
)
ALLOWED_HOST = Flag(
    "--allowed-host",
    "A name by which a proxy calls it, or '*.NAME' for all below; may be repeated.",
    metavar="NAME",
    many=True,
)
FRAMED_BY = Flag(
    "--framed-by",
    "An origin whose pages may show it in a frame, besides its own; may be repeated.",
    metavar="URL",
    many=True,
)
NO_TOKEN = Flag(
    "--no-token",
    "Ask for no token: for a proxy that asks who it is. Every user of this machine gets in, too, "
    "unless it is unix:PATH.",
    field="no_token",
)
EACH = Flag(
    "--follow",
    "Send each startup when it has come to its end, until Ctrl-C.",
    short="-f",
    field="follow",
)
KEPT = Flag("--all", "All startups that are kept, not only one.", field="all")
_MODULE = "unitsync.startup.command"
_LOOK = May(looks=True, autostart=Autostart.IF_THERE_IS_A_JOURNAL)
_FOLLOW = May(looks=True, autostart=Autostart.NEVER)
"""Of what waits for a coordinator."""
HOSTS = Flag("--hosts", "The units of all hosts of the job, from its log.", field="hosts")
_OF_ONE = (STARTUP, FROM)
_OR_JOB = (*_OF_ONE, HOSTS)

_ALL = (
    Verb(
        "events",
        LOOKING_BACK,
        (),
        (FOLLOW, AFTER_EVENT, FROM, OUTPUT),
        """Show everything that happened, in order.

        A line for each event of the startups that are kept: registered, started, ended, skipped
        and so on. Each has a number. A reader that comes back with the last one, in --since, misses
        nothing and sees nothing twice.
        """,
        "unitsync events --follow --output json | jq -r 'select(.event == \"ended\") | .unit'",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "watch",
        LOOKING_BACK,
        (("units", "[UNIT]...", "Names, or quoted patterns: 'git-*'."),),
        (),
        """See what is going on, in the terminal.

        Units by state, how long they have run, which waits for which, and the last line of their
        output. Arrow keys choose a unit and show why it waits and its output, / filters, ? helps,
        q leaves.
        """,
        "unitsync watch",
        module="unitsync.watch.command",
        may=_FOLLOW,
    ),
    Verb(
        "web",
        LOOKING_BACK,
        (),
        (LISTEN, PREFIX, ALLOWED_HOST, FRAMED_BY, NO_TOKEN),
        """See what is going on, in a browser.

        Serves a page with the timeline, which stays up to date: what ran when, what waits for
        what, and of each unit its notes, why it waits and the end of its output. Prints the link
        to it, with a token that keeps others out. Changes nothing.
        """,
        "unitsync web",
        module="unitsync.web.command",
        may=_FOLLOW,
    ),
    Verb(
        "timeline",
        LOOKING_BACK,
        (),
        (*_OR_JOB, ALL, PICTURE),
        """Show what ran when, as bars.

        Each unit has a part in which it waits and one in which it runs. The critical path stands
        out: the chain of units that decided the end.
        """,
        "unitsync timeline -o boot.html",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "critical-path",
        LOOKING_BACK,
        (("unit", "[UNIT]", "What decided when this unit ended. Default: the whole startup."),),
        (*_OR_JOB, ALL, OUTPUT),
        """Show the chain of units that decided the end.

        Each with its own time and its share of the whole. Below it: how much later each of the
        other units could have ended without any harm.
        """,
        "unitsync critical-path ide",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "blame",
        LOOKING_BACK,
        (),
        (*_OR_JOB, ALL, OUTPUT),
        """Show how much sooner all would end without each unit.

        That is what a shorter unit can gain, and it is often less than the unit's own time: others
        run beside it.
        """,
        "unitsync blame",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "what-if",
        LOOKING_BACK,
        (
            (
                "changes",
                "CHANGE...",
                "UNIT=0, =2m, =-50%, =+10s; UNIT:-PREREQUISITE, UNIT:+PREREQUISITE; parallel=N.",
            ),
        ),
        (*_OR_JOB, ALL, OUTPUT),
        """Compute the end with other times, edges or limits.

        From what was measured: nothing is run. Says the new end and the new critical path. Quoted
        patterns stand for all units that match: 'git-*=-50%'.
        """,
        "unitsync what-if clone=0 deps=-50% ide:-deps parallel=4",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "graph",
        LOOKING_BACK,
        (),
        (*_OR_JOB, GRAPH),
        """Draw what waits for what.

        The states in colour, the critical path bold.
        """,
        "unitsync graph -o startup.svg",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "startups",
        LOOKING_BACK,
        (),
        (FROM, OUTPUT),
        """List the startups that are kept, the latest first.

        The number is what --startup takes.
        """,
        "unitsync startups",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "compare",
        LOOKING_BACK,
        (("earlier", "[N]", "The startup to compare with: -1 is the one before. Default: -1."),),
        (*_OF_ONE, ALL, OUTPUT),
        """Compare a startup with an earlier one.

        Says what got slower or faster, what is new or gone, and what failed then and not now. With
        three earlier startups or more, it also says what is only noise.
        """,
        "unitsync compare -1",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "export",
        LOOKING_BACK,
        (("file", "FILE", "The new file; - is stdout."),),
        (STARTUP, KEPT),
        """Write a startup to a file, to take it elsewhere.

        For example to send it with a bug report. All other verbs of this section read it with
        --from. It holds the names of units, the command lines and folders of their scripts, and
        why they failed.
        """,
        "unitsync export startup.jsonl",
        module=_MODULE,
        may=_LOOK,
    ),
    Verb(
        "trace",
        LOOKING_BACK,
        (),
        (OTLP, EACH, *_OF_ONE),
        """Send a startup as a trace of OpenTelemetry.

        A span for each unit, with its waiting and its runs below it and links to its
        prerequisites. Commands find their run in TRACEPARENT, so their own spans hang below it.
        A unit that still runs has lasted until now. The spans hold the command lines and folders
        of scripts.
        """,
        "unitsync trace --otlp http://localhost:4318",
        module=_MODULE,
        may=_LOOK,
    ),
)
LOOKING_BACK_VERBS = {verb.name: verb for verb in _ALL}
