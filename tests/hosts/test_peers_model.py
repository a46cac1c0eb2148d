"""What is believed of other hosts, in all orders of what can happen to hosts, log and reader.

The log holds the latest message of each subject, and only the owner of a host's name writes about
its units, as the real one. The oracle keeps everything: what each host did, and what was told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from unitsyncd.core.events import Heard
from unitsyncd.core.requirement import Condition
from unitsyncd.hosts.messages import Claim, Report, Synced
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import News

HOSTS, UNITS = ("h0", "h1"), ("a", "b")
NEEDS = (*(f"{unit}@{where}" for unit in UNITS for where in (*HOSTS, "*")),)
REAL = [one for one in Condition if Condition.NOT_REGISTERED < one < Condition.UNKNOWN]

hosts, units = st.sampled_from(("h0", "h1", "h1")), st.sampled_from(UNITS)
machines = st.sampled_from((0, 0, 0, 1))


@dataclass
class Machine:
    """A coordinator that may speak for a host. Its epochs are named after it."""

    name: str
    epochs: int = 0
    units: dict[str, Report] = field(default_factory=dict)

    @property
    def epoch(self) -> str:
        return f"{self.name}-{self.epochs}"


@dataclass
class Message:
    number: int
    host: str
    unit: str
    """"" unless it is a report."""
    body: Claim | Report | Synced

    @property
    def subject(self) -> tuple[type, str, str]:
        return type(self.body), self.host, self.unit


class Job(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machines = {host: [Machine(f"{host}{each}") for each in "xy"] for host in HOSTS}
        self.speaking: dict[str, tuple[Machine, int] | None] = dict.fromkeys(HOSTS)
        """Who has the name of a host, and under which claim."""
        self.log: list[Message] = []
        self.history: defaultdict[tuple[str, str, str], list[Condition]] = defaultdict(
            lambda: [Condition.NOT_REGISTERED]
        )
        """What each unit of a host has been in an epoch. A report's run is its place in it."""
        self.runs: dict[tuple[str, str, str], int] = {}
        """The latest of them that was heard."""
        self.needed: dict[str, int] = {}
        """Each need → the reading that tells of it."""
        self.said: dict[str, Heard] = {}
        self.restart()

    @initialize(names=st.lists(st.sampled_from(NEEDS), max_size=4))
    def first(self, names: list[str]) -> None:
        self.need(names)
        self.begin(whole=False)

    # --- hosts --------------------------------------------------------------------

    @rule(host=hosts, which=machines)
    def claim(self, host: str, which: int) -> None:
        """A coordinator takes the name, the same or another."""
        machine = self.machines[host][which]
        self.speaking[host] = machine, len(self.log) + 1
        self.write(host, Claim(machine.name, machine.epoch))

    @rule(host=hosts, which=machines)
    def reboot(self, host: str, which: int) -> None:
        machine = self.machines[host][which]
        machine.epochs += 1
        machine.units.clear()
        if (now := self.speaking[host]) and now[0] is machine:
            self.speaking[host] = None

    @rule(host=hosts, which=machines, unit=units, condition=st.sampled_from(REAL))
    def change(self, host: str, which: int, unit: str, condition: Condition) -> None:
        machine = self.machines[host][which]
        history = self.history[host, machine.epoch, unit]
        history.append(condition)
        machine.units[unit] = Report(0, machine.epoch, condition, run=len(history) - 1)

    @rule(host=hosts, which=machines)
    def claim_and_send(self, host: str, which: int) -> None:
        self.claim(host, which)
        self.send(host)

    @rule(host=hosts, count=st.sampled_from((1, 4)))
    def send(self, host: str, count: int = 4) -> None:
        """Whoever has the name writes what the log does not hold yet, and that it has synced."""
        if (now := self.speaking[host]) is None:
            return
        machine, number = now
        stored = {each.unit: each.body for each in self.latest() if each.host == host}
        for unit, report in sorted(machine.units.items()):
            old = stored.get(unit)
            same = isinstance(old, Report) and (old.epoch, old.run) == (report.epoch, report.run)
            if not same and count:
                self.write(host, Report(number, report.epoch, report.condition, report.run), unit)
            count -= not same and count > 0
        if count and Synced(number) not in [each.body for each in self.log if each.host == host]:
            self.write(host, Synced(number))

    def write(self, host: str, body: Claim | Report | Synced, unit: str = "") -> None:
        message = Message(len(self.log) + 1, host, unit, body)
        self.log.append(message)
        if self.reads(message):
            self.coming.append(message)

    def latest(self) -> list[Message]:
        by_subject = {message.subject: message for message in self.log}
        return sorted(by_subject.values(), key=lambda message: message.number)

    # --- the reader ---------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.kept = dict(self.said)
        self.peers = Peers("h0", [(name, self.dated(each)) for name, each in self.kept.items()])
        self.told: list[tuple[Message, bool]] = []
        """All that was told since, and whether it was needed then."""
        self.readings = 0
        self.stop()
        needed, self.needed = list(self.needed), {}
        self.need(needed)

    @staticmethod
    def dated(heard: Heard) -> Heard:
        return Heard(7.0, heard.condition, heard.run, heard.since, epoch=heard.epoch)

    @rule(names=st.lists(st.sampled_from(NEEDS), min_size=1, max_size=2))
    def need(self, names: list[str]) -> None:
        for name in names:
            self.needed.setdefault(name, self.readings + 1)
        self.take(self.peers.need(names))

    def stop(self) -> None:
        self.filters: set[str] | None = None
        self.coming: list[Message] = []
        self.caught_up = False
        self.left = 0
        """How much of what there was has yet to be told."""

    @rule(whole=st.booleans())
    def begin(self, whole: bool) -> None:
        """Of all units, or only of those that are needed. What was not told yet may be lost."""
        self.stop()
        self.filters = set(NEEDS) if whole else set(self.needed)
        self.coming = [message for message in self.latest() if self.reads(message)]
        self.left = len(self.coming)
        self.readings += 1
        self.peers.begin_reading()

    @rule(host=hosts, which=machines, unit=units, condition=st.sampled_from(REAL))
    def miss(self, host: str, which: int, unit: str, condition: Condition) -> None:
        """A host writes under one claim, and takes another, while nobody reads."""
        self.stop()
        self.claim(host, which)
        self.change(host, which, unit, condition)
        self.send(host)
        self.claim(host, which)
        self.begin(whole=False)

    def reads(self, message: Message) -> bool:
        if self.filters is None:
            return False
        return not message.unit or not self.filters.isdisjoint(self.names(message))

    @staticmethod
    def names(message: Message) -> tuple[str, str]:
        return f"{message.unit}@{message.host}", f"{message.unit}@*"

    @precondition(lambda self: self.coming)
    @rule(count=st.sampled_from((1, 2, 2, 3, 9)))
    def tell(self, count: int) -> None:
        for message in self.coming[:count]:
            needed = not self.needed.keys().isdisjoint(self.names(message))
            self.told.append((message, needed))
            match message.body:
                case Claim() as claim:
                    self.take(self.peers.claimed(message.host, message.number, claim))
                case Report() as report:
                    self.take(self.peers.reported(message.host, message.unit, report))
                case Synced() as synced:
                    self.take(self.peers.synced(message.host, synced))
        del self.coming[:count]
        self.left = max(0, self.left - count)

    @precondition(lambda self: self.filters is not None and not self.left)
    @rule()
    def catch_up(self) -> None:
        self.caught_up = True
        self.take(self.peers.caught_up())

    @rule()
    def settle(self) -> None:
        """All is sent and read: now all is known."""
        for host in HOSTS:
            if self.speaking[host] is None:
                self.claim(host, 0)
            self.send(host)
        self.begin(whole=False)
        if self.coming:
            self.tell(len(self.coming))
        self.catch_up()
        for host, now in self.speaking.items():
            assert now is not None
            for unit in UNITS:
                if self.reading_of(unit, host):
                    report = now[0].units.get(unit)
                    heard = self.said[f"{unit}@{host}"]
                    run = report.run if report else 0
                    assert (heard.epoch, heard.run) == (now[0].epoch, run)
                    assert heard.condition is self.history[host, heard.epoch, unit][run]

    # --- the oracle ---------------------------------------------------------------

    def take(self, news: list[News]) -> None:
        for name, heard in news:
            unit, _, host = name.partition("@")
            assert self.reading_of(unit, host)
            assert heard != self.said.get(name)
            self.said[name] = heard
            if heard.condition is Condition.UNKNOWN:
                continue
            assert heard.condition is not Condition.NOT_REGISTERED or self.is_read(unit, host)
            key = (host, heard.epoch, unit)
            assert self.history[key][heard.run] is heard.condition
            assert heard.run >= self.runs.get(key, 0), "what was heard is taken back"
            self.runs[key] = heard.run

    def reading_of(self, unit: str, host: str) -> int:
        """The first reading that tells of the unit; 0 if it is not needed."""
        needs = (f"{unit}@{host}", f"{unit}@*")
        return min((self.needed[need] for need in needs if need in self.needed), default=0)

    def is_read(self, unit: str, host: str) -> bool:
        return self.caught_up and 0 < self.reading_of(unit, host) <= self.readings

    def told_of(self, host: str, unit: str = "") -> Iterator[Message]:
        return (
            message
            for message, needed in self.told
            if message.host == host and message.unit == unit and (needed or not unit)
        )

    def claim_of(self, host: str) -> tuple[int, Claim] | None:
        claims = [m for m in self.told_of(host) if isinstance(m.body, Claim)]
        last = max(claims, key=lambda message: message.number, default=None)
        return (last.number, last.body) if last and isinstance(last.body, Claim) else None

    def expected(self, unit: str, host: str) -> Heard | None:
        """What the rules say, from all that was told. None if nothing was said of it."""
        unknown, before = Heard(0.0, Condition.UNKNOWN), self.kept.get(f"{unit}@{host}")
        if (now := self.claim_of(host)) is None:
            return before
        number, claim = now
        reports = [m.body for m in self.told_of(host, unit) if isinstance(m.body, Report)]
        if reports:
            last = reports[-1]
            if last.claim > number:
                return unknown
            if last.epoch == claim.epoch:
                return Heard(0.0, last.condition, run=last.run, epoch=last.epoch)
        elif before and before.epoch == claim.epoch and before.run:
            return before
        synced = [m.body for m in self.told_of(host) if isinstance(m.body, Synced)]
        if self.is_read(unit, host) and synced and synced[-1].claim == number:
            return Heard(0.0, Condition.NOT_REGISTERED, epoch=claim.epoch)
        return unknown

    @invariant()
    def what_was_said_follows_from_the_rules(self) -> None:
        for host in HOSTS:
            for unit in UNITS:
                name = f"{unit}@{host}"
                said, expected = self.said.get(name), self.expected(unit, host)
                if not self.reading_of(unit, host):
                    assert said is None
                elif said is None and f"{unit}@*" not in self.needed:
                    assert expected is None or expected.condition is Condition.UNKNOWN
                elif said != expected:
                    self.stands(said, host)

    def stands(self, said: Heard | None, host: str) -> None:
        """While the log is read again, what was not registered still counts as that, unless there
        is a newer claim."""
        assert not self.caught_up
        assert said is not None
        assert said.condition is Condition.NOT_REGISTERED
        now = self.claim_of(host)
        assert now is not None
        assert said.epoch == now[1].epoch
        assert any(m.body == Synced(now[0]) for m in self.told_of(host))


TestJob = Job.TestCase
TestJob.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
