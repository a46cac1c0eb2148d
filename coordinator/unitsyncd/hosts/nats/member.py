"""The task that makes a coordinator one host of a job: joins, claims its name, tells and hears.

It works in rounds. A round begins with a claim: the one that is there, made anew. Then what the log
has of the own units is compared with what they are, and all is read that others say. Any doubt (a
lost link, an answer that did not come, a gap) ends the round, and the next one begins. That fences
every write of the round before that might still be on its way.
"""

from __future__ import annotations

import asyncio
import enum
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from loguru import logger
from msgspec.structs import replace
from nats.aio.msg import Msg

from unitsync.names.remote_names import ANY
from unitsync.text.printing import duration, job_over, name_taken
from unitsync.wire import Host
from unitsyncd.core.store import StoreError
from unitsyncd.hosts import messages
from unitsyncd.hosts.messages import Beat, Claim
from unitsyncd.hosts.nats.link import Link, Rejected, Unclear, Unusable
from unitsyncd.hosts.nats.log import WRONG_LAST_SEQUENCE, Log, Stored, job_of, new_run
from unitsyncd.hosts.nats.reader import STORE_AGAIN_S, Reader
from unitsyncd.hosts.nats.search import Search
from unitsyncd.hosts.nats.sender import Sender, read_held
from unitsyncd.hosts.nats.tasks import end, first
from unitsyncd.hosts.peers import Peers
from unitsyncd.hosts.ports import ClaimLost, Coordinator, EpochChanged
from unitsyncd.hosts.settings import HostsSettings

BEAT_S: Final = 3.0
"""A host is called silent after three of them; 100 hosts send 33 a second."""
SILENT_NAME_S: Final = 20.0
"""A name whose holder was not heard of for so long may be taken: more than six heartbeats, and
more than the election of a leader takes."""
ASK_AGAIN_S: Final = 2.0
"""How often it is looked whether a name has become free, or a log fit."""
AGAIN_S: Final = 0.25
AGAIN_MAX_S: Final = 2.0
"""Pause before the next round, on average, doubled each time: a log without a leader needs 6 to
8 s. Each host takes another one, so that they do not all ask a slow log at once."""
STRAIN_MAX: Final = 32.0
"""How many times AGAIN_S the pause is after a round that had made its claim, doubled each time. All
read that claim, and such a round reads everything: a log that is only slow would stay slow if many
hosts did that again and again."""
PATIENCE_MAX: Final = 4.0
"""How many times as long as usual the next round waits for answers then."""
SETTLED_S: Final = 15.0
"""A round that got on for so long was no attempt: what was doubled begins anew."""
LOST_AGAIN_S: Final = 1.0
GONE_S: Final = 3.0
"""A log has to be missing for so long until the job counts as over."""
RELEASE_S: Final = 1.0
"""How long the end of a coordinator may be held up by the log."""


class State(enum.Enum):
    CONNECTING = "connecting"
    JOINING = "joining"
    JOINED = "joined"
    REFUSED = "refused"
    """The name is another one's, or the log is not fit: asked again every few seconds."""
    OVER = "over"
    """The job has ended for this epoch."""


class _Over(Exception):
    """The run of the job that the epoch belongs to has ended."""


