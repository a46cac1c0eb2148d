"""What a process can learn about its surroundings from os alone.

Whose coordinator it talks to, whether a folder or a peer may be trusted, and which
script called it. The express path and the full clients share these rules; they import
nothing, because a startup script calls a verb three or four times and each import
costs more than all that is done here.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_BYTES_MAX = 107
"""sun_path of unix(7), less its final zero byte."""

WRAPPERS = frozenset(
    (
        *("chroot", "chrt", "doas", "env", "flock", "gosu", "ionice", "linux32", "linux64"),
        *("nice", "nohup", "nsenter", "numactl", "parallel", "pkexec", "prlimit", "runuser"),
        *("setarch", "setpriv", "setsid", "stdbuf", "strace", "su", "su-exec", "sudo"),
        *("taskset", "time", "timeout", "unshare", "xargs"),
    )
)
"""Programs that run the command they are given and are not the script themselves."""

SHELLS = frozenset(("ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"))

_VERB_PROGRAMS = frozenset(("unitsync", "coder"))
_BEFORE_COMMAND = frozenset(("exec", "command", "time", "-p", "--"))
"""Words of a shell that may stand before the name of a program."""

_PROC_BYTES_MAX = 64 * 1024
_PF_EXITING = 0x4
_PENDING_SIGKILL = 1 << 8
_ANCESTORS_MAX = 1000
_COMMAND_BYTES_MAX = 4096


# --- the command line ---------------------------------------------------------------


def as_utf8(words: "list[str]") -> "list[str]":
    """*words* of the command line as the UTF-8 that names are in, whatever encoding the
    locale made Python take them for (PYTHONUTF8=0 with LC_ALL=C). A command behind ``--``
    stays as it is: it goes back to where it came from."""
    if sys.getfilesystemencoding() == "utf-8":
        return words
    end = words.index("--") if "run" in words and "--" in words else len(words)
    ours = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words[:end]]
    return ours + words[end:]


# --- which modules ------------------------------------------------------------------


def installed_first() -> None:
    """Let what Python and this installation bring win over what PYTHONPATH and the folder
    of the program have by the same names, such as a ``typing.py`` of somebody's."""
    given = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    foreign = {os.path.abspath(entry) for entry in given.split(os.pathsep)} if given else set()
    if not sys.flags.safe_path:
        foreign.add(os.path.abspath(sys.path[0]))
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(os.__file__)
    first = [entry for entry in sys.path if os.path.abspath(entry) not in foreign]
    if ours in foreign:  # with its packages beside it: pip --target
        after = [at for at, entry in enumerate(first, 1) if os.path.dirname(entry) == library]
        first.insert(max(after, default=len(first)), ours)
        foreign.discard(ours)
    sys.path[:] = first + [entry for entry in sys.path if os.path.abspath(entry) in foreign]


# --- whose coordinator --------------------------------------------------------------


def invoking_user(environ: "Mapping[str, str]") -> int:
    """Our effective uid; for root under sudo, the uid of who called sudo."""
    euid = os.geteuid()
    by_sudo = environ.get("SUDO_UID", "")
    if euid == 0 and by_sudo.isascii() and by_sudo.isdigit():
        return int(by_sudo)
    return euid


def default_address(user: int) -> str:
    return f"ipc:///tmp/unitsync-{user}/coordinator.sock"


def folder_owner_trusted(uid: int, user: int) -> bool:
    """Whether a socket's folder that belongs to *uid* may serve *user*."""
    return uid in (user, os.geteuid(), 0)


def folder_mode_trusted(mode: int) -> bool:
    """Whether nobody else may list or change a folder of this mode. Permission to pass
    through is accepted: ``serve --allow`` needs it, and peers are checked anyway."""
    return not mode & 0o066


def peer_trusted(uid: int, user: int) -> bool:
    """Whether a coordinator that runs as *uid* may serve *user*."""
    return uid in (user, os.geteuid(), 0)


# --- which script -------------------------------------------------------------------


