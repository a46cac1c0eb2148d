"""One message of each kind, with every field that it can have, and some as a client
sends them that leaves out what has a default. A request of which only the fields matter is
made from its class."""

from __future__ import annotations

from typing import Any, Final, get_args

from msgspec import Raw
from msgspec.structs import fields

from unitsync.wire import (
    AnyReply,
    AnyRequest,
    Complete,
    Declaration,
    Declare,
    Epoch,
    Error,
    EventsReply,
    Fail,
    Gate,
    Granted,
    HistoryEntry,
    Host,
    Hosts,
    HostsReply,
    List,
    ListReply,
    Ok,
    OnOwnerExit,
    OnSkip,
    Owner,
    Ping,
    Pong,
    Prerequisite,
    Ready,
    Render,
    Requirement,
    Reset,
    Start,
    StartupsReply,
    Status,
    StatusReply,
    UnitInfo,
    Unwant,
    Wait,
    Waiting,
    Want,
    Why,
    WhyGroup,
    WhyNode,
    WhyReply,
    Withdraw,
)

_OWNER: Final = Owner(
    pid=4711, start=123456, ns=4026531836, command="bash clone.sh größe", watched=False
)
_SENT: Final[dict[str, Any]] = {
    "id": "0123456789abcdef01234567",
    "v": 0,
    "epoch": "a1b2c3d4e5f60718",
    "startup": "boot:4026531836:17",
    "owner": _OWNER,
    "render": Render.CODER,
}
_TOLD: Final[dict[str, Any]] = {
    "id": "0123456789abcdef01234567",
    "epoch": "a1b2c3d4e5f60718",
    "exit": 1,
    "out": ["Success"],
    "err": ["unitsync: something to know"],
}
_SINCE: Final = 1_700_000_000.25

_EDGE: Final = Prerequisite(
    name="git-clone",
    requires=Requirement.COMPLETION,
    status=Status.STARTED,
    met=True,
    optional=True,
    since=_SINCE,
    owner=_OWNER,
    reason="exit status 128",
    owner_gone=True,
    nearest="git-clones",
    pattern="git-*",
    before="*",
    next_run=True,
    note="cloning: 43 %",
)
_UNIT: Final = UnitInfo(
    name="ide",
    status=Status.FAILED,
    is_ready=True,
    since=_SINCE,
    run=3,
    reason="exit status 2",
    owner=_OWNER,
    owner_gone=True,
    on_owner_exit=OnOwnerExit.WARN,
    prerequisites=[_EDGE],
    prerequisites_total=12,
    waiting_clients=2,
    given_up="timed out",
    given_up_why="because",
    history=[HistoryEntry(_SINCE, "failed", 3, _OWNER, "exit status 2")],
    nearest="idea",
    given_up_by=_OWNER,
    still_runs=True,
    gate=True,
    gate_count=2,
    note="cloning: größe 43 %",
)
_OTHER: Final = UnitInfo(name="deps", status=Status.NOT_REGISTERED, is_ready=True)
_NODE: Final = WhyNode(
    _UNIT, None, [WhyNode(_OTHER, Requirement.START, [], 0), WhyNode(_OTHER, None, [], 7)], 1
)

