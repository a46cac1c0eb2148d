"""The verbs that are more than one request: those that run and end commands, and read what they
printed. Described as those in verbs.py are.

``module`` names where a verb's ``main`` is. Loaded only for one of these verbs, and for help.
"""

from unitsync.conversation import ACT, LOOK
from unitsync.verbs import OUTPUT, PLANS, Flag, Verb

ONLY = Flag(
    "--only",
    "Run only this unit and what it needs. May be given several times; commas work too.",
    metavar="UNIT",
    completes="several",
    many=True,
)
DRY_RUN = Flag("--dry-run", "Only show what would run, in which order.", field="dry_run")
FAIL_FAST = Flag("--fail-fast", "End everything as soon as one unit fails.", field="fail_fast")
DETACH = Flag("--detach", "Run it in the background.", short="-d", field="detach")
SCHEMA = Flag(
    "--schema",
    "Print the JSON Schema of plans, with which editors check and complete.",
    field="schema",
)

_PLANS = ("plans", "[PLAN]...", "The files. Default: unitsync.toml here, or in a folder above.")

_ALL = (
    Verb(
        "up",
        PLANS,
        ACT,
        (_PLANS,),
        (ONLY, DRY_RUN, FAIL_FAST, DETACH),
        """Run all units of a plan, each the moment it may.

        Ends when all of them have ended, with 0 only if none has failed. Ctrl-C ends them in
        reverse order; a second one kills them. What has completed in this startup and has not
        changed since is left alone. If the plan is up already, it takes over what is new.
        """,
        "unitsync up --only ide",
        module="unitsync.plan.commands",
    ),
    Verb(
        "down",
        PLANS,
        ACT,
        (_PLANS,),
        (),
        """End what `up` runs, in reverse order.

        Returns when everything has ended. Units that have completed stay completed.
        """,
        "unitsync down",
        module="unitsync.plan.commands",
    ),
    Verb(
        "check",
        PLANS,
        LOOK,
        (_PLANS,),
        (OUTPUT, SCHEMA),
        """Find every mistake in a plan, without running anything.

        Each is told with file, line, column and what to do; the exit status is then 5. What
        keeps a command from running on this machine is a mistake too, such as a script that is
        missing.
        """,
        "unitsync check --output json | jq -r '.[] | .message'",
        module="unitsync.plan.commands",
    ),
)
RUNNER_VERBS = {verb.name: verb for verb in _ALL}
