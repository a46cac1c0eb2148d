"""One verb from its words to its exit status. The command ``unitsync`` begins here.

Starting Python takes 7 ms; importing zmq, msgspec and typer takes ten times that. Here a verb
talks to the coordinator without any of them (link/by_hand.py). Most replies already hold the
text to print and the exit status. conversation.py decides how the conversation goes.

Each module costs 0.1 ms, too. So only what every verb needs is imported at the top, and only
what the interpreter has already loaded. output/answers.py is imported if there is something to
print, link/autostart.py and endpoint.py if no coordinator is there, or none that answers.
"""

import os
import sys
from time import monotonic, sleep

from unitsync.link.by_hand import Link, Plain, address_of, pack, reach, unpack
from unitsync.link.conversation import (
    FOREVER,
    Autostart,
    Conversation,
    Done,
    Pause,
    withdrawal,
)
from unitsync.owner import calling_script
from unitsync.verb.commandline import Leave, as_utf8, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from unitsync.link.conversation import May, Step
    from unitsync.verb.commandline import Call, Message


def main() -> None:
    """Run the verb in ``sys.argv`` and end the process with its exit status. Returns if the
    words are left to the full command line: express.py goes on with them."""
    status = run(as_utf8(sys.argv[1:]))
    if status is not None:
        # There is nothing to clean up, and the interpreter's own cleanup takes time.
        os._exit(status)


def run(words: list[str]) -> int | None:
    """Perform the verb in *words*. Returns its exit status, or None for words that are left
    to the full command line. Errors have been printed on stderr by then."""
    try:
        return perform(read(words, os.environ))
    except Leave:
        return None
    except SystemExit as exc:  # by a signal
        return int(exc.code or 0)
    except BaseException as problem:
        from unitsync.output.answers import report_any

        return report_any(problem)


def perform(call: "Call") -> int:
    """Send the request of *call* and print the answer. Returns the exit status. Raises
    UnitsyncError, and SystemExit if a signal ended it."""
    if call.module:
        return _performed_by(call)
    if call.notes:
        print_lines(err=call.notes)
    call.request["owner"] = _owner(call)
    reply = converse(call.address, call.request, call.verb.may, call.timeout_s)
    pages = [reply]
    try:
        while reply.next > 0:
            request = {**call.request, "offset": reply.next, "epoch": reply.epoch}
            reply = converse(call.address, request, call.verb.may)
            pages.append(reply)
        if is_silent(reply):
            return int(reply.exit)
        from unitsync.output.answers import show

        return show(call, pages)
    except _BROKEN:
        check(*pages)
        raise


def _performed_by(call: "Call") -> int:
    """Let the module of the verb perform *call*. It is named, not imported, because it stands
    above this one."""
    if not call.command:
        _see_all_modules()
        from unitsync.modules.loading import imported

        status: int = imported(call.module).main(call)
        return status
    # ``run``, which costs no more than the other verbs.
    __import__(call.module)
    ended: int = sys.modules[call.module].main(call)
    return ended


def is_silent(reply: "Any") -> bool:
    """Whether *reply* is the usual one to a verb that changes something: there is nothing to
    print."""
    done = reply.result in ("ok", "granted")
    return done and not (reply.out or reply.err or reply.units)


def _owner(call: "Call") -> "Message":
    """The owner for *call*: the calling script, or the process that was named."""
    if call.owner_pid is None:
        return calling_script.calling_owner(sys.argv)
    return calling_script.owner_of(call.owner_pid)


def from_start(start: "Message") -> "Message":
    """What a further request about the same start says too."""
    return {field: start[field] for field in ("unit", "owner", "startup") if field in start}


# --- the conversation ---------------------------------------------------------------