REQUESTS: Final[dict[str, AnyRequest]] = {
    "want": Want(
        **_SENT,
        unit="ide",
        prerequisites=["git-clone", "größe"],
        requires=Requirement.START,
        optional=True,
    ),
    "want-least": Want(id="1", unit="ide", prerequisites=["git-clone"]),
    "declare": Declare(
        **_SENT,
        units=[Declaration("ide", ["git-clone"]), Declaration("git-clone")],
        requires=Requirement.COMPLETION,
        optional=True,
    ),
    "unwant": Unwant(**_SENT, unit="ide", prerequisites=["git-clone"]),
    "gate": Gate(
        **_SENT,
        unit="usable",
        prerequisites=["git-clone", "ide", "deps"],
        requires=Requirement.COMPLETION,
        optional=True,
        count=2,
    ),
    "gate-least": Gate(id="1", unit="usable"),
    "start": Start(
        **_SENT,
        unit="ide",
        after=["git-clone"],
        requires=Requirement.COMPLETION,
        optional=True,
        patience_s=29.5,
        waited_s=90.5,
        since_run=2,
        last=True,
        wait=False,
        on_owner_exit=OnOwnerExit.IGNORE,
        on_skip=OnSkip.WAIT,
        launching=True,
        claim=False,
    ),
    "start-least": Start(id="1", unit="ide"),
    "start-elsewhere": Start(
        id="1",
        unit="ide",
        owner=Owner(4711, 123456, 4026531836, "bash clone.sh", clock=4026531834, cwd="/repo"),
    ),
    "withdraw": Withdraw(**_SENT, unit="ide", start_id="76543210", reason="interrupted"),
    "complete": Complete(**_SENT, unit="ide", exit_code=128, even_so=True),
    "complete-least": Complete(id="1", unit="ide"),
    "fail": Fail(**_SENT, unit="ide", reason="no space left"),
    "wait": Wait(
        **_SENT,
        units=["ide", "git-clone"],
        requires=Requirement.START,
        any=True,
        patience_s=30.0,
        waited_s=90.5,
        last=True,
        wait=False,
    ),
    "wait-least": Wait(id="1", units=["ide"]),
    "list": List(**_SENT, offset=2000, limit=50, units=["ide", "git-*"]),
    "list-least": List(id="1"),
    "why": Why(**_SENT, unit="ide", offset=7),
    "hosts": Hosts(**_SENT),
    "ping": Ping(**_SENT, trial=True),
    "ping-least": Ping(id="1"),
    "reset": Reset(**_SENT, units=["ide"], all=True, force=True),
}


_VALUES: Final[dict[Any, Any]] = {str: "ide", int: 7, float: 1.5, bool: True, list[str]: ["ide"]}
_SAMPLED: Final = {type(request) for request in REQUESTS.values()}
for _kind in (kind for kind in get_args(AnyRequest) if kind not in _SAMPLED):
    _own = [field for field in fields(_kind) if field.name not in _SENT]
    _given = {field.name: _VALUES[field.type] for field in _own}
    REQUESTS[str(_kind.__struct_config__.tag)] = _kind(**_SENT, **_given)

_EPOCH: Final = Epoch(8, 1234, "c0ffee", "boot:4026531836:17", _SINCE, by_reset=True)

REPLIES: Final[dict[str, AnyReply]] = {
    "ok": Ok(
        **_TOLD, changed=False, note="ide has completed", status=Status.SKIPPED, units=["ide"]
    ),
    "ok-least": Ok(id="1"),
    "granted": Granted(**_TOLD, run=3, note="ide is already started by you"),
    "granted-least": Granted(id="1", run=1),
    "waiting": Waiting(**_TOLD, run=3, waiting_for=[_EDGE], total=12),
    "ready": Ready(**_TOLD, run=3),
    "error": Error(
        **_TOLD,
        code="skipped",
        message="ide is skipped: git-clone failed: exit status 128",
        hint="unitsync why ide",
        details={"unit": "ide", "cause": "git-clone", "path": ["ide", "git-clone"], "n": 1.5},
    ),
    "status": StatusReply(**_TOLD, unit=_UNIT),
    "list": ListReply(**_TOLD, units=[_UNIT, _OTHER], total=12, next=2),
    "why": WhyReply(
        **_TOLD, tree=_NODE, groups=[WhyGroup(_UNIT, "owner gone", ["a", "b"])], next=3
    ),
    "hosts": HostsReply(
        **_TOLD,
        job="train-17",
        host="node-0",
        takes_part=True,
        standing="no link to the log",
        expected=8,
        hosts=[
            Host("node-0", own=True, claim=4, epoch="e1", synced=True),
            Host("node-1", claim=5, epoch="e2", released=True, silent_s=38.5, skew_s=-0.25),
        ],
    ),
    "startups": StartupsReply(
        **_TOLD, journal="a journal", epochs=[_EPOCH], oldest=1200, next_seq=1300, ahead=1.5
    ),
    "events": EventsReply(
        **_TOLD,
        journal="a journal",
        epochs=[_EPOCH, Epoch(9, 1250, "another", "agent 2", _SINCE)],
        oldest=1200,
        next_seq=1300,
        parts=[(1234, Raw(b"\x91\x92\xa3ide\x92\xaaregistered\xcb?\xf8\0\0\0\0\0\0"))],
        ahead=1.5,
    ),
    "pong": Pong(
        **_TOLD,
        version="1.2.3",
        protocol=1,
        pid=4712,
        startup="boot:4026531836:17",
        units=100_000,
        edges=300_000,
        since=_SINCE,
    ),
}
