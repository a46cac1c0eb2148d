"""The verbs that scripts, people and agents call: for each its arguments and flags, its help,
and what its request may do.

With runner_verbs.py, this is the only description of them. commandline.py makes requests from
it, cli/ makes help and completion, and bench/ makes the forms to measure. Imports only what the
interpreter has already loaded.
"""

from unitsync.link.conversation import REQUESTS, May

REQUIREMENTS = ("success", "completion", "start")
OWNER_EXITS = ("fail", "complete", "ignore", "warn")
SKIPS = ("exit", "wait")
OUTPUTS = ("table", "json")
MANY = 1 << 30

SCRIPTS = "For scripts"
PLANS = "For whole startups, from a plan"
PEOPLE = "For people, probes and agents"
ACROSS_HOSTS = "For startups that span hosts"
LOOKING_BACK = "To see what happens, and why it takes so long"
COORDINATOR = "For the coordinator"
PANELS = (SCRIPTS, PLANS, PEOPLE, ACROSS_HOSTS, LOOKING_BACK, COORDINATOR)
"""The sections of the help, in their order."""


class Flag:
    """A flag of a verb.

    - ``choices``: all possible values, if the set is fixed.
    - ``completes``: how many unit names a shell completes: ``one``, ``several`` or "".
    - ``variable``: the environment variable that stands for the flag.
    - ``switch``: the flag takes no value. It sets the ``field`` of the request to ``value``.
    - ``module``: with this flag the verb is more than one request, performed by that module.
    """

    def __init__(
        self,
        name: str,
        help: str,
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        completes: str = "",
        variable: str = "",
        short: str = "",
        many: bool = False,
        hidden: bool = False,
        field: str = "",
        value: bool = True,
        module: str = "",
    ) -> None:
        self.name = name
        self.help = help
        self.metavar = metavar or "|".join(choices)
        self.choices = choices
        self.completes = completes
        self.variable = variable
        self.short = short
        self.many = many
        self.hidden = hidden
        self.field = field
        self.switch = bool(field)
        self.value = value
        self.module = module


class Verb:
    """A verb. ``arguments``: (name, metavar, help) of each argument. As their metavars say,
    those in brackets may be missing, and the last one takes all further names if it has dots.
    So the verb takes ``fewest`` to ``most`` names."""

    def __init__(
        self,
        name: str,
        panel: str,
        arguments: tuple[tuple[str, str, str], ...],
        flags: "tuple[Flag, ...]",
        help: str,
        example: str,
        *,
        tag: str = "",
        module: str = "",
        may: "May | None" = None,
    ) -> None:
        """*may* is for a verb that is more than one request."""
        self.name = name
        self.panel = panel
        self.arguments = arguments
        self._flags = flags
        self.help = help
        self.example = example
        self.tag = tag or name
        """The tag of its request on the wire."""
        self.may = may or REQUESTS[self.tag]
        self.module = module
        """For a verb that is more than one request: the module whose ``main`` performs it. It is
        named, not imported, because it stands above this one."""

    @property
    def flags(self) -> dict[str, Flag]:
        """Its flags by name."""
        return {flag.name: flag for flag in (*self._flags, ENDPOINT)}

    @property
    def fewest(self) -> int:
        return sum(metavar[0] != "[" for _, metavar, _ in self.arguments)

    @property
    def most(self) -> int:
        many = any("..." in metavar for _, metavar, _ in self.arguments)
        return MANY if many else len(self.arguments)


