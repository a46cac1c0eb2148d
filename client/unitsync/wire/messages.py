"""The messages between clients and the coordinator.

One frame in, one frame out, each a msgpack map. A request's ``verb`` and a reply's
``result`` say which message it is. Unknown fields are ignored and missing ones have
the default given here, so either side may be older than the other within one
``PROTOCOL``. docs/reference/wire-protocol.md is for people who write a client in another
language. tests/golden/wire/ holds the bytes: a change there breaks installed clients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, get_args

import msgspec

from unitsync.errors import ProtocolError, not_a_reply
from unitsync.link.conversation import REQUESTS
from unitsync.link.conversation import WAITING_PATIENCE_S as WAITING_PATIENCE_S
from unitsync.text.printing import NOTE_CHARS_MAX as NOTE_CHARS_MAX
from unitsync.text.printing import TEXT_BYTES_MAX as TEXT_BYTES_MAX
from unitsync.wire.base import MESSAGE_BYTES_MAX as MESSAGE_BYTES_MAX
from unitsync.wire.base import PREREQUISITES_PER_REQUEST_MAX as PREREQUISITES_PER_REQUEST_MAX
from unitsync.wire.base import PROTOCOL as PROTOCOL
from unitsync.wire.base import Reply as Reply
from unitsync.wire.base import Request as Request
from unitsync.wire.units import Epoch as Epoch
from unitsync.wire.units import HistoryEntry as HistoryEntry
from unitsync.wire.units import Host as Host
from unitsync.wire.units import Prerequisite as Prerequisite
from unitsync.wire.units import UnitInfo as UnitInfo
from unitsync.wire.units import WhyGroup as WhyGroup
from unitsync.wire.units import WhyNode as WhyNode
from unitsync.wire.values import OnOwnerExit as OnOwnerExit
from unitsync.wire.values import OnSkip as OnSkip
from unitsync.wire.values import Owner as Owner
from unitsync.wire.values import Render as Render
from unitsync.wire.values import Requirement as Requirement
from unitsync.wire.values import Status as Status

# --- requests ---------------------------------------------------------------------


class Want(Request, tag="want", frozen=True):
    unit: str
    prerequisites: list[str]
    requires: Requirement = Requirement.SUCCESS
    optional: bool = False


class Declaration(msgspec.Struct, frozen=True, omit_defaults=True):
    unit: str
    prerequisites: list[str] = []


class Declare(Request, tag="declare", frozen=True):
    """Many Wants at once. Everything is done, or nothing."""

    units: list[Declaration]
    requires: Requirement = Requirement.SUCCESS
    optional: bool = False


class Unwant(Request, tag="unwant", frozen=True):
    unit: str
    prerequisites: list[str]


class Gate(Request, tag="gate", frozen=True):
    """Makes ``unit`` a gate and adds ``prerequisites`` to those that it has. It completes by
    itself as soon as all of them are met, or any ``count`` of them if that is not 0."""

    unit: str
    prerequisites: list[str] = []
    requires: Requirement = Requirement.SUCCESS
    optional: bool = False
    count: int = 0


class Start(Request, tag="start", frozen=True):
    """Declares ``after``, then claims the start. It can be granted only while this very
    message is handled. Otherwise the answer comes at once (``patience_s`` 0), or when
    something changes, and after ``patience_s`` at the latest.

    - ``since_run`` repeats the ``run`` of the first Waiting reply; -1 before that.
    - ``last``: the deadline is here, so the answer must be final.
    - ``wait`` False: the same, but the answer is ``not_ready`` instead of ``timed_out``.
    - ``launching``: its run is ``launching`` until a MarkReady.
    - ``claim`` False: it is never granted. The final answer is Ready when it would be.
    - ``waited_s``: the time since the first request.
    """

    unit: str
    after: list[str] = []
    requires: Requirement = Requirement.SUCCESS
    optional: bool = False
    patience_s: float = 0.0
    waited_s: float = 0.0
    since_run: int = -1
    last: bool = False
    wait: bool = True
    on_owner_exit: OnOwnerExit = OnOwnerExit.FAIL
    on_skip: OnSkip = OnSkip.EXIT
    launching: bool = False
    claim: bool = True


class MarkReady(Request, tag="ready", frozen=True):
    """The unit's run is no longer ``launching``. If it is another one than ``run`` by now, nothing
    is changed; 0 means whichever it is."""

    unit: str
    run: int = 0


class Note(Request, tag="note", frozen=True):
    """Says what the unit is doing now, in one line of at most NOTE_CHARS_MAX characters: more is
    cut. "" takes back what was said. Nothing is changed if the unit has ended, or if its run is
    another one than ``run`` by now; 0 means whichever it is."""

    unit: str
    text: str = ""
    run: int = 0


class Retry(Request, tag="retry", frozen=True):
    """Ends the owner's own run as failed for ``reason``, and begins the next one at once. The
    answer is Granted."""

    unit: str
    reason: str = ""


class Withdraw(Request, tag="withdraw", frozen=True):
    """Takes back the start request ``start_id``. If it was granted meanwhile, its run fails
    with ``reason``."""

    unit: str
    start_id: str
    reason: str = "cancelled"


class Complete(Request, tag="complete", frozen=True):
    """``even_so``: accept it even if this owner's start was refused."""

    unit: str
    exit_code: int = 0
    even_so: bool = False


