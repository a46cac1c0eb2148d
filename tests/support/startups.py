"""Startups made by hand: for the tests of what is drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from unitsync.startup.analysis.values import (
    Beside,
    Change,
    Comparison,
    CriticalPath,
    Edge,
    Forecast,
    Saving,
    Span,
    Startup,
    Step,
    UnitRecord,
)

BEGAN: Final = 1000.0
WALL: Final = 1_764_547_200.0 - BEGAN
HOSTILE: Final = (
    "</script><script>alert(1)</script>",
    "\"';--><svg/onload=alert(1)>",
    "a&amp;b<b>&#60;",
    "${alert(1)}`{{x}}",
    '\\";]->{}|#quot;',
    "שלום-עולם",
    "مرحبا",
    "ソースコードを取得する",
    "end",
    "graph",
    "__proto__",
    "x" * 255,
    "日本語" * 28,
    "e\u0301" * 80,
    "%s%n%1$s",
    "]]>",
)


class Job(NamedTuple):
    """What is to become of one unit, with times in seconds."""

    name: str
    own: float = 1.0
    after: Sequence[str] = ()
    asked: float = 0.0
    delay: float = 0.0
    launch: float | None = None
    """After how long it is ready; its end is then *own* seconds after its start, or never."""
    outcome: str = "completed"
    reason: str = ""
    gate: bool = False
    goes_on: bool = False
    requires: str = "success"
    optional: bool = False
    retries: Sequence[float] = ()


def startup(
    jobs: Sequence[Job], *, over: bool = True, now: float | None = None
) -> tuple[Startup, CriticalPath]:
    """The startup in which *jobs* ran, each listed after its prerequisites, and its critical
    path. If it is not over, *now* cuts it off."""
    spans: dict[str, Span] = {}
    for job in jobs:
        spans[job.name] = _span(job, spans)
    last = max((_settled(span) for span in spans.values()), default=BEGAN)
    if now is not None:
        last = BEGAN + now
        spans = {name: _cut_off(span, last) for name, span in spans.items()}
    units = tuple(_unit(job, spans[job.name], last) for job in jobs)
    made = Startup("e1", "s1", BEGAN, last, over, WALL, units)
    return made, _path(made)


def _span(job: Job, spans: dict[str, Span]) -> Span:
    asked = BEGAN + job.asked
    edges = []
    for name in job.after:
        met = _met(spans[name], job.requires) if name in spans else None
        edges.append(Edge(name, job.requires, job.optional, met=met, of=0 if met else None))
    broken = next(
        (
            name
            for name in job.after
            if name in spans and spans[name].outcome not in ("completed", "")
        ),
        None,
    )
    met_at = [edge.met for edge in edges if edge.met is not None]
    if broken is not None and job.requires == "success":
        at = max(asked, spans[broken].ended or asked)
        reason = spans[broken].reason or f"{broken} failed"
        return Span(asked, ended=at, outcome="skipped", reason=reason, edges=tuple(edges))
    start = max([asked, *met_at]) + job.delay
    if job.gate:
        return Span(asked, ended=start, outcome="completed", edges=tuple(edges))
    return Span(
        asked,
        started=start,
        ready=start + job.launch if job.launch is not None else None,
        ended=None if job.goes_on else start + job.own,
        outcome="" if job.goes_on else job.outcome,
        reason=job.reason,
        run=1,
        launching=job.launch is not None,
        retries=tuple(start + retry for retry in job.retries),
        edges=tuple(edges),
    )


def _met(span: Span, requires: str) -> float | None:
    if requires == "start":
        return span.ready if span.launching else span.started
    return span.ended if span.outcome in ("completed", "failed") else None


def _settled(span: Span) -> float:
    return span.ended or span.ready or span.started or span.asked


def _busy_until(span: Span, made: Startup) -> float:
    """The end of a span for the critical path."""
    return _settled(span) if made.over or span.ended or span.ready else made.ended


def _cut_off(span: Span, now: float) -> Span:
    from msgspec.structs import replace

    ended = span.ended is not None and span.ended <= now
    return replace(
        span,
        asked=min(span.asked, now),
        started=span.started if span.started is not None and span.started <= now else None,
        ready=span.ready if span.ready is not None and span.ready <= now else None,
        ended=span.ended if ended else None,
        outcome=span.outcome if ended else "",
        reason=span.reason if ended else "",
    )


def _unit(job: Job, span: Span, last: float) -> UnitRecord:
    if span.outcome:
        status = span.outcome
    else:
        status = "pending" if span.started is None else "started"
    since = span.ended or span.ready or span.started or span.asked
    return UnitRecord(
        job.name,
        registered=min(span.asked, last),
        status=status,
        since=since,
        gate=job.gate,
        spans=(span,),
        edges=span.edges,
    )


def _path(made: Startup) -> CriticalPath:
    spans = {unit.name: unit.spans[0] for unit in made.units}
    ran = {name: span for name, span in spans.items() if span.started is not None or span.ended}
    if not ran:
        return CriticalPath(0.0, 0.0, (), ())
    total = made.ended - made.began
    steps: list[Step] = []
    name: str | None = max(ran, key=lambda name: _busy_until(ran[name], made))
    until = made.ended
    while name is not None:
        span = spans[name]
        start = span.started if span.started is not None else until
        met = [edge for edge in span.edges if edge.met is not None]
        cause = max(met, key=lambda edge: edge.met or 0.0, default=None)
        if cause is not None and cause.met is not None and cause.met <= span.asked:
            cause = None
        could = span.asked if cause is None or cause.met is None else cause.met
        steps.append(
            Step(
                name,
                0,
                f"{cause.prerequisite} completed" if cause else f"asked at {could - BEGAN:.1f} s",
                waited_s=start - could,
                began=start,
                ended=until,
                own_s=until - start,
                share=(until - could) / total if total else 0.0,
            )
        )
        name, until = (cause.prerequisite, could) if cause else (None, could)
    steps.reverse()
    on_it = {step.unit for step in steps}
    beside = [
        Beside(name, _settled(span) - (span.started or span.asked), made.ended - _settled(span))
        for name, span in ran.items()
        if name not in on_it
    ]
    beside.sort(key=lambda each: each.slack_s)
    return CriticalPath(total, steps[0].began - made.began, tuple(steps), tuple(beside))


WORKSPACE: Final = (
    Job("git-config", 0.4),
    Job("venv", 6.2, asked=0.2),
    Job("git-clone", 12.4, ["git-config"], asked=0.1),
    Job("dotfiles", 3.1, ["git-config"], asked=0.1),
    Job("docker-pull", 17.5, asked=0.3, retries=[9.0]),
    Job("deps", 14.8, ["git-clone", "venv"], asked=0.2),
    Job("index", 5.3, ["git-clone"], asked=0.2),
    Job("database", 99, ["docker-pull"], asked=0.3, launch=4.4, goes_on=True),
    Job("toolchain", 0, ["deps", "dotfiles"], asked=0.1, gate=True),
    Job("migrate", 3.6, ["database", "toolchain"], asked=0.4, delay=0.2, requires="start"),
    Job("build", 9.7, ["toolchain"], asked=0.4),
    Job("ide", 99, ["build", "index"], asked=0.5, launch=3.5, goes_on=True),
)


def workspace() -> tuple[Startup, CriticalPath]:
    """What somebody's workspace looks like on a usual morning."""
    jobs = list(WORKSPACE)
    jobs[9] = jobs[9]._replace(after=["database"])
    return startup(jobs)