ENDPOINT = Flag(
    "--endpoint",
    "Where the coordinator is (UNITSYNC_ENDPOINT).",
    metavar="ADDRESS",
    variable="UNITSYNC_ENDPOINT",
)
ELSEWHERE = "In a job that spans hosts, data@node-1 is data on node-1, 'data@*' data on all hosts."
AFTER = Flag(
    "--after",
    "Also wait for this unit, or for all that match a quoted pattern. May be given several "
    f"times; commas work too. {ELSEWHERE}",
    metavar="PREREQUISITE",
    completes="several",
    many=True,
)
REQUIRES = Flag(
    "--requires",
    "What is needed of the prerequisites named here: that they succeeded, "
    "ended either way, or at least started. Default: success.",
    choices=REQUIREMENTS,
)
FOR = Flag(
    "--for",
    "Wait until they succeeded, ended either way, or started. Default: success.",
    choices=REQUIREMENTS,
)
OPTIONAL = Flag(
    "--optional",
    "Only keep the order: wait for a prerequisite if it is registered, and go on however it ends.",
    field="optional",
)
TIMEOUT = Flag(
    "--timeout",
    "Give up waiting after e.g. 90 (seconds), 500ms, 30s, 1h30m, 2d, "
    "none (UNITSYNC_TIMEOUT). Default: 5m.",
    metavar="DURATION",
    variable="UNITSYNC_TIMEOUT",
)
ON_SKIP = Flag(
    "--on-skip",
    "When a prerequisite has failed: exit with 3, or wait until it succeeds "
    "(UNITSYNC_ON_SKIP). Default: exit.",
    choices=SKIPS,
    variable="UNITSYNC_ON_SKIP",
)
NO_WAIT = Flag("--no-wait", "Exit with 75 at once if it is not ready.", field="wait", value=False)
ON_OWNER_EXIT = Flag(
    "--on-owner-exit",
    "What to do if the script ends without saying how it went "
    "(UNITSYNC_ON_OWNER_EXIT). Default: fail.",
    choices=OWNER_EXITS,
    variable="UNITSYNC_ON_OWNER_EXIT",
)
OWNER = Flag(
    "--owner",
    "The process that the run belongs to. Default: the calling script.",
    metavar="PID",
)
SPEAKER = Flag("--owner", "Speak for this process. Default: the calling script.", metavar="PID")
ANY = Flag("--any", "Wait for any one of them, and print its name.", field="any")
EXIT_CODE = Flag(
    "--exit-code",
    "How the script ended: 0 means completed, anything else failed.",
    metavar="N",
)
EVEN_SO = Flag(
    "--even-so",
    "Complete it even if this script's start was not granted and nobody else runs it.",
    field="even_so",
)
COUNT = Flag(
    "--count",
    "Complete as soon as N of the prerequisites are met. Default: all of them.",
    metavar="N",
)
HOSTS = Flag(
    "--count",
    "On how many hosts of the job, for each UNIT@* that it waits for. Default: on all that the "
    "job expects.",
    metavar="N",
)
OF_ALL_HOSTS = Flag(
    "--hosts",
    "The units of all hosts of the job, as the log has them; data@node-1 is then data on node-1 "
    "alone.",
    field="hosts",
    module="unitsync.job.listing",
)
REASON = Flag("--reason", "Why, in one line.", metavar="TEXT")
OUTPUT = Flag(
    "--output",
    "For people or for programs. Default: table.",
    choices=OUTPUTS,
    short="-o",
)
COLUMN = Flag("--column", "", metavar="COLUMN", short="-c", many=True, hidden=True)
ALL = Flag("--all", "Forget every unit.", field="all")
FORCE = Flag("--force", "Even if a unit is started.", field="force")
RUN_TIMEOUT = Flag(
    "--run-timeout",
    "End the command after this long. With --ready: if it is not ready by then.",
    metavar="DURATION",
)
GRACE = Flag(
    "--grace",
    "How long a command that is to end may take, until it is killed. Default: 10s.",
    metavar="DURATION",
)
RETRIES = Flag("--retries", "How often to run it again after it has failed.", metavar="N")
BACKOFF = Flag(
    "--backoff",
    "The pause before the first retry; it doubles each time, up to 5m. Default: 1s.",
    metavar="DURATION",
)
READY = Flag(
    "--ready",
    "The unit counts as started when this holds: tcp:PORT, tcp:HOST:PORT, http://…, "
    "https://…, line:TEXT in its output, notify (it says READY=1), or a shell command that "
    "exits with 0.",
    metavar="PROBE",
)
LOG = Flag("--log", "Keep the output in a log file as well.", field="log")
PREFIX = Flag("--prefix", "Begin each line of output with the unit's name.", field="prefix")
CWD = Flag("--cwd", "The folder to run the command in.", metavar="DIR")
ENV_FILE = Flag(
    "--env-file",
    "Add the variables of this file (NAME=value) to its environment. May be given several times.",
    metavar="FILE",
    many=True,
)
OF_THE_COMMAND = (RUN_TIMEOUT, GRACE, RETRIES, BACKOFF, READY, LOG, PREFIX, CWD, ENV_FILE)
"""What ``run`` does with its command. The coordinator does not hear of it."""