class Process:
    """What /proc says of a process. ``executable`` is "" where it cannot be read, as of
    another user's process."""

    __slots__ = ("_fields", "args", "executable", "name", "parent", "pid", "start")

    def __init__(self, pid: int, stat: bytes, args: bytes, executable: str) -> None:
        """*stat* is in the format of proc_pid_stat(5), *args* of proc_pid_cmdline(5).
        Raises ValueError."""
        # The name is in parentheses and may hold any byte, a parenthesis too.
        left, right = stat.index(b"("), stat.rindex(b")")
        fields = stat[right + 2 :].split()
        if len(fields) < 20:
            raise ValueError(stat)
        self._fields = fields
        """From the third on, as the man page counts."""
        self.pid = pid
        self.parent = int(fields[1])
        self.start = int(fields[19])
        self.name = os.fsdecode(stat[left + 1 : right])
        self.args = args.rstrip(b"\0").split(b"\0") if args else []
        self.executable = executable

    @property
    def has_ended(self) -> bool:
        """Whether it only waits to be reaped. Without its main thread, which is a zombie
        then, a process goes on for as long as it has others."""
        return self._fields[0] in (b"Z", b"X") and self._is_alone

    @property
    def is_dying(self) -> bool:
        """Whether it has ended, or was killed and is about to."""
        exiting = int(self._fields[6]) & _PF_EXITING and self._is_alone
        return bool(exiting or self.has_ended or int(self._fields[28]) & _PENDING_SIGKILL)

    @property
    def _is_alone(self) -> bool:
        """Whether there is one thread at the most, ended or not."""
        return int(self._fields[17]) < 2

    @property
    def program(self) -> str:
        """What it was called as; a login shell has a dash before that."""
        called = os.path.basename(os.fsdecode(self.args[0])) if self.args else self.name
        return called.removeprefix("-")

    @property
    def command(self) -> str:
        """The command line on one line, cut to what a message may hold."""
        text = b" ".join(self.args).decode("utf-8", "replace") or f"[{self.name}]"
        shown = "".join(char if char.isprintable() else " " for char in text[:_COMMAND_BYTES_MAX])
        line = " ".join(shown.split()).encode("utf-8", "replace")
        return line[:_COMMAND_BYTES_MAX].decode("utf-8", "ignore")

    @property
    def is_wrapper(self) -> bool:
        program = self.program
        if program in WRAPPERS:
            return True
        if len(self.args) < 3:
            return False
        first = os.path.basename(self.args[1])
        if program not in SHELLS:
            # The one wrapper that is a script, and is not called what its process is.
            return program == "perl" and first == b"parallel"
        is_shim = first == b"coder" and self.args[2] == b"exp"
        return is_shim or self._passes_on

    @property
    def _passes_on(self) -> bool:
        """Whether it is a shell that was given one command, and that is a program with a
        process of its own: ``sh -c 'unitsync start ide'``. Most replace themselves by it,
        but dash stays, and is over as soon as it is.

        With ``. file``, ``eval`` or a function the shell itself is the script. A program
        that is not known here makes it one as well: its end is then noticed too early, and
        not never.
        """
        flag, text = self.args[1], self.args[2]
        if flag[:1] != b"-" or flag[:2] == b"--" or flag[-1:] != b"c":
            return False
        for redirection in (b">&", b"<&", b"&>"):
            text = text.replace(redirection, b"")
        return not any(mark in text for mark in b";&|(`\n") and _names_a_program(text)

    def is_subshell_of(self, parent: "Process") -> bool:
        """Whether it is *parent*, forked: a subshell, or one side of a pipe."""
        return bool(
            self.args == parent.args
            and self.executable == parent.executable
            and self.name == parent.name
            and self.args
        )


def _names_a_program(text: bytes) -> bool:
    """Whether the shell command *text* runs a verb, or a wrapper, shell or Python, each
    of which is judged by itself where it is the parent of the verb."""
    for word in os.fsdecode(text).split():
        name, assigned, _ = word.partition("=")
        if word in _BEFORE_COMMAND or (assigned and name.isidentifier()):
            continue
        program = os.path.basename(word.strip("'\""))
        return (
            program in _VERB_PROGRAMS
            or program in WRAPPERS
            or program in SHELLS
            or program.startswith("python")
        )
    return False


def read_process(pid: int) -> Process | None:
    """What /proc says of *pid*, None if there is nothing."""
    if pid < 1:
        return None
    try:
        stat = _read(f"/proc/{pid}/stat")
        args = _read(f"/proc/{pid}/cmdline")
    except OSError:
        return None
    try:
        executable = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        executable = ""
    try:
        return Process(pid, stat, args, executable)
    except ValueError:
        return None


def calling_script() -> Process | None:
    """The nearest ancestor of this process that is neither a wrapper nor a forked
    subshell; None where it cannot be seen."""
    if not proc_is_ours():
        return None
    process = read_process(os.getppid())
    for _ in range(_ANCESTORS_MAX):
        if process is None:
            return None
        above = read_process(process.parent)
        if above is None or not (process.is_wrapper or process.is_subshell_of(above)):
            return process
        process = above
    return process


def coder_agent() -> Process | None:
    """The nearest ancestor called ``coder``. Shells that run the shim, which has that
    name too, do not count."""
    process = read_process(os.getpid()) if proc_is_ours() else None
    for _ in range(_ANCESTORS_MAX):
        if process is None:
            return None
        process = read_process(process.parent)
        if (
            process is not None
            and process.name == "coder"
            and os.path.basename(process.executable) not in SHELLS
        ):
            return process
    return None


def pid_namespace() -> int:
    """The inode of our pid namespace, 0 where it cannot be read."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def exists(pid: int) -> bool:
    """Whether there is such a process, be it one that /proc does not show to us."""
    if pid < 1:
        return False  # what kill(2) takes for a group
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