def broken() -> tuple[Startup, CriticalPath]:
    """The same, with a clone that fails."""
    jobs = [
        job._replace(outcome="failed", reason="exit status 128", own=5.2)
        if job.name == "git-clone"
        else job
        for job in WORKSPACE
    ]
    jobs[9] = jobs[9]._replace(after=["database"])
    return startup(jobs)


def going_on() -> tuple[Startup, CriticalPath]:
    """The same, looked at after 20 seconds."""
    jobs = list(WORKSPACE)
    jobs[9] = jobs[9]._replace(after=["database"])
    return startup(jobs, over=False, now=20.0)


def many(number: int, seed: int = 1) -> tuple[Startup, CriticalPath]:
    """*number* units of a random startup, of which few failed."""
    dice = random.Random(seed)
    jobs: list[Job] = []
    kinds = ("fetch", "build", "install", "check", "index", "warm", "migrate")
    for place in range(number):
        earlier = jobs[max(0, place - 30) : max(0, place - 3)]
        after = dice.sample(earlier, min(len(earlier), dice.choice((0, 1, 1, 1, 2, 3))))
        gate = bool(after) and dice.random() < 0.03
        jobs.append(
            Job(
                f"{dice.choice(kinds)}-{place:03}",
                own=round(dice.expovariate(1 / 3) + 0.05, 3),
                after=[job.name for job in after],
                asked=round(dice.random() * 2, 3),
                delay=round(dice.random() * 0.3, 3),
                launch=0.04 if dice.random() < 0.05 else None,
                outcome="failed" if dice.random() < 0.01 else "completed",
                reason="",
                gate=gate,
            )
        )
    return startup(jobs)


def hostile() -> tuple[Startup, CriticalPath]:
    """Units with names and reasons that no form takes as they are."""
    jobs: list[Job] = []
    for place, name in enumerate(HOSTILE):
        failed = place == len(HOSTILE) - 1
        jobs.append(
            Job(
                name,
                own=1.0 + place % 3,
                after=[HOSTILE[place - 1]] if place % 2 else [],
                outcome="failed" if failed else "completed",
                reason="</script>\x1b[31m\u202e\"'&<b>\n" if failed else "",
            )
        )
    return startup(jobs)


def savings() -> tuple[Saving, ...]:
    return (
        Saving("deps", 14.0, 14.8),
        Saving("git-clone", 8.6, 12.4),
        Saving("build", 9.7, 9.7),
        Saving("ide", 3.5, 3.5),
        Saving("index", 0.0, 5.3),
        Saving("venv", 0.0, 6.2),
    )


def forecast() -> Forecast:
    before, _ = workspace()
    jobs = [job._replace(own=2.0) if job.name == "deps" else job for job in WORKSPACE]
    jobs[9] = jobs[9]._replace(after=["database"])
    after, path = startup(jobs)
    return Forecast(
        before.ended - before.began,
        after.ended - after.began,
        path,
        after,
        ("Units that share a disk or a network may slow each other down.",),
    )


def comparison() -> Comparison:
    return Comparison(
        41.2,
        58.9,
        (38.0, 44.5),
        is_noise=False,
        changes=(
            Change("deps", "slower", 14.8, 30.1, (13.9, 16.2)),
            Change("scanner", "new", None, 4.2),
            Change("git-clone", "slower", 12.4, 13.1, (11.0, 14.0), is_noise=True),
            Change("index", "failed", 5.3, 1.0, None, reason="exit status 1"),
            Change("lint", "gone", 2.0, None),
            Change("venv", "faster", 6.2, 3.0, (5.9, 6.6)),
            Change("dotfiles", "recovered", 0.5, 3.1),
        ),
        startups=10,
    )
