"""Whether a service is ready: a TCP port, a URL, a line in its output, a shell command, or what it
says itself.

``run`` and ``up`` use it, each in a thread. Imports only what the interpreter has already
loaded; ``_socket`` for a port; more only for a URL.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _thread
import os
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    class Guardian(Protocol):
        """Ends a process group if this process is killed: see run/plain.py."""

        group: int
        pid: int

        def begin(self) -> None: ...

        def end(self) -> None: ...


TRY_MAX_S = 5.0
"""How long one try may take."""
EVERY_S = 0.2
"""The pause between the first two tries. It doubles with each, up to EVERY_MAX_S."""
EVERY_MAX_S = 1.0
_LOOK_MIN_S, _LOOK_MAX_S = 0.002, 0.05
"""How often to look whether a shell command has ended."""


class Probe:
    """What to try. Made by ``parse``."""

    kind = ""

    def __init__(self, text: str) -> None:
        self.text = text

    def check(self, timeout_s: float = TRY_MAX_S) -> str:
        """Try it once, for *timeout_s* at the most. Returns "" if it is ready, otherwise why
        not. Never raises."""
        try:
            return self._try(timeout_s)
        except Exception as problem:
            return f"{self.text}: {getattr(problem, 'strerror', None) or problem}"

    def _try(self, timeout_s: float) -> str:
        raise NotImplementedError

    def give_up(self) -> None:
        """End a try that is under way, as far as it would outlive this process."""

    def warning(self) -> str:
        """What to warn of before the command is started: another process listens where it
        should. "" if none does. Takes only a moment."""
        host, port = self._place()
        if not any(map(_accepts, _THIS_MACHINE.get(host, ()), (port, port))):
            return ""
        return f"another process already listens at {self.text}, which may make it count as ready"

    def _place(self) -> "tuple[str | None, int]":
        """The host and the port at which the service will listen, as far as the probe says so."""
        return None, 0


class Line(Probe):
    """Ready when a line of its output contains ``wanted``. Whoever reads the output calls
    ``saw``."""

    kind = "line"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.wanted = os.fsencode(text.removeprefix("line:"))
        self._ends: dict[int, bytes] = {}

    def _try(self, timeout_s: float) -> str:
        return "no such line in its output yet"

    def saw(self, stream: int, chunk: bytes) -> bool:
        """Whether the output of *stream*, of which *chunk* is the next part, has the line."""
        joined = self._ends.get(stream, b"") + chunk[: len(self.wanted)]
        if self.wanted in joined or self.wanted in chunk:
            return True
        kept = len(self.wanted) - 1
        self._ends[stream] = (joined if len(chunk) < kept else chunk)[-kept:] if kept else b""
        return False


class Notify(Probe):
    """Ready when the service says so with sd_notify(3). Whoever hears what it says knows."""

    kind = "notify"

    def _try(self, timeout_s: float) -> str:
        return "it has not said READY=1 yet"


class Tcp(Probe):
    """Ready when somebody accepts connections there."""

    kind = "tcp"

    def __init__(self, text: str, hosts: "tuple[str, ...]", port: int) -> None:
        super().__init__(text)
        self._hosts = hosts
        self._port = port

    def _place(self) -> "tuple[str | None, int]":
        return (self._hosts[0] if len(self._hosts) == 1 else "localhost"), self._port

    def _try(self, timeout_s: float) -> str:
        import _socket

        by = monotonic() + timeout_s
        why = ""
        for host in self._hosts:
            found = _socket.getaddrinfo(host, self._port, 0, _socket.SOCK_STREAM)
            for family, _, _, _, address in found:
                try:
                    with _Closing(_socket.socket(family, _socket.SOCK_STREAM)) as link:
                        link.settimeout(max(0.001, by - monotonic()))
                        link.connect(address)
                        return ""
                except TimeoutError:
                    why = why or "nobody answers"
                except OSError as problem:
                    why = why or problem.strerror or str(problem)
        return f"{self.text}: {why}"


_THIS_MACHINE: "dict[str | None, tuple[str, ...]]" = {
    "localhost": ("127.0.0.1", "::1"),
    "127.0.0.1": ("127.0.0.1",),
    "::1": ("::1",),
}
_MOMENT_S = 0.05


def _accepts(host: str, port: int) -> bool:
    """Whether somebody accepts connections at this address of this machine."""
    import _socket

    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    try:
        with _Closing(_socket.socket(family, _socket.SOCK_STREAM)) as link:
            link.settimeout(_MOMENT_S)
            link.connect((host, port))
    except OSError:
        return False
    return True


class _Closing:
    def __init__(self, socket: "Any") -> None:
        self._socket = socket

    def __enter__(self) -> "Any":
        return self._socket

    def __exit__(self, *exc: object) -> None:
        self._socket.close()


class Http(Probe):
    """Ready when a GET is answered with 2xx or 3xx."""

    kind = "http"

    def _place(self) -> "tuple[str | None, int]":
        from urllib.parse import urlsplit

        url = urlsplit(self.text)
        return url.hostname, url.port or (443 if url.scheme == "https" else 80)

    def _try(self, timeout_s: float) -> str:
        from http.client import HTTPConnection, HTTPSConnection
        from urllib.parse import urlsplit

        url = urlsplit(self.text)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=timeout_s)
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("GET", path, headers={"User-Agent": "unitsync"})
            status = connection.getresponse().status
        finally:
            connection.close()
        return "" if 200 <= status < 400 else f"{self.text}: HTTP status {status}"


class Shell(Probe):
    """Ready when the shell command exits with 0.

    ``words`` are those of the shell. ``environment`` and ``cwd`` are those of the unit; "" is the
    folder of this process.
    ``new_guardian`` makes a process that leads the process group of a try and ends it with this
    process; without one, that is left to the caller. Set them before the first try.
    """

    kind = "shell"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.words: tuple[str, ...] = ("/bin/sh", "-c", text)
        self.environment: Mapping[bytes, bytes] = os.environb
        self.cwd = ""
        self.new_guardian: Callable[[], Guardian] | None = None
        self._pid = 0
        self._group = 0
        self._given_up = False

    def _try(self, timeout_s: float) -> str:
        guardian = self.new_guardian() if self.new_guardian is not None else None
        if guardian is not None:
            guardian.begin()
        try:
            self._spawn(guardian.group if guardian is not None else 0)
            if self._given_up:
                self._kill()
            status = self._ended(monotonic() + timeout_s)
        finally:
            if guardian is not None:
                guardian.end()
                os.waitpid(guardian.pid, 0)
        if status is None:
            return f"{self.text}: still runs after {timeout_s:g} s"
        code = os.waitstatus_to_exitcode(status)
        how_bad = f"exit status {code}" if code > 0 else f"killed by signal {-code}"
        return f"{self.text}: {how_bad}" if code else ""

    def _spawn(self, group: int) -> None:
        """Start it in this process group, or in a new one."""
        into = 'cd -- "$0" && exec "$@"' if self.cwd else 'exec "$@"'
        words = ["sh", "-c", into, self.cwd or "sh", *self.words]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                words,
                self.environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)],
                setsigmask=(),
                setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),
                setpgroup=group,
            )
        finally:
            os.close(null)
        self._group, self._pid = group or pid, pid

    def _ended(self, by: float) -> int | None:
        """The wait status of the command, or None if it had to be killed at *by*."""
        pause_s, killed = _LOOK_MIN_S, False
        while True:
            # Not reaped here, so that give_up() cannot meet another process with this pid.
            info = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is not None:
                pid, self._pid = self._pid, 0
                status = os.waitpid(pid, 0)[1]
                return None if killed else status
            if monotonic() >= by and not killed:
                self._kill()
                killed = True
            sleep(pause_s)
            pause_s = min(pause_s * 2, _LOOK_MAX_S)

    def give_up(self) -> None:
        self._given_up = True
        self._kill()

    def _kill(self) -> None:
        if self._pid:
            try:
                os.killpg(self._group, _signal.SIGKILL)
            except OSError:  # it has ended, or now runs as another user
                pass


class Prober:
    """Tries a probe again and again in a thread, until it is ready or ``end`` is called. *hear*
    is called with each answer."""

    def __init__(self, probe: "Probe", hear: "Callable[[Prober, str], None]") -> None:
        self._probe = probe
        self._hear = hear
        self._wait = _thread.allocate_lock()
        self._wait.acquire()
        self._ended = False

    def begin(self) -> None:
        if self._probe.kind in ("line", "notify"):
            self._hear(self, self._probe.check())
        else:
            _thread.start_new_thread(self._work, ())

    def end(self) -> None:
        self._ended = True
        if self._wait.locked():
            self._wait.release()
        self._probe.give_up()

    def saw(self, stream: int, chunk: bytes) -> None:
        """Look for a line in the output."""
        if not self._ended and isinstance(self._probe, Line) and self._probe.saw(stream, chunk):
            self._ended = True
            self._hear(self, "")

    def said_ready(self) -> None:
        """The service says that it is ready. That counts if nothing else is to be tried."""
        if not self._ended and self._probe.kind == "notify":
            self._ended = True
            self._hear(self, "")

    def _work(self) -> None:
        for pause_s in pauses_s():
            why = self._probe.check()
            if self._ended:
                return
            self._hear(self, why)
            if not why or self._wait.acquire(timeout=pause_s):
                return


def pauses_s() -> "Iterator[float]":
    """The pauses between the tries, without end."""
    pause_s = EVERY_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, EVERY_MAX_S)


def parse(text: str) -> Probe:
    """The probe that *text* describes. Raises ValueError, which says what is wrong."""
    if text == "notify":
        return Notify(text)
    if text.startswith("line:"):
        if text == "line:" or "\n" in text:
            raise ValueError("names no line; for example line:listening on")
        return Line(text)
    if text.startswith("tcp:"):
        host, _, port = text.removeprefix("tcp:").rpartition(":")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise ValueError("names no port; for example tcp:5432 or tcp:db:5432")
        host = host.removeprefix("[").removesuffix("]")
        return Tcp(text, (host,) if host else ("127.0.0.1", "::1"), int(port))
    if text.startswith(("http://", "https://")):
        _check_url(text)
        return Http(text)
    if not text.strip():
        raise ValueError("is empty; for example tcp:5432, line:listening, or a shell command")
    kind, colon, rest = text.partition(":")
    if colon and kind.isascii() and kind.isalnum() and rest[:1].strip():  # as in tpc:5432
        if kind in ("http", "https"):
            raise ValueError("is no URL; for example http://localhost:8080/health")
        raise ValueError(f"is no probe: there is no kind {kind}; for example tcp:5432")
    return Shell(text)


def _check_url(text: str) -> None:
    from urllib.parse import urlsplit

    try:
        url = urlsplit(text)
        usable = bool(url.hostname) and url.port != 0 and text.isascii() and " " not in text
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no URL; for example http://localhost:8080/health")