_UNIT = ("unit", "UNIT", "The unit's name.")
_UNITS = ("units", "UNIT...", "The units' names.")
_WAITED_FOR = "What it waits for: names, or quoted patterns such as 'git-*'."
_AFTER = (AFTER, REQUIRES, OPTIONAL, HOSTS)


_ALL = (
    Verb(
        "want",
        SCRIPTS,
        (_UNIT, ("prerequisites", "[PREREQUISITE]...", _WAITED_FOR)),
        (REQUIRES, OPTIONAL, HOSTS),
        f"""Declare what a unit waits for.

        Registers UNIT and adds all the prerequisites or, if one of them would close a
        cycle or contradicts an earlier declaration, none. Without prerequisites it only
        registers UNIT. A pattern stands for every unit that matches and is registered
        before UNIT starts, and for at least one. {ELSEWHERE}
        """,
        "unitsync want ide git-clone deps",
    ),
    Verb(
        "unwant",
        SCRIPTS,
        (_UNIT, ("prerequisites", "PREREQUISITE...", "What it no longer waits for.")),
        (),
        """Take back what a unit waits for.

        With a pattern: the pattern, and the units that match it and were not named.
        """,
        "unitsync unwant ide deps",
    ),
    Verb(
        "gate",
        SCRIPTS,
        (_UNIT, ("prerequisites", "PREREQUISITE...", _WAITED_FOR)),
        (REQUIRES, COUNT),
        """Declare a unit without a script, which completes by itself.

        Registers UNIT, which completes as soon as its prerequisites are met. So it is one name
        for many things: others wait for it as for any unit. It is skipped if that cannot happen
        any more. Nobody starts it or ends it.
        """,
        "unitsync gate usable git-clone deps ide",
    ),
    Verb(
        "start",
        SCRIPTS,
        (_UNIT,),
        (*_AFTER, TIMEOUT, NO_WAIT, ON_OWNER_EXIT, ON_SKIP, OWNER),
        """Wait for the prerequisites, then mark a unit started.

        Registers UNIT, waits until its prerequisites are met, marks it started and exits
        with 0. While it waits, it says on stderr what it waits for. Prerequisites named
        with --after count only for this start; the next one names its own. Any other exit
        status means that the unit was not started: 3 if a prerequisite failed, 124 if the
        time is up.
        """,
        "unitsync start ide --after git-clone,deps --timeout 10m || exit",
    ),
    Verb(
        "complete",
        SCRIPTS,
        (_UNIT,),
        (EXIT_CODE, EVEN_SO, SPEAKER),
        """Say that a unit has ended, well or not.

        Exits with 0 whenever the unit has ended, however it did, so that a trap never
        spoils the status of a script. If the script's own start was not granted, the unit
        counts as failed.
        """,
        """in a script, the traps after start:
  unitsync start ide --after deps || exit
  trap 'exit 1' HUP INT TERM
  trap 'unitsync complete ide --exit-code $?' EXIT""",
    ),
    Verb(
        "fail",
        SCRIPTS,
        (_UNIT,),
        (REASON, SPEAKER),
        """Say that a unit has failed.

        Units that wait for its success are skipped.
        """,
        "unitsync fail ide --reason 'no space left'",
    ),
    Verb(
        "note",
        SCRIPTS,
        (_UNIT, ("text", "TEXT", "What it is doing now; '' takes back what was said.")),
        (),
        """Say what a unit is doing now.

        The text is shown wherever the unit is: in the list, and to scripts that wait for it. Its
        next run begins without one. A note holds nobody up and wakes nobody up, so it may be said
        often. If the unit has ended, nothing changes.
        """,
        "unitsync note git-clone 'cloning: 43 %'",
    ),
    Verb(
        "run",
        SCRIPTS,
        (_UNIT,),
        (*_AFTER, TIMEOUT, ON_SKIP, *OF_THE_COMMAND),
        """Run a command as a unit.

        Waits for the prerequisites, marks UNIT started, runs the command, and marks UNIT
        completed or failed by how that ended. Exits with the command's status (128 + n for
        a signal). Nothing needs to be trapped, nothing can be forgotten, and a crash is
        seen. --timeout bounds the waiting only, --run-timeout the command. If a prerequisite
        failed, the command is not run and the exit status is 3.
        """,
        "unitsync run deps --after git-clone -- pip install -e repo",
        tag="start",
        module="unitsync.run.verb",
    ),
    Verb(
        "wait",
        PEOPLE,
        (("units", "UNIT...", "Names, or quoted patterns: 'git-*'."),),
        (FOR, ANY, HOSTS, TIMEOUT),
        f"""Wait for units without registering or starting anything.

        Works for names that nobody has registered yet, too. A pattern stands for every unit that
        matches now or is registered before the wait ends, and for at least one. {ELSEWHERE}
        """,
        "unitsync wait db cache --for start --timeout 2m && ./smoke-test",
    ),
    Verb(
        "status",
        PEOPLE,
        (_UNIT,),
        (OUTPUT, COLUMN),
        f"""Show one unit: its prerequisites, its owner, its history.

        {ELSEWHERE}
        """,
        "unitsync status ide --output json | jq -r .status",
    ),
    Verb(
        "list",
        PEOPLE,
        (("units", "[PATTERN]...", "Only these units. Quote patterns: 'git-*'."),),
        (OF_ALL_HOSTS, OUTPUT, COLUMN),
        "Show all units: since when, what they wait for, whose they are.",
        "unitsync list 'git-clone.*'",
    ),
    Verb(
        "why",
        PEOPLE,
        (("unit", "[UNIT]", "Its name; without it, or with a pattern, what is stuck."),),
        (OUTPUT,),
        f"""Show what keeps a unit from starting, down to the root cause.

        Without a name: everything that waits, has failed, was skipped or lost its script,
        grouped by cause. With a pattern: the same for the units that match. {ELSEWHERE}
        """,
        "unitsync why ide",
    ),
    Verb(
        "hosts",
        ACROSS_HOSTS,
        (),
        (OUTPUT,),
        """Show the hosts of the job, as this one knows them.

        Says whether each has joined, when it was last heard of, whether the log holds all of its
        units, and how far its clock is off. The first line says how the link to the log is.
        """,
        "unitsync hosts",
    ),
    Verb(
        "ping",
        COORDINATOR,
        (),
        (OUTPUT,),
        """Ask whether the coordinator answers.

        Starts one if there is none.
        """,
        "unitsync ping --output json",
    ),
    Verb(
        "reset",
        COORDINATOR,
        (("units", "[UNIT]...", "Names, or quoted patterns: 'git-*'."),),
        (ALL, FORCE),
        """Make units pending again, or forget everything.

        Edges and history stay. A started unit needs --force: its script goes on, but what
        it says about the old run changes nothing. Scripts that wait for such a unit, or to
        start it, go on waiting. After --all, scripts that wait end with exit status 69.
        """,
        "unitsync reset build test",
    ),
)
VERBS = {verb.name: verb for verb in _ALL}
"""Each of them is one request."""
