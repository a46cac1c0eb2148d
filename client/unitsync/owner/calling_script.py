"""Which script called a verb: the nearest ancestor that is neither a wrapper made for this one
call (sudo, timeout, env, ``sh -c``) nor a forked copy of its parent. shelltext.py reads the
texts of ``sh -c``.

Imports only what the interpreter has already loaded, because a startup script calls a verb three
or four times, and each import takes longer than everything here.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_PROC_BYTES_MAX = 64 * 1024
_PF_EXITING = 0x4
_PENDING_SIGKILL = 1 << 8
ANCESTORS_MAX = 1000
_COMMAND_BYTES_MAX = 4096
_TEXT_MAX = 2000
"""In characters. A longer text for a shell counts as a script."""
_PROGRAMS = ("unitsync", "coder")
"""The programs that call a verb. The name that was actually used is added."""
_FORKED = 0x40
"""PF_FORKNOEXEC of the kernel (ps(1)): the process has not called exec since it was forked."""
_PLAIN = frozenset("%+,-./0123456789:=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
"""Characters without a meaning to a shell, as in shlex.quote()."""


class Process:
    """What /proc says about a process."""

    def __init__(self, pid: int, stat: bytes, args: bytes) -> None:
        """*stat* is as in proc_pid_stat(5), *args* as in proc_pid_cmdline(5). Raises ValueError."""
        # The name is in parentheses and may hold any byte, a parenthesis too.
        left, right = stat.index(b"("), stat.rindex(b")")
        fields = stat[right + 2 :].split()
        if len(fields) < 20:
            raise ValueError(stat)
        self._fields = fields
        """The fields from the third on, as the man page counts them."""
        self.pid = pid
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.flags = int(fields[6])
        self.start = int(fields[19])
        self.name = os.fsdecode(stat[left + 1 : right])
        self.args = os.fsdecode(args.rstrip(b"\0")).split("\0") if args else []
        self.image = (int(fields[25]), int(fields[45])) if len(fields) > 45 else (0, 0)
        """Where its stack and its arguments begin. A fork has the same as its parent; exec
        chooses new ones. 0 if they cannot be read, for example for another user's process."""

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and only waits to be reaped. If only its main thread has ended
        (and is a zombie), the process goes on as long as it has other threads."""
        return self._fields[0] in (b"Z", b"X") and self._is_alone

    @property
    def is_dying(self) -> bool:
        """Whether it has ended, or was killed and is about to end."""
        exiting = self.flags & _PF_EXITING and self._is_alone
        return bool(exiting or self.has_ended or int(self._fields[28]) & _PENDING_SIGKILL)

    @property
    def _is_alone(self) -> bool:
        """Whether it has at most one thread, ended or not."""
        return int(self._fields[17]) < 2

    @property
    def command(self) -> str:
        """The command line on one line, quoted for a shell, cut to what a message allows."""
        # A single word may be a title that the process has given itself.
        words = map(shell_word, self.args) if len(self.args) > 1 else self.args
        text = os.fsencode(" ".join(words) or f"[{self.name}]")
        return command_line(text[:_COMMAND_BYTES_MAX].decode("utf-8", "replace"))

    def passes_on(self, argv: "list[str]") -> bool:
        """Whether it was made only to call a verb with *argv*. Its arguments contain the call
        (timeout, sudo, xargs), or a text for a shell that does no more than that."""
        words = argv[1:]
        if not words:
            return False
        called = os.path.basename(argv[0])
        programs = _PROGRAMS if called[:1] == "-" else (*_PROGRAMS, called)  # python -c
        for at, arg in enumerate(self.args):
            if os.path.basename(arg) in programs and _agrees(self.args, at, words):
                return True
        texts = [arg for arg in self.args if " " in arg.strip() and words[0] in arg]
        if any(arg[:1] == " " for arg in self.args):
            # A block of execline: its words begin with a blank, "" ends it.
            texts.append(" ".join(arg or ";" for arg in self.args))
        if not texts:
            return False
        from unitsync.owner.shelltext import is_over_after_call

        return any(
            len(text) <= _TEXT_MAX and is_over_after_call(text, words[0], programs)
            for text in texts
        )

    @property
    def is_forked(self) -> bool:
        """Whether it still runs the program that its parent ran when it was forked. Also True
        if the kernel shows neither that nor the image (gVisor)."""
        return bool(self.flags & _FORKED or not (self.flags or self.image[0]))

    def is_copy_of(self, parent: "Process") -> bool:
        """Whether it is a forked copy of *parent*: a subshell, or one side of a pipe. False if
        the process that forked it has ended and *parent* has adopted it."""
        if self.image[0]:
            same = self.image == parent.image
        else:
            same = bool(self.args) and (self.args, self.name) == (parent.args, parent.name)
        # A parent that has become another program (exec) keeps its process group.
        return same or bool(self.flags & _FORKED and self.group == parent.group)


def _agrees(args: "list[str]", at: int, words: "list[str]") -> bool:
    """Whether the program ``args[at]`` is called with *words*. It is enough that the first one
    fits if the others are filled in or added, as by xargs and find."""
    given = args[at + 1 :]
    if words[0] not in given:
        return False
    if os.path.basename(args[at]) == "coder":
        return True  # the shim leaves out some of the other words
    given = given[given.index(words[0]) + 1 :]
    return all(
        word == other or not _is_plain(word) or any(arg.endswith(word) for arg in args[1:at])
        for word, other in zip(given, words[1:], strict=False)
    )


def _is_plain(word: str) -> bool:
    """Whether *word* is not a placeholder such as ``{}``, ``:::`` or ``$1``."""
    return word.translate({45: None, 46: None, 95: None}).isalnum()


def read_process(pid: int) -> Process | None:
    """What /proc says about *pid*, or None if it shows nothing."""
    if pid < 1:
        return None
    try:
        stat = _read(f"/proc/{pid}/stat")
        args = _read(f"/proc/{pid}/cmdline")
    except OSError:
        return None
    try:
        return Process(pid, stat, args)
    except ValueError:
        return None


def running_processes() -> "Iterator[Process]":
    """All that can be seen and have not ended. Raises OSError."""
    for name in os.listdir("/proc"):
        process = read_process(int(name)) if name.isdigit() else None
        if process is not None and not process.has_ended:
            yield process


def calling_script(argv: "list[str]") -> Process | None:
    """The script that called this process, a verb with *argv*: its nearest ancestor that
    neither passes the call on nor is a forked copy of its parent. None if it cannot be seen."""
    if not proc_is_ours():
        return None
    process = read_process(os.getppid())
    for _ in range(ANCESTORS_MAX):
        if process is None:
            return None
        if process.passes_on(argv):
            process = read_process(process.parent)
            continue
        above = read_process(process.parent) if process.is_forked else None
        if above is None or not process.is_copy_of(above):
            return process
        process = above
    return process


def calling_owner(argv: "list[str]") -> "dict[str, Any]":
    """The fields of wire.Owner for the script that called the verb with *argv*."""
    process = calling_script(argv)
    fields = owner_fields(process, os.getppid())
    if process is None:
        fields["start"] = _start_of_unseen_parent()
    return fields


def _start_of_unseen_parent() -> int:
    """When our parent began, if the /proc of an outer pid namespace shows it; otherwise 0.
    A container gets the namespace number of one that has ended, so pid and number alone
    would take its script for the other's."""
    try:
        ourselves = Process(0, _read("/proc/self/stat"), b"")
    except (OSError, ValueError):
        return 0
    parent = read_process(ourselves.parent)
    return parent.start if parent is not None else 0