class Fail(Request, tag="fail", frozen=True):
    unit: str
    reason: str = ""


class Wait(Request, tag="wait", frozen=True):
    """Answered like Start, but registers and grants nothing. The answer is Ok when the
    requirement is met."""

    units: list[str]
    requires: Requirement = Requirement.SUCCESS
    any: bool = False
    patience_s: float = 0.0
    waited_s: float = 0.0
    last: bool = False
    wait: bool = True


class StatusOf(Request, tag="status", frozen=True):
    unit: str


class List(Request, tag="list", frozen=True):
    """Asks for a page of at most ``limit`` units, in the order in which they were first
    mentioned. If ``units`` holds names and patterns, only those that match: then a page may hold
    fewer, or none."""

    offset: int = 0
    limit: int = 1000
    units: list[str] = []


class Why(Request, tag="why", frozen=True):
    """``unit`` "" asks about everything that is stuck: a page of units from ``offset`` on. A
    pattern asks the same about the units that match."""

    unit: str = ""
    offset: int = 0


class Ping(Request, tag="ping", frozen=True):
    """``trial``: find out, without making a change, whether one would succeed now. If not,
    the answer is the error that a change would get."""

    trial: bool = False


class Hosts(Request, tag="hosts", frozen=True):
    """Asks which hosts the job has."""


class Startups(Request, tag="startups", frozen=True):
    """Asks which startups the journal holds."""


class Events(Request, tag="events", frozen=True):
    """Asks for records of the journal, whatever startup they belong to: those from the number
    ``from_seq`` on, and the epochs after the one with the number ``after_epoch``. As many as fit
    into a page. If there are none yet, the answer comes when there are, and after ``patience_s``
    at the latest. ``journal`` is the id of the journal that the numbers belong to, "" for any."""

    from_seq: int = 0
    after_epoch: int = 0
    journal: str = ""
    patience_s: float = 0.0


class Reset(Request, tag="reset", frozen=True):
    """``units`` holds names, and patterns of which each has to match."""

    units: list[str] = []
    all: bool = False
    force: bool = False

    def reserved(self) -> str:
        return "reset --all" if self.all else "reset --force" if self.force else ""


class Stop(Request, tag="stop", frozen=True):
    def reserved(self) -> str:
        return "stop"


AnyRequest: TypeAlias = (
    Want
    | Declare
    | Unwant
    | Gate
    | Start
    | MarkReady
    | Note
    | Retry
    | Withdraw
    | Complete
    | Fail
    | Wait
    | StatusOf
    | List
    | Why
    | Ping
    | Hosts
    | Startups
    | Events
    | Reset
    | Stop
)

for _kind in get_args(AnyRequest):
    _kind.may = REQUESTS[str(_kind.__struct_config__.tag)]


# --- replies ----------------------------------------------------------------------


class Ok(Reply, tag="ok", frozen=True):
    """Done, or already so (``changed`` False). ``note`` says what else there is to know."""

    changed: bool = True
    note: str = ""
    status: Status | None = None
    """The unit's status afterwards, if the request named one unit."""
    units: list[str] = []
    """For Wait: the units that meet the requirement."""


class Granted(Reply, tag="granted", frozen=True):
    run: int
    note: str = ""


class Waiting(Reply, tag="waiting", frozen=True):
    """Not yet. Ask again with the same ``id``, ``epoch`` and ``since_run`` = ``run``."""

    run: int = 0
    waiting_for: list[Prerequisite] = []
    total: int = 0


