"""The output of a command on its way: into its log, and through to our stdout and stderr, each
line with the unit's name if it is wanted.

The command gets pipes for its stdout and stderr, and a thread reads them. If both of ours are
the same file it gets one pipe for both, so that the order of its output stays. Imports only
what the interpreter has already loaded, and ``select`` and ``fcntl``.
"""

import _thread
import os
from time import monotonic

from unitsync.process.command import keep_only, same_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unitsync.logs.files import RunLog

CHUNK_BYTES = 1 << 18
PIPE_BYTES = 1 << 20
"""The size of the pipes, if the kernel allows it."""
HELD_BYTES_MAX = 1 << 16
"""A longer line is passed on in parts."""
_F_SETPIPE_SZ = 1031
_IDLE_MS = 100
"""An unfinished line, such as a prompt, is passed on if nothing follows for so long."""
_UNWRITTEN_S = 0.25
"""For so long, a flood of output may be kept in memory before it is written to the log."""
_COLOURS = (b"36", b"33", b"32", b"35", b"34", b"31")


def prefixes_for(unit: str, width: int = 0) -> tuple[bytes, bytes]:
    """What each line of *unit* begins with, on stdout and on stderr: its name, in *width* columns
    or more. At a terminal it has a colour, always the same one for the same unit."""
    from unitsync.text.printing import padded, safe

    name = safe(unit).encode("utf-8", "backslashreplace")
    column = padded(safe(unit), width).encode("utf-8", "backslashreplace")
    plain = column + b" | "
    painted = b"\x1b[%sm%s |\x1b[0m " % (_COLOURS[sum(name) % len(_COLOURS)], column)
    no_colour = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    out, err = (plain if no_colour or not os.isatty(fd) else painted for fd in (1, 2))
    return out, err


class _Stream:
    """One pipe, and the descriptor ``through`` to which its content goes on."""

    def __init__(self, number: int, through: int, prefix: bytes) -> None:
        self.number = number
        self.through = through if is_our_callers(through) else -1
        self.prefix = prefix
        self.held = b""
        """The beginning of a line that has no end yet."""
        self.begun = False
        """Whether the beginning of that line has been passed on."""
        reads, writes = os.pipe()
        self.reads, self.writes = _above_stdio(reads), _above_stdio(writes)
        os.set_blocking(self.reads, False)


