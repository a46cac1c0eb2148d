"""The verbs that are more than one request: those that run and end commands, and read what they
printed. Described as those in verbs.py are.

``module`` names where a verb's ``main`` is. Loaded only for one of these verbs, and for help.
"""

from unitsync.link.conversation import ACT, ACT_IF_THERE, Autostart, May
from unitsync.verb.verbs import ACROSS_HOSTS, OUTPUT, PEOPLE, PLANS, Flag, Verb

_NEEDS_NONE = May(looks=True, autostart=Autostart.NEVER)
"""Of what only looks, and does so without a coordinator too."""
_OF_WHAT_RAN = May(acts=True, autostart=Autostart.IF_STATE_IS_KEPT)
"""Where nothing is kept, nothing has run."""

ONLY = Flag(
    "--only",
    "Run only this unit and what it needs. May be given several times; commas work too.",
    metavar="UNIT",
    completes="several",
    many=True,
)
DRY_RUN = Flag("--dry-run", "Only show what would run, in which order.", field="dry_run")
FAIL_FAST = Flag("--fail-fast", "End everything as soon as one unit fails.", field="fail_fast")
DETACH = Flag(
    "--detach",
    "Run it in the background: return as soon as something runs or waits.",
    short="-d",
    field="detach",
)
SCHEMA = Flag(
    "--schema",
    "Print the JSON Schema of plans, with which editors check and complete.",
    field="schema",
)

OUT = Flag("--out", "Write the plan to this new file. Default: stdout.", short="-o", metavar="PLAN")
PHASE = Flag(
    "--phase",
    "Of a template: the scripts that run when a workspace starts, or when it is stopped. "
    "Default: start.",
    choices=("start", "stop"),
)
AGENT = Flag("--agent", "Of a template with several agents: the one to import.", metavar="NAME")
PLAN_JSON = Flag(
    "--plan-json",
    "In place of a template: what terraform show -json prints of a plan of it.",
    metavar="FILE",
)

_PLANS = ("plans", "[PLAN]...", "The files. Default: unitsync.toml here, or in a folder above.")

FOLLOW = Flag("--follow", "Go on with what comes, until Ctrl-C.", short="-f", field="follow")
SINCE = Flag(
    "--since", "Only what came in the last e.g. 10m, also of earlier runs.", metavar="DURATION"
)
RUN = Flag("--run", "Only this run. Default: the latest.", metavar="N")
END_GRACE = Flag(
    "--grace",
    "How long they may take to end. Default: 10s, or what the plan says.",
    metavar="DURATION",
)
WITH_DEPENDENTS = Flag(
    "--with-dependents", "Also what waits for them, directly or not.", field="with_dependents"
)
SERVERS = Flag(
    "--hosts",
    "Servers of the log; may be repeated (UNITSYNC_HOSTS).",
    metavar="URL",
    many=True,
)
YES = Flag("--yes", "Do not ask, at a terminal.", short="-y", field="yes")
ALLOW_CHANGES = Flag(
    "--allow-changes",
    "Also offer tools that change something: start, complete, fail, note, rerun, reset.",
    field="allow_changes",
)
_UNITS = ("units", "UNIT...", "The units' names.")

