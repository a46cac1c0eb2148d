"""The log files of units: ``logs/EPOCH/UNIT/RUN.log`` in the folder of the socket.

``run --log`` and ``up`` write them. Each line begins with the time at which it was read, in
UTC (STAMP_BYTES). If a file becomes too long it is renamed to ``RUN.log.1`` and a new one is
begun, so the last part of a long output is kept. ``recipe`` beside them says how to run the
unit again.

The folder can belong to another user than us (under sudo). So everything here goes through
open folders and follows no links. Imports only what the interpreter has already loaded.
"""

import os
from time import gmtime, strftime, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

LOGS_NAME = "logs"
RECIPE_NAME = "recipe"
LOG_BYTES = 10_000_000
"""When a file is as long as this, a new one is begun (UNITSYNC_LOG_BYTES)."""
STARTUPS_KEPT = 5
"""Of how many epochs logs are kept (UNITSYNC_LOG_STARTUPS)."""
RUNS_KEPT = 20
"""Of how many runs of a unit (UNITSYNC_LOG_RUNS)."""
STAMP_BYTES = len("2026-11-30T18:05:12.123Z ")
_NAME_BYTES_MAX = 200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Stamp:
    """The time stamp at the beginning of a line."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        moment = time()
        second = int(moment)
        if second != self._second:
            self._second = second
            self._text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)).encode()
        return b"%s.%03dZ " % (self._text, int((moment - second) * 1000))


def bound(name: str, default: int, environ: "Mapping[str, str]" = os.environ) -> int:
    """The bound that the variable *name* sets. *default* if it is not a number above 0. Digits
    after the 18th do not count: nothing is as large as that."""
    text = environ.get(name, "")
    return int(text[:18]) or default if text.isascii() and text.isdigit() else default


def file_name(unit: str) -> str:
    """The name of the folder of *unit*: the unit's own name, with ``%XX`` for what cannot stand
    in a file name. Different units have different names."""
    name = unit.replace("%", "%25").replace("/", "%2F")
    if name[:1] == ".":
        name = "%2E" + name[1:]
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= _NAME_BYTES_MAX:
        return name
    from zlib import crc32

    whole = unit.encode("utf-8", "surrogateescape")
    checks = f"{crc32(whole):08x}{crc32(whole[::-1]):08x}"
    return data[:_NAME_BYTES_MAX].decode("utf-8", "ignore") + f"%~{checks}"


def unit_of(name: str) -> str:
    """The unit whose folder has that *name*; of a very long one, its beginning and "…"."""
    cut, tilde, _ = name.partition("%~")
    return cut.replace("%2E", ".").replace("%2F", "/").replace("%25", "%") + "…" * bool(tilde)


def number_of(name: str) -> int:
    """The number of the run whose file has that *name*; 0 if it is no log file."""
    number, _, rest = name.partition(".")
    return int(number) if number.isascii() and number.isdigit() and rest in _ENDS else 0


_ENDS = ("log", "log.1")


class UnitLog:
    """The folder for the logs of one unit in one epoch, made if it is missing."""

    def __init__(self, socket_folder: str, epoch: str, unit: str) -> None:
        """Raises OSError."""
        top = os.open(socket_folder, _FOLDER)
        try:
            owner = os.fstat(top).st_uid
            self._owner = owner if owner != os.geteuid() == 0 else -1
            logs = self._entered(top, LOGS_NAME)
        finally:
            os.close(top)
        try:
            of_epoch = self._entered(logs, epoch)
            try:
                self.folder = self._entered(of_epoch, file_name(unit))
            finally:
                os.close(of_epoch)
            _prune_epochs(logs, epoch)
        finally:
            os.close(logs)

    def _entered(self, folder: int, name: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            pass
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            pass
        inner = os.open(name, _FOLDER, dir_fd=folder)
        if self._owner >= 0:
            os.fchown(inner, self._owner, -1)
        return inner

    def close(self) -> None:
        os.close(self.folder)

    def write_recipe(self, words: "Sequence[str]", cwd: str) -> None:
        """Keep how to run the unit again: ``unitsync`` with *words*, in *cwd*. Raises OSError."""
        file = self._create(f"{RECIPE_NAME}.new")
        try:
            left = memoryview(b"\0".join(map(os.fsencode, (cwd, *words))))
            while left:  # half of a recipe would be another command
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.rename(
            *(f"{RECIPE_NAME}.new", RECIPE_NAME), src_dir_fd=self.folder, dst_dir_fd=self.folder
        )

    def open(self, run: int) -> "RunLog":
        """The log for *run*. Those of the oldest runs are removed. Raises OSError."""
        name = f"{run}.log"
        log = RunLog(self, name, self._create(name))
        numbers = {number_of(name) for name in os.listdir(self.folder)} - {0}
        for number in sorted(numbers)[: -bound("UNITSYNC_LOG_RUNS", RUNS_KEPT)]:
            _remove((f"{number}.{end}" for end in _ENDS), self.folder)
        return log

    def _create(self, name: str) -> int:
        try:
            file = os.open(name, _NEW, 0o600, dir_fd=self.folder)
        except FileExistsError:  # of a run before a reset, or of one that was killed
            os.unlink(name, dir_fd=self.folder)
            file = os.open(name, _NEW, 0o600, dir_fd=self.folder)
        if self._owner >= 0:
            os.fchown(file, self._owner, -1)
        return file

    def begin_anew(self, name: str, file: int) -> int:
        """Rename the full *file* called *name*, and return a new one in its place. Returns
        *file* itself if its name now belongs to another file. Raises OSError."""
        try:
            there = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return file
        ours = os.fstat(file)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            return file
        os.rename(name, f"{name}.1", src_dir_fd=self.folder, dst_dir_fd=self.folder)
        new = self._create(name)
        os.close(file)
        return new


class RunLog:
    """The log file of one run. Whatever happens to it, nothing is raised here: the first problem
    is reported to ``on_problem``, and a line in the log says where output is missing.

    What is added is written by ``flush``, which must follow soon. Until then, a flood of output
    can push out what the file would not keep either: that costs much less than writing it.
    """

    def __init__(self, unit_log: UnitLog, name: str, file: int) -> None:
        self._unit_log = unit_log
        self._name = name
        self._file = file
        self._size = 0
        self._size_max = bound("UNITSYNC_LOG_BYTES", LOG_BYTES)
        self._stamp = Stamp()
        self._added: list[tuple[int, bytes, bytes]] = []
        """Stream, stamp and chunk."""
        self._first = 0
        """The first of them that is not pushed out."""
        self._bytes = 0
        self._unfinished: int | None = None
        """The stream whose line has no end yet."""
        self._lost = ""
        """Why output is missing before what comes next."""
        self._fails = False
        self.on_problem: Callable[[str], None] = lambda why: None

    @property
    def descriptors(self) -> tuple[int, int]:
        return self._file, self._unit_log.folder

    def add(self, stream: int, chunk: bytes) -> None:
        """Add what *stream* (a number) has put out."""
        self._added.append((stream, self._stamp.now(), chunk))
        self._bytes += len(chunk)
        while self._bytes - len(self._added[self._first][2]) > 2 * self._size_max:
            # Two whole files are still to come: this would be in neither of them.
            self._bytes -= len(self._added[self._first][2])
            self._added[self._first] = (0, b"", b"")
            self._first += 1

    @property
    def is_flushed(self) -> bool:
        return not self._added

    def flush(self) -> None:
        """Write what has been added."""
        added, self._added = self._added[self._first :], []
        if self._first:
            self._lost = "more than the log may hold came at once"
        self._first = self._bytes = 0
        for stream, stamp, chunk in added:
            self._write(stream, stamp, chunk)

    def _write(self, stream: int, stamp: bytes, chunk: bytes) -> None:
        pieces: list[bytes | memoryview] = []
        before = self._unfinished
        if self._lost:
            if self._unfinished is not None:
                pieces.append(b"\n")
                self._unfinished = None
            pieces.append(stamp + b"[unitsync: output is missing here: %s]\n" % self._lost.encode())
        if self._unfinished not in (None, stream):
            pieces.append(b"\n")
            self._unfinished = None
        if self._unfinished is None:
            pieces.append(stamp)
        stamped = chunk.replace(b"\n", b"\n" + stamp)
        if chunk[-1:] == b"\n":
            self._unfinished = None
            pieces.append(memoryview(stamped)[: -len(stamp)])
        else:
            self._unfinished = stream
            pieces.append(stamped)
        try:
            self._size += self._written(pieces)
            self._lost = ""
            self._fails = False
            if self._size >= self._size_max:
                self._size = 0
                self._file = self._unit_log.begin_anew(self._name, self._file)
                self._unfinished = None
        except OSError as problem:
            self._lost = problem.strerror or str(problem)
            if not self._fails:
                self.on_problem(self._lost)
            self._fails = True
            size = os.fstat(self._file).st_size
            self._unfinished = before if size == self._size else stream  # a part of it is there
            self._size = size

    def _written(self, pieces: "list[bytes | memoryview]") -> int:
        """How many bytes all *pieces* have. Raises OSError if not all could be written."""
        wanted = sum(map(len, pieces))
        written = os.writev(self._file, pieces)
        if written < wanted:
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[os.write(self._file, rest) :]
        return wanted

    def close(self) -> None:
        os.close(self._file)


def _prune_epochs(logs: int, current: str) -> None:
    """Remove what was kept of the oldest epochs. What cannot be removed stays."""
    names = os.listdir(logs)
    keep = bound("UNITSYNC_LOG_STARTUPS", STARTUPS_KEPT)
    if len(names) <= keep:
        return

    def changed(name: str) -> float:
        try:
            return os.stat(name, dir_fd=logs, follow_symlinks=False).st_mtime
        except OSError:
            return 0.0

    old = sorted((name for name in names if name != current), key=changed)
    for epoch in old[: len(names) - keep]:
        try:
            _remove_folders(epoch, logs)
        except OSError:
            pass


def _remove_folders(epoch: str, logs: int) -> None:
    outer = os.open(epoch, _FOLDER, dir_fd=logs)
    try:
        for unit in os.listdir(outer):
            inner = os.open(unit, _FOLDER, dir_fd=outer)
            try:
                _remove(os.listdir(inner), inner)
            finally:
                os.close(inner)
            os.rmdir(unit, dir_fd=outer)
    finally:
        os.close(outer)
    os.rmdir(epoch, dir_fd=logs)


def _remove(names: "Iterable[str]", folder: int) -> None:
    for name in names:
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            pass