class Member:
    def __init__(
        self,
        settings: HostsSettings,
        coordinator: Coordinator,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._now = now
        self._wall = wall
        self._job = settings.job
        self._host = settings.host
        self._link = Link(settings)
        self._log = Log(self._link, settings.job)
        self._process = secrets.token_hex(8)
        self._take_over = settings.take_over
        self._had_name = False
        """Whether this process has made a claim before."""
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self.state = State.CONNECTING
        self._joined_at = 0.0
        self.reason = ""
        """Why it is refused, or over, or does not get on."""
        self._other_heard = 0.0
        """When somebody else was last heard to speak for this host, or the link was made."""
        self._sender: Sender | None = None
        self._claim = 0
        """The number of the own claim; 0 while there is none."""
        self._strain = 1.0
        """Doubled by each round that failed after its claim, since one got on."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch = self._coordinator.epoch
        self._units: set[str] = set()
        """All of the epoch's."""
        self._begin_reading()

    def _begin_reading(self) -> None:
        """Know of the others only what was heard, and read everything."""
        self._needed = 0
        self._peers = Peers(self._host, self._coordinator.heard())
        self._reader = Reader(self._coordinator, self._peers, job=self._job, host=self._host)
        self._search = Search(
            self._log,
            self._coordinator,
            self._peers,
            job=self._job,
            host=self._host,
            expected=self._settings.expected,
            now=self._now,
        )

    def wake(self) -> None:
        """Something may have changed: called after each turn."""
        if not self._woken.is_set():
            self._woken.set()

    def remark(self, host: str) -> str:
        """What to add to a text about a unit of *host*; "" if there is nothing to say."""
        if self.state in (State.REFUSED, State.OVER):
            return self.reason
        if not self._peers.up:
            return self._way()
        return self._peers.remark(host, self._now())

    def hosts(self) -> list[Host]:
        """This one, and all that are known or needed, by name."""
        hosts, part = self._peers.hosts(self._now()), self.takes_part()
        if not any(host.own for host in hosts):
            hosts = sorted([Host(self._host, own=True), *hosts], key=lambda host: host.name)
        # Whoever speaks for it may be another one.
        return [host if part or not host.own else replace(host, synced=False) for host in hosts]

    def takes_part(self) -> bool:
        return self._link.up and self.state is State.JOINED

    def standing(self) -> str:
        """One line about the link and the part that this host has in the job."""
        if self.state in (State.REFUSED, State.OVER):
            return self.reason
        if self.takes_part():
            return f"host {self._host} of job {self._job}, over {self._link.server}"
        return self._way(f" at {self._settings.addresses} for {duration(self._link.down_s)}")

    def _way(self, more: str = "") -> str:
        """What is still missing until it takes part. *more* is for a link that is."""
        link = self._link
        if link.up or not link.tried:
            return f"joining job {self._job}" + (f": {self.reason}" if self.reason else "")
        return f"no link to the log{more}" + (f": {link.problem}" if link.problem else "")

    async def run(self) -> None:
        """Be a host of the job until ``close`` is called."""
        self._task = asyncio.current_task()
        linking = asyncio.create_task(self._link.run())
        try:
            while not self._closing.is_set():
                await first(self._link.until_up(), asyncio.shield(linking))
                self._other_heard = self._now()
                try:
                    await first(self._linked(), self._link.until_down(), asyncio.shield(linking))
                finally:
                    self._claim, self._sender = 0, None
                if self.state is not State.OVER:
                    self.state, self.reason = State.CONNECTING, ""
        finally:
            await end(linking)

    async def close(self) -> None:
        """Give the name back, and end ``run``, within RELEASE_S or little more."""
        if self._task is None or self._task.done():
            return
        self._closing.set()
        if self._sender is not None:
            await asyncio.wait([self._task], timeout=RELEASE_S)
        await end(self._task)

    async def _linked(self) -> None:
        """Rounds, for as long as the link stands."""
        pause = AGAIN_S
        listening = False
        while not self._closing.is_set():
            try:
                if not listening:
                    everybody = messages.alive_subject(self._job, ANY)
                    await self._link.listen(everybody, self._beat_heard)
                    listening = True
                await self._round()
            except EpochChanged:
                continue
            except ClaimLost:
                logger.warning("another coordinator speaks for host {} now", self._host)
            except _Over as problem:
                await self._be_over(str(problem))
                continue
            except Unusable as problem:
                self._refused(str(problem))
                pause = ASK_AGAIN_S
            except (Unclear, Rejected, StoreError) as problem:
                if self._link.denied:
                    self._refused(str(problem))
                    pause = ASK_AGAIN_S
                if self._claim:
                    self._strain = min(2 * self._strain, STRAIN_MAX)
                    pause = max(pause, AGAIN_S * self._strain)
                self.reason = str(problem)
                logger.debug("job {}: {}", self._job, problem)
            except Exception as defect:  # local work goes on, and so do the other hosts
                self.reason = f"a defect: {defect!r}"
                logger.opt(exception=defect).error("a defect in the task of the hosts")
                pause = AGAIN_MAX_S
            finally:
                if self.state is State.JOINED:
                    self.state = State.JOINING
                    if self._now() - self._joined_at >= SETTLED_S:
                        pause, self._strain = AGAIN_S, 1.0
                self._claim, self._sender = 0, None
                self._link.patience = min(self._strain, PATIENCE_MAX)
            await first(asyncio.sleep(pause * random.uniform(0.5, 1.5)), self._closing.wait())
            pause = min(2 * pause, AGAIN_MAX_S)

    async def _round(self) -> None:
        if self._coordinator.epoch != self._epoch:
            self._begin_epoch()
        if self.state is not State.REFUSED:
            self.state = State.JOINING
        self._link.denied = ""
        self._link.check_server()
        await self._join()
        claim = await self._take_name()
        if self.state is State.REFUSED:
            self.reason = ""
        self.state = State.JOINING
        if claim <= self._reader.position or self._reader.has_lost:
            logger.warning("the log of job {} has lost messages that were read", self._job)
            self._begin_reading()
        await self._serve(claim)

    async def _join(self) -> None:
        """Make sure that the log is that of the epoch's run of the job."""
        stream = await self._log.stream()
        joined = self._coordinator.run
        if (job := job_of(joined)) not in ("", self._job):
            raise Unusable(
                f"the units here belong to job {job}; to forget them and join job {self._job}: "
                "unitsync reset --all"
            )
        if stream is None and not joined:
            await self._log.make_stream(new_run(self._job))
            stream = await self._log.stream()
            if stream is None:
                raise Unclear("the log is not there yet")
        if stream is None:
            await self._make_sure_it_is_gone()
            raise _Over(f"{job_over(self._job)}: its log was removed")
        if not joined:
            self._coordinator.join(stream.run)
        elif joined != stream.run:
            raise _Over(f"{job_over(self._job)}: its log was made anew")

    async def _make_sure_it_is_gone(self) -> None:
        """Servers that have just started may not know of it yet."""
        self.reason = "the log of the job is not there"
        await asyncio.sleep(GONE_S)
        if await self._log.stream() is not None:
            raise Unclear("the log of the job was not there, and is there again")

    async def _be_over(self, why: str) -> None:
        """Until there is another epoch, which may join another run."""
        logger.warning("{}", why)
        self.state, self.reason = State.OVER, why
        while self._coordinator.epoch == self._epoch:
            try:
                self._coordinator.leave(why)
                break
            except StoreError as problem:
                logger.error("the end of the job could not be kept: {}", problem)
                await asyncio.sleep(STORE_AGAIN_S)
        while self._coordinator.epoch == self._epoch:
            self._woken.clear()
            await self._woken.wait()
        self.state, self.reason = State.JOINING, ""

    async def _take_name(self) -> int:
        """The number of the claim that was made, once the name may be taken."""
        subject = messages.claim_subject(self._job, self._host)
        while True:
            stored = await self._log.last(subject)
            why = self._why_not(stored)
            if why:
                self._refused(why)
                await asyncio.sleep(ASK_AGAIN_S)
                self._check_epoch()
                continue
            claim = Claim(self._coordinator.journal, self._epoch, process=self._process)
            expected = stored.sequence if stored is not None else 0
            try:
                number = await self._log.write(subject, messages.encode(claim), expected)
            except Rejected as problem:
                if problem.code != WRONG_LAST_SEQUENCE:
                    raise
                await asyncio.sleep(AGAIN_S)  # somebody was faster
                continue
            self._had_name, self._take_over = True, False
            self._claim = number
            return number

    def _why_not(self, stored: Stored | None) -> str:
        """Why the name cannot be taken; "" if it can."""
        if stored is None:
            return ""
        try:
            claim = messages.decode_claim(stored.data)
        except msgspec.DecodeError:
            return ""
        ours = claim.journal == self._coordinator.journal and (
            claim.process == self._process or not self._had_name
        )
        silent_s = self._now() - self._other_heard
        if ours or claim.released or self._take_over or silent_s >= SILENT_NAME_S:
            return ""
        return name_taken(self._host, self._job)

    def _check_epoch(self) -> None:
        if self._coordinator.epoch != self._epoch:
            raise EpochChanged

    def _refused(self, why: str) -> None:
        if (self.state, self.reason) != (State.REFUSED, why):
            logger.warning("not a host of job {}: {}", self._job, why)
        self.state, self.reason = State.REFUSED, why

    async def _serve(self, claim: int) -> None:
        """Tell and hear under the *claim*, until something is in doubt, or ``close``."""
        held, units = await read_held(
            self._log, job=self._job, host=self._host, claim=claim, epoch=self._epoch
        )
        self._check_epoch()  # the units of the next one are not for this claim
        self._sender = sender = Sender(
            self._log,
            self._coordinator,
            job=self._job,
            host=self._host,
            claim=claim,
            held=held,
        )
        self._units.update(self._coordinator.changed())
        sender.mark(units | self._units)
        # While the log has no leader, no host speaks, and silence means nothing.
        self._peers.link(True, self._now())
        try:
            await first(
                self._speak(sender),
                self._tend(sender),
                self._reader.run(self._log, claim),
                self._beat(claim),
                self._search.run(claim),
                self._give_up(),
                self._closing.wait(),
            )
        finally:
            self._peers.link(False, self._now())
        await self._release(sender, claim)

    async def _speak(self, sender: Sender) -> None:
        await sender.sync()
        self.state, self.reason, self._joined_at = State.JOINED, "", self._now()
        logger.info("host {} of job {}, claim {}", self._host, self._job, self._claim)
        await sender.run()

    async def _tend(self, sender: Sender) -> None:
        """Pass on what the coordinator has for the others, and needs of them."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            self._check_epoch()
            changed = self._coordinator.changed()
            self._units.update(changed)
            sender.mark(changed)
            self._search.stir()
            needed = len(self._coordinator.needs())
            if needed != self._needed:
                self._needed = needed
                self._reader.grow()

    async def _give_up(self) -> None:
        """Tell of hosts that are lost, again and again: more waits for them may begin."""
        while True:
            await asyncio.sleep(LOST_AGAIN_S)
            lost = {}
            for host in self._peers.hosts(self._now()) if self._settings.fail_when_lost else ():
                if not host.own and (host.silent_s or 0.0) >= self._settings.grace_s:
                    silent = duration(host.silent_s or 0.0)
                    lost[host.name] = f"{host.name} was not heard of for {silent}"
            if lost:
                self._coordinator.give_up(lost)

    async def _beat(self, claim: int) -> None:
        subject = messages.alive_subject(self._job, self._host)
        while True:
            await self._link.tell(subject, messages.encode(Beat(claim, self._wall())))
            await asyncio.sleep(BEAT_S)

    async def _beat_heard(self, message: Msg) -> None:
        host = message.subject.rpartition(".")[2]
        try:
            beat = messages.decode_beat(message.data)
        except msgspec.DecodeError:
            return
        if host == self._host and beat.claim != self._claim:
            self._other_heard = self._now()
        self._peers.beat(host, beat, self._now(), self._wall())

    async def _release(self, sender: Sender, claim: int) -> None:
        """What is not in the log yet goes there first."""
        self._check_epoch()
        self._units.update(self._coordinator.changed())
        sender.mark(self._units)  # what was on its way may have been lost
        await sender.flush()
        subject = messages.claim_subject(self._job, self._host)
        free = Claim(self._coordinator.journal, self._epoch, released=True, process=self._process)
        await self._log.write(subject, messages.encode(free), claim)
