"""The verbs of Client: those of AsyncClient, each run to its end.

Made from the descriptions by `make docs`: do not edit.
"""

from __future__ import annotations

from unitsync.clients.base import ClientBase
from unitsync.clients.blocking import block, blocking, iterating
from unitsync.clients.verbs import Verbs


class BlockingVerbs(ClientBase):
    """See Verbs for what each does."""

    call = blocking(Verbs.call)
    complete = blocking(Verbs.complete)
    declare = blocking(Verbs.declare)
    events = iterating(Verbs.events)
    fail = blocking(Verbs.fail)
    gate = blocking(Verbs.gate)
    hosts = blocking(Verbs.hosts)
    list = blocking(Verbs.list)
    note = blocking(Verbs.note)
    ping = blocking(Verbs.ping)
    ready = blocking(Verbs.ready)
    ready_to_start = blocking(Verbs.ready_to_start)
    reset = blocking(Verbs.reset)
    retry = blocking(Verbs.retry)
    start = blocking(Verbs.start)
    startups = blocking(Verbs.startups)
    status = blocking(Verbs.status)
    stop = blocking(Verbs.stop)
    unit = block(Verbs.unit)
    unwant = blocking(Verbs.unwant)
    wait = blocking(Verbs.wait)
    want = blocking(Verbs.want)
    why = blocking(Verbs.why)