class Ready(Reply, tag="ready", frozen=True):
    """A start would have been granted just now. Claim it with the same ``id``. To a Start with
    ``claim`` False this is the final answer."""

    run: int = 0


class Error(Reply, tag="error", frozen=True):
    """See unitsync.errors for codes and details."""

    code: str
    message: str
    hint: str = ""
    details: dict[str, Any] = {}


class StatusReply(Reply, tag="status", frozen=True):
    unit: UnitInfo


class ListReply(Reply, tag="list", frozen=True):
    units: list[UnitInfo]
    total: int
    next: int = -1
    """Offset of the next page, -1 after the last."""


class WhyReply(Reply, tag="why", frozen=True):
    tree: WhyNode | None = None
    groups: list[WhyGroup] = []
    """The groups of this page. The same cause may be in several pages."""
    next: int = -1
    """Offset of the next page, -1 after the last."""


class HostsReply(Reply, tag="hosts", frozen=True):
    """``job`` is "" if the coordinator belongs to none; ``expected`` is how many hosts it is to
    have, 0 if nobody said. ``takes_part``: others hear of this host now. ``standing`` says in one
    line why it does not, or how."""

    job: str = ""
    host: str = ""
    takes_part: bool = False
    standing: str = ""
    expected: int = 0
    hosts: list[Host] = []
    """By name."""


class StartupsReply(Reply, tag="startups", frozen=True):
    """``oldest`` is the number of the oldest record that is kept, ``next_seq`` that of the next
    one. An epoch that began before ``oldest`` is no longer complete. ``ahead`` is what to add to a
    time of the records for that of the wall clock."""

    journal: str
    """Names the journal; "" if there is none, or none that has a name."""
    epochs: list[Epoch]
    """Oldest first."""
    oldest: int
    next_seq: int
    ahead: float = 0.0


class EventsReply(StartupsReply, tag="events", frozen=True):
    """``epochs`` are those that begin before the end of this page. ``parts`` holds records that
    follow one another: the number of the first one, and the list of them."""

    parts: list[tuple[int, msgspec.Raw]] = []


class Pong(Reply, tag="pong", frozen=True):
    version: str
    protocol: int
    pid: int
    startup: str
    units: int
    edges: int
    since: float
    """Unix time in seconds when the coordinator began."""


AnyReply: TypeAlias = (
    Ok
    | Granted
    | Waiting
    | Ready
    | Error
    | StatusReply
    | ListReply
    | WhyReply
    | HostsReply
    | StartupsReply
    | EventsReply
    | Pong
)

encode = msgspec.msgpack.Encoder().encode
_decode_reply: Callable[[bytes], AnyReply] = msgspec.msgpack.Decoder(AnyReply).decode


class _Envelope(msgspec.Struct):
    """The two fields that can be read from an otherwise invalid request, even if one of them
    is what is wrong."""

    id: Any = ""
    v: Any = 0


_decode_envelope = msgspec.msgpack.Decoder(_Envelope).decode


@cache
def _request_decoder() -> Callable[[bytes], AnyRequest]:
    """Made when it is needed: only the coordinator decodes requests, and it takes a quarter of the
    time in which this module is loaded."""
    return msgspec.msgpack.Decoder(AnyRequest).decode


def decode_request(frame: bytes) -> AnyRequest:
    """The request in *frame*. Raises ProtocolError, with the request's ``id`` in its
    details ("" if it could not be read)."""
    try:
        request = _request_decoder()(frame)
        if request.v <= PROTOCOL:
            return request
        problem = ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        problem = str(exc)
    try:
        envelope = _decode_envelope(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        envelope = _Envelope()
    request_id = envelope.id if isinstance(envelope.id, str) else ""
    if isinstance(envelope.v, int) and envelope.v > PROTOCOL:
        raise ProtocolError(
            f"this coordinator speaks protocol {PROTOCOL}, the client {envelope.v}",
            hint="stop the older coordinator: unitsync stop",
            id=request_id,
        )
    raise ProtocolError(f"not a request: {problem}", id=request_id)


def decode_reply(frame: bytes) -> AnyReply:
    """The reply in *frame*. Raises ProtocolError."""
    try:
        return _decode_reply(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise not_a_reply(exc) from None


def check_reply(fields: object) -> None:
    """Raises ProtocolError if *fields*, decoded without types, are not those of a reply."""
    try:
        msgspec.convert(fields, AnyReply)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise not_a_reply(exc) from None