def converse(
    address: str,
    request: "Message",
    may: "May",
    timeout_s: float = FOREVER,
    *,
    on_granted: "Callable[[], None]" = lambda: None,
) -> "Any":
    """The final reply to *request* as a Plain. If *address* is "", the environment names it.

    *on_granted* is called when a start is granted. Until it has returned, a signal that ends
    the process takes the start back and raises SystemExit. Raises UnitsyncError. If an answer
    is delayed, stderr says why.
    """
    request["id"] = os.urandom(8).hex()
    try:
        pack(request)
    except UnicodeEncodeError:
        from unitsync.names.unit_names import FIELDS, not_utf8

        raise not_utf8(request.get(field, ()) for field in FIELDS) from None
    address = address_of(address)
    connection = _Connection(address, may)
    talk = Conversation(request["verb"], Plain(request), may, address)
    if may.waits:
        _let_signals_raise()
    try:
        step: Step = talk.begin(monotonic(), timeout_s)
        while not isinstance(step, Done):
            if step.notice is not None:
                print_lines(err=step.notice.err, out=step.notice.out)
            if isinstance(step, Pause):
                connection.drop()
                sleep(step.delay_s)
                step = talk.resume(monotonic())
                continue
            request.update(step.changes)
            try:
                link = connection.open(told=talk.told, by=step.reach_by)
                reply = _asked(link, request, step.reply_by(monotonic()))
            except TimeoutError:
                step = talk.lost(monotonic(), overdue=True)
            except OSError:
                looked = connection.lost()
                step = talk.lost(monotonic()) if looked else talk.resume(monotonic())
            except Exception as problem:
                step = _without_one(problem, talk, request)
            else:
                step = _after(reply, talk)
        final = Plain({"result": "ok"}) if step.reply is None else step.reply
        if final.result == "granted":
            on_granted()
        return final
    except BaseException as exc:
        if request["verb"] == "start":
            connection.withdraw(request, exc)
        raise


def print_lines(*, err: "Iterable[str]", out: "Iterable[str]" = ()) -> None:
    from unitsync.output.answers import print_err, print_out
    from unitsync.text.printing import safe

    print_err(map(safe, err))
    print_out(map(safe, out))


def _let_signals_raise() -> None:
    import _signal  # type: ignore[import-not-found]  # signal itself loads enum

    for number in (_signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _end)


def _end(number: int, frame: object) -> "NoReturn":
    raise SystemExit(128 + number)


def _asked(link: Link, request: "Message", by: float) -> "Any":
    """The reply to *request*. Raises OSError, TimeoutError at *by*, ProtocolError."""
    link.send(pack(request), by)
    while True:
        frame = link.receive(by)
        try:
            reply = understood(frame)
        except ValueError as problem:
            from unitsync.errors import not_a_reply

            raise not_a_reply(problem) from None
        if reply["id"] in (request["id"], ""):  # "": the coordinator could not read the id
            return Plain(reply)


def _see_all_modules() -> None:
    """Call this before an import of what express.py does without: packages, and modules of
    Python that a script's own modules could stand in for."""
    from unitsync.modules import module_path

    module_path.see_all_packages()
    module_path.installed_first()


_BROKEN = (TypeError, AttributeError, ValueError, LookupError)
"""What comes of a reply that has the right kind, but not the fields of that kind."""


def check(*replies: Plain) -> None:
    """Raises ProtocolError if one of the *replies* has not the fields of its kind. Not for
    every reply, because that needs msgspec."""
    _see_all_modules()
    from unitsync import wire

    for reply in replies:
        wire.check_reply(reply.fields)


def _after(reply: "Any", talk: Conversation) -> "Step":
    try:
        return talk.received(reply.result, reply, monotonic())
    except _BROKEN:
        check(reply)
        raise


def _without_one(problem: Exception, talk: Conversation, request: "Message") -> "Step":
    """The next step if *problem* means that there is no coordinator. Raises any other
    *problem*, and what ``away`` raises."""
    from unitsync.errors import Stopped
    from unitsync.link.absent import Absent, NothingKept

    if not isinstance(problem, Absent | Stopped):
        raise problem
    if not isinstance(problem, NothingKept) or talk.epoch:
        return talk.away(problem, monotonic())
    from unitsync import wire
    from unitsync.output import empty_replies

    answer = empty_replies.reply(wire.decode_request(pack(request)))
    return Done(Plain(understood(wire.encode(answer))))