def owner_fields(process: Process | None, pid: int) -> "dict[str, Any]":
    """The fields of wire.Owner for *process*; for *pid* if it is None because it cannot be seen.
    Nobody could tell when that ends, or the init of a pid namespace: it is not watched."""
    if process is None:
        return {"pid": pid, "ns": namespace("pid"), "watched": False}
    fields: dict[str, Any] = {
        "pid": process.pid,
        "start": process.start,
        "ns": namespace("pid"),
        "clock": namespace("time"),
        "command": process.command,
    }
    if process.pid < 2:
        fields["watched"] = False
    return fields


def owner_of(pid: int) -> "dict[str, Any]":
    """The fields of wire.Owner for the process *pid*. Raises UsageError if there is none, or if
    it has ended and only waits to be reaped."""
    process = read_process(pid) if proc_is_ours() else None
    if process.has_ended if process is not None else not exists(pid):
        from unitsync.errors import UsageError

        raise UsageError(f"there is no process {pid} to be the owner")
    return owner_fields(process, pid)


def namespace(kind: str) -> int:
    """The inode of our ``pid`` or ``time`` namespace, 0 if there is none or it cannot be read.
    The same process has another start time in another time namespace."""
    try:
        # Not by stat(2), which finds nothing under proot.
        return int(os.readlink(f"/proc/self/ns/{kind}").strip(f"{kind}:[]"))
    except (OSError, ValueError):
        return 0


def exists(pid: int) -> bool:
    """Whether there is such a process, even if /proc does not show it to us."""
    if pid < 1:
        return False  # kill(2) would take it for a group
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def proc_is_ours() -> bool:
    """Whether /proc shows this process's own pid namespace, not an outer one."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < _PROC_BYTES_MAX and (more := os.read(descriptor, _PROC_BYTES_MAX)):
            data += more
        return data
    finally:
        os.close(descriptor)


def shell_word(text: str) -> str:
    """*text* quoted as one word for a shell, if it needs quotes."""
    if text and _PLAIN.issuperset(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def command_line(text: str) -> str:
    """*text*, the command line of an owner, on one line and cut to what a message allows."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(shown.split()).encode("utf-8", "replace")
    return line[:_COMMAND_BYTES_MAX].decode("utf-8", "ignore")
