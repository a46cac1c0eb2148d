"""What the fields of the messages in wire.py hold: words of which each is one of a few, and
the process that a run belongs to. Everybody takes them from wire.py.
"""

import enum

import msgspec


class Status(enum.StrEnum):
    NOT_REGISTERED = "not registered"
    PENDING = "pending"
    LAUNCHING = "launching"
    """Started, but not ready for those who wait for its start."""
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    """Of a unit on another host: nothing is known about it yet, or no longer."""


class Requirement(enum.StrEnum):
    """What a dependent needs of a prerequisite. Each means "at least"."""

    SUCCESS = "success"
    COMPLETION = "completion"
    START = "start"


class OnOwnerExit(enum.StrEnum):
    """What happens to a started unit whose owner ends without saying how it went."""

    FAIL = "fail"
    COMPLETE = "complete"
    IGNORE = "ignore"
    WARN = "warn"


class OnSkip(enum.StrEnum):
    """What a skipped start does."""

    EXIT = "exit"
    WAIT = "wait"
    """It goes on waiting until the failed prerequisite has succeeded."""


class Render(enum.StrEnum):
    """Which ready-made lines (``out``, ``err``) the reply must hold."""

    NONE = "none"
    TEXT = "text"
    CODER = "coder"
    """Like TEXT, but what Coder's command prints too has Coder's wording."""


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """The process that a run belongs to. pid and start identify it within ns."""

    pid: int
    start: int = 0
    """Start time in clock ticks since boot (field 22 of proc_pid_stat(5))."""
    ns: int = 0
    """Inode of its pid namespace; 0 if it could not be read."""
    command: str = ""
    watched: bool = True
    """False if the coordinator cannot tell when it ends."""
    clock: int = 0
    """Inode of the time namespace in which ``start`` was read; 0 if there is none."""
    cwd: str = ""
    """For a ``run``: the folder in which ``command`` does the same again; "" if it is not known,
    or if ``command`` is not exact."""

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.ns, self.pid, self.start)