class _Connection:
    """The connection to the coordinator at *address*. Made when it is needed."""

    def __init__(self, address: str, may: "May") -> None:
        self._address = address
        self._may = may
        self._link: Link | None = None
        self._careful = os.environ.get("UNITSYNC_AUTOSTART", "") not in ("", "0", "1")
        """Whether to connect through endpoint.py, which checks everything and explains what
        is wrong."""
        self._looked = False
        """Whether the link was made that way."""

    def open(self, *, told: bool, by: float) -> Link:
        """The link, made now if there is none. Raises UnitsyncError, and ConnectionError if
        the coordinator has gone meanwhile."""
        if self._link is not None:
            return self._link
        if not self._careful:
            # A request that only looks starts no coordinator, so it need not wait while another
            # process starts one.
            always = self._may.autostart == Autostart.ALWAYS
            starting = always and os.environ.get("UNITSYNC_AUTOSTART") != "0"
            try:
                self._link = reach(self._address, by=by, starting=starting)
                self._looked = False
                return self._link
            except (OSError, ValueError, ImportError):
                pass
        _see_all_modules()
        from unitsync.link import absent, autostart, spawn_lock
        from unitsync.link import endpoint as endpoints

        endpoint = endpoints.resolve(self._address)
        allowed = autostart.is_allowed()
        when = self._may.autostart
        try:
            autostart.ensure(endpoint, when=when, autostart=allowed, told=told, by=by)
            socket = endpoints.connect(endpoint, by)
        except OSError as problem:  # no descriptor is left, say: not a broken link
            why = f"cannot reach the coordinator at {self._address}: {problem.strerror or problem}"
            raise absent.Absent(why, endpoint=self._address) from None
        finally:
            spawn_lock.let_go()
        if socket is None:
            raise ConnectionError
        self._careful, self._looked = False, True
        self._link = Link(socket)
        return self._link

    def lost(self) -> bool:
        """Drop the broken link. Returns False if the coordinator may have refused us: it
        closes the connection of a user whom it does not serve without sending anything. The
        next connection is then made through endpoint.py, which finds out."""
        greeted, looked = self._link is None or self._link.greeted, self._looked
        self._careful = not greeted
        self.drop()
        return greeted or looked

    def drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def withdraw(self, start: "Message", why: BaseException) -> None:
        """Take *start* back: nothing may be granted to a client that is gone.

        If it was interrupted, use a new connection, because nobody knows how much of the
        request went through the old one. The coordinator obeys a withdrawal even if it
        arrives before the start."""
        reason, patience_s = withdrawal(why)
        by = monotonic() + patience_s
        request: Message = {
            "verb": "withdraw",
            "id": os.urandom(8).hex(),
            **from_start(start),
            "start_id": start["id"],
            "reason": reason,
        }
        try:
            if not isinstance(why, Exception):  # interrupted
                self.drop()
                self._link = reach(self._address, by=by)
            if self._link is not None:
                _asked(self._link, request, by)
        except Exception:
            pass  # the coordinator is gone too, or forgets the start by itself


def understood(frame: bytes) -> "Message":
    """The reply in *frame*. Raises ValueError if it is not a reply that can be printed."""
    try:
        reply, end = unpack(frame, 0)
    except (IndexError, RecursionError, TypeError):
        raise ValueError("not msgpack") from None
    if (
        end != len(frame)
        or type(reply) is not dict
        or type(reply.get("id")) is not str
        or type(reply.get("result")) is not str
        or type(reply.get("exit", 0)) is not int
        or (reply["result"] == "error" and not _is_error(reply))
        or not _are_lines(reply.get("out", []))
        or not _are_lines(reply.get("err", []))
    ):
        raise ValueError("not a reply")
    return reply


def _is_error(reply: "Message") -> bool:
    return type(reply.get("code")) is str and type(reply.get("message")) is str


def _are_lines(value: object) -> bool:
    return type(value) is list and all(type(line) is str for line in value)