_ALL = (
    Verb(
        "up",
        PLANS,
        (_PLANS,),
        (ONLY, DRY_RUN, FAIL_FAST, DETACH),
        """Run all units of a plan, each the moment it may.

        Ends when all of them have ended, with 0 only if none has failed. Ctrl-C ends them in
        reverse order; a second one kills them. Units that have completed in this startup, and have
        not changed since, are left alone. If the plan is up already, that `up` takes over what is
        new.
        """,
        "unitsync up --only ide",
        module="unitsync.up.commands",
        may=ACT,
    ),
    Verb(
        "down",
        PLANS,
        (_PLANS,),
        (),
        """End what `up` runs, in reverse order.

        Returns when everything has ended. Units that have completed stay completed.
        """,
        "unitsync down",
        module="unitsync.up.commands",
        may=ACT_IF_THERE,
    ),
    Verb(
        "check",
        PLANS,
        (_PLANS,),
        (OUTPUT, SCHEMA),
        """Find every mistake in a plan, without running anything.

        Each is told with file, line, column and what to do; the exit status is then 5. Anything
        that keeps a command from running on this machine is a mistake too, such as a script that
        is missing.
        """,
        "unitsync check --output json | jq -r '.[] | .message'",
        module="unitsync.up.commands",
        may=_NEEDS_NONE,
    ),
    Verb(
        "import",
        PLANS,
        (
            ("kind", "KIND", "What to import: coder, compose, procfile or make."),
            ("source", "[SOURCE]", "The folder of a Coder template, or the file."),
        ),
        (OUT, PHASE, AGENT, PLAN_JSON),
        """Make a plan from a Coder template, a compose file, a Procfile or a Makefile.

        Runs nothing and guesses nothing: it says on stderr, line by line, what it left out and
        what it cannot know. The plan lists what is open, and `check` refuses it until you have
        filled that in.
        """,
        "unitsync import compose compose.yml -o unitsync.toml",
        module="unitsync.importing.command",
        may=_NEEDS_NONE,
    ),
    Verb(
        "job",
        ACROSS_HOSTS,
        (
            ("action", "create|end", "What to do with the log of the job."),
            ("job", "JOB", "The job's name: another one for each run."),
        ),
        (SERVERS, YES),
        """Make the log of a job that spans hosts, or end the job.

        The first host makes the log by itself, if it may: then nobody needs `create`. `end`
        removes the log. Hosts that still run are told that the job is over, and their waits for
        other hosts end with 69. At a terminal it asks first. JOB has to be named here:
        UNITSYNC_JOB does not stand for it.
        """,
        "unitsync job create train-17 --hosts nats://log-1:4222",
        module="unitsync.job.command",
        may=ACT_IF_THERE,
    ),
    Verb(
        "logs",
        PEOPLE,
        (("units", "[UNIT]...", "Names, or quoted patterns: 'git-*'."),),
        (FOLLOW, SINCE, RUN),
        """Show the output of units of a plan, and of what was run with --log.

        Of each unit the latest run that has printed something, each line with the time (UTC) at
        which it came. Without a name: all units, in the order of time.
        """,
        "unitsync logs deps --follow",
        module="unitsync.logs.command",
        may=_NEEDS_NONE,
    ),
    Verb(
        "kill",
        PEOPLE,
        (_UNITS,),
        (END_GRACE,),
        """End the commands of units.

        Each command's process group gets SIGTERM, and SIGKILL if it has not ended after the
        grace. There is no retry. Waits until all have ended. Only for units that `run` or a plan
        has started; for others it says what to call.
        """,
        "unitsync kill db --grace 30s",
        module="unitsync.run.kill",
        may=_OF_WHAT_RAN,
    ),
    Verb(
        "rerun",
        PEOPLE,
        (("units", "UNIT...", "Names, or quoted patterns: 'git-*'."),),
        (WITH_DEPENDENTS,),
        """Run units again, as they were run the last time.

        For units that `run` or a plan has started; for others it says what to call. Each runs in
        the same folder and with the same words, but those of `run` get the environment of this
        call. Several run in the order of their prerequisites. Exits with the status of the first
        that fails. Units that an `up` still runs are ended first.
        """,
        "unitsync rerun deps --with-dependents",
        module="unitsync.run.rerun",
        may=_OF_WHAT_RAN,
    ),
    Verb(
        "mcp",
        PEOPLE,
        (),
        (ALLOW_CHANGES,),
        """Let a coding agent see the startup, over the Model Context Protocol.

        The agent starts it and talks to it on stdin and stdout. Its tools show units and why they
        wait, wait for them, and read their logs. None of those starts a coordinator or changes
        anything.
        """,
        "for Claude Code:\n  claude mcp add --scope project unitsync -- unitsync mcp",
        module="unitsync.agents.command",
        may=_NEEDS_NONE,
    ),
)
RUNNER_VERBS = {verb.name: verb for verb in _ALL}