class Pump:
    """``stdio`` says which descriptors the command gets (command.spawn). Then call ``begin``
    once the command is there, and ``finish`` when it has ended."""

    def __init__(
        self,
        *,
        prefixes: "tuple[bytes, bytes]",
        log: "RunLog | None",
        saw: "Callable[[int, bytes], None] | None" = None,
        on_problem: "Callable[[str], None]",
    ) -> None:
        """*prefixes* for the lines of stdout and stderr. *saw* is called in the thread with
        each chunk of a stream, *on_problem* if output cannot be passed on. Raises OSError."""
        self._log = log
        self._saw = saw
        self._on_problem = on_problem
        self._streams = [_Stream(1, 1, prefixes[0])]
        self.stdio = [(self._streams[0].writes, 1), (self._streams[0].writes, 2)]
        if not (is_our_callers(1) and is_our_callers(2) and same_file(1, 2)):
            self._streams.append(_Stream(2, 2, prefixes[1]))
            self.stdio[1] = (self._streams[1].writes, 2)
        self._open = list(self._streams)
        """Those that may still bring something."""
        stops, self._stop = os.pipe()
        self._stops, self._stop = _above_stdio(stops), _above_stdio(self._stop)
        self._over = _thread.allocate_lock()
        self._gone = {-1}
        """The descriptors that cannot be written to any more."""
        import fcntl

        for stream in self._streams:
            try:
                fcntl.fcntl(stream.reads, _F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:  # too many pipes of this user
                pass

    def begin(self) -> None:
        """The command has been started, or could not be."""
        for stream in self._streams:
            os.close(stream.writes)
        self._over.acquire()
        _thread.start_new_thread(self._work, ())

    def finish(self, patience_s: float = -1) -> bool:
        """The command has ended: pass on what it has put out. Returns False if that takes
        longer than *patience_s* (-1: however long); then call it again."""
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1
        if not self._over.acquire(timeout=patience_s):
            return False
        self._over.release()
        return True

    def leave(self) -> None:
        """Call it after ``finish``. If a process that the command left in the background can
        still write, a process of its own goes on passing on its output."""
        if self._open and _fork_alone() == 0:
            try:
                os.setsid()
                os.chdir("/")
                descriptors = self._log.descriptors if self._log is not None else ()
                keep_only((1, 2, *(stream.reads for stream in self._streams), *descriptors))
                self._pass_on(until_told=False)
            finally:
                os._exit(0)
        for stream in self._streams:
            os.close(stream.reads)
        os.close(self._stops)
        if self._log is not None:
            self._log.close()

    def _work(self) -> None:
        try:
            self._pass_on(until_told=True)
        except Exception as problem:
            self._on_problem(str(problem))
            for stream in self._open:  # so that the command does not wait forever
                os.close(stream.reads)
            self._streams = [each for each in self._streams if each not in self._open]
            self._open = []
        finally:
            self._over.release()

    def _pass_on(self, *, until_told: bool) -> None:
        import select

        poll = select.poll()
        for stream in self._open:
            poll.register(stream.reads, select.POLLIN)
        if until_told:
            poll.register(self._stops, select.POLLIN)
        flush_at = monotonic() + _UNWRITTEN_S
        while self._open:
            ready = {descriptor for descriptor, _ in poll.poll(0)}
            if not ready or monotonic() >= flush_at:
                self._flush_log()
                flush_at = monotonic() + _UNWRITTEN_S
            if not ready:
                held = any(stream.held for stream in self._open)
                ready = {descriptor for descriptor, _ in poll.poll(_IDLE_MS if held else None)}
            for stream in list(self._open):
                if stream.reads in ready:
                    self._read(stream)
                elif stream.held and not ready:
                    self._flush(stream)
                if stream not in self._open:
                    poll.unregister(stream.reads)
            if self._stops in ready:
                break
        self._empty()
        self._flush_log()

    def _flush_log(self) -> None:
        if self._log is not None and not self._log.is_flushed:
            self._log.flush()

    def _empty(self) -> None:
        """Read what is in the pipes, but not forever if somebody goes on writing."""
        for stream in list(self._open):
            left = PIPE_BYTES
            while left > 0 and (read := self._read(stream)):
                left -= read
            if stream.held:
                self._flush(stream)

    def _read(self, stream: _Stream) -> int:
        """Pass on what is there. Returns how many bytes that were. At its end the stream is not
        among the open ones any more."""
        try:
            chunk = os.read(stream.reads, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if not chunk:
            self._end(stream)
            return 0
        self._take(stream, chunk)
        return len(chunk) if stream in self._open else 0

    def _end(self, stream: _Stream) -> None:
        self._open.remove(stream)
        if stream.held:
            self._flush(stream)
        if stream.begun:
            stream.begun = False
            self._write(stream, [b"\n"])

    def _take(self, stream: _Stream, chunk: bytes) -> None:
        if self._log is not None:
            self._log.add(stream.number, chunk)
        if self._saw is not None:
            self._saw(stream.number, chunk)
        prefix = stream.prefix
        if not prefix:
            self._write(stream, [chunk])
            return
        end = chunk.rfind(b"\n") + 1
        if not end:
            stream.held += chunk
            if len(stream.held) > HELD_BYTES_MAX:
                self._flush(stream)
            return
        begin = b"" if stream.begun else prefix
        lines = chunk.replace(b"\n", b"\n" + prefix)
        without = len(prefix) + len(chunk) - end
        pieces: list[Any] = [begin, stream.held, memoryview(lines)[: len(lines) - without]]
        stream.held = chunk[end:]
        stream.begun = False
        self._write(stream, pieces)

    def _flush(self, stream: _Stream) -> None:
        """Pass on an unfinished line."""
        pieces: list[Any] = [b"" if stream.begun else stream.prefix, stream.held]
        stream.held = b""
        stream.begun = True
        self._write(stream, pieces)

    def _write(self, stream: _Stream, pieces: "list[Any]") -> None:
        target = stream.through
        if target in self._gone:
            return
        try:
            written = os.writev(target, pieces)
            wanted = sum(map(len, pieces))
            if written < wanted:
                rest = memoryview(b"".join(pieces))[written:]
                while rest:
                    rest = rest[_written(target, rest) :]
        except BlockingIOError:  # somebody else made it so
            rest = memoryview(b"".join(pieces))
            try:
                while rest:
                    rest = rest[_written(target, rest) :]
            except OSError as problem:
                self._cannot_write(stream, problem)
        except OSError as problem:
            self._cannot_write(stream, problem)

    def _cannot_write(self, stream: _Stream, problem: OSError) -> None:
        """As far as there is nobody left to read it, the command learns that as if it wrote
        there itself. Otherwise its output goes only into the log from now on."""
        self._gone.add(stream.through)
        if isinstance(problem, BrokenPipeError):
            stream.held = b""
            stream.begun = False
            if stream in self._open:
                self._open.remove(stream)
            self._streams.remove(stream)
            os.close(stream.reads)
        elif problem.errno not in (5, 9):  # a terminal that is gone; closed by our caller
            name = "stdout" if stream.through == 1 else "stderr"
            self._on_problem(f"its output cannot be passed on to {name}: {problem.strerror}")


def _written(target: int, data: memoryview) -> int:
    """How much of *data* could be written, at least one byte. Raises OSError."""
    while True:
        try:
            return os.write(target, data)
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(target, select.POLLOUT)
            poll.poll()


def is_our_callers(descriptor: int) -> bool:
    """Whether our caller has opened it. If not, it is closed, or stands for a file of ours:
    those are not inherited."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def _above_stdio(descriptor: int) -> int:
    """*descriptor*, as one that stands for nothing else if our caller closed some."""
    if descriptor > 2:
        return descriptor
    upper = _above_stdio(os.dup(descriptor))
    os.close(descriptor)
    return upper


def _fork_alone() -> int:
    """fork(2), when our threads have ended: Python warns of a fork while there are others."""
    from time import sleep

    for _ in range(100):
        try:
            if len(os.listdir("/proc/self/task")) == 1:
                break
        except OSError:
            break
        sleep(0.001)
    return os.fork()
