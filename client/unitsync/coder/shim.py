"""The ``coder`` shim: writing it into a folder, and reading how one was made.

shim.sh is the shim itself. It runs ``unitsync VERB`` for ``coder exp sync VERB`` and hands
everything else to the next ``coder``.
"""

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Final

from unitsync.errors import NotPermitted, Refused, UnitsyncError, UsageError
from unitsync.modules.module_path import folders_of

_PACKAGES: Final = ("unitsync", "unitsyncd", "msgspec", "zmq", "typer", "loguru")
_MARK: Final = b"# unitsync shim for coder, version "
_AGENTS_FOLDER: Final = "/tmp/coder-script-data/bin"
_USUAL_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin")


def text(endpoint: str = "") -> str:
    """The text of a shim for the Python that runs this, by its absolute path, and for the
    coordinator at *endpoint*. "" means the caller's usual coordinator."""
    if not sys.executable:
        raise UsageError("shim: this Python does not know where its own program is")
    template = Path(__file__).with_name("shim.sh").read_text(encoding="utf-8")
    values = {"PYTHON": os.path.abspath(sys.executable), "ENDPOINT": endpoint}
    for name, value in (values | {"PROGRAM": program()}).items():
        template = template.replace(f"@{name}@", shlex.quote(value))
    return template


def program() -> str:
    """The program that the shim gives to Python. Python looks only in the folders named here."""
    found = folders_of(_PACKAGES)
    return f"import sys; sys.path += {found}; from unitsync.express import main; main()"


def is_shim(path: Path) -> bool:
    """Whether *path* is one of our shims, of any version."""
    try:
        with path.open("rb") as file:
            return file.readline(200).startswith(b"#!") and file.readline(200).startswith(_MARK)
    except OSError:
        return False


def settings_of(path: Path) -> dict[str, str]:
    """What the shim *path* was made with: ``python``, and since version 2 ``endpoint``."""
    found = {}
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        name, assigned, value = line.removeprefix("unitsync_").partition("=")
        if assigned and line.startswith("unitsync_"):
            found[name] = "".join(shlex.split(value))
    return found


def programs() -> list[Path]:
    """Each program called ``coder``, in the order in which a script finds them: in the folder
    that Coder's agent puts before PATH, on PATH, and where a script of another user, or one
    under sudo, would look."""
    agents = Path(os.environ.get("CODER_SCRIPT_BIN_DIR") or _AGENTS_FOLDER)
    found: dict[str, Path] = {}
    for folder in (agents, *_path(), *map(Path, _USUAL_PATH)):
        program = Path(os.path.abspath(folder)) / "coder"
        if os.path.isfile(program) and os.access(program, os.X_OK):
            found.setdefault(os.path.realpath(program), program)
    return list(found.values())


def install(folder: Path, *, force: bool, endpoint: str = "") -> tuple[Path, list[str]]:
    """Write ``coder`` into *folder* and return its path and what the user should know about
    it. The folder is made if it is missing but on PATH. *endpoint* as for text().

    Raises Refused if there is no such folder, or if something else is there already and
    *force* is not given. Raises NotPermitted or UnitsyncError if it cannot be written. An
    existing file is replaced in one step: a script that runs it at this moment is not
    disturbed.
    """
    folder = Path(os.path.abspath(folder))
    target = folder / "coder"
    content = text(endpoint)
    if not folder.exists() and str(folder) not in map(os.path.abspath, _path()):
        again = f"unitsync shim install {shlex.quote(str(folder))}"
        raise Refused(
            f"there is no folder {folder}", hint=f"mkdir -p {shlex.quote(str(folder))} && {again}"
        )
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is not a folder", hint="name the folder, without coder")
    if os.path.lexists(target) and not force and not is_shim(target):
        raise Refused(
            f"there is another coder at {target}",
            hint="choose a folder that comes before it on PATH, or replace it with --force",
        )
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".coder-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o755)
        os.replace(temporary, target)
    except OSError as exc:
        if temporary:
            try:
                os.unlink(temporary)
            except OSError:
                pass
        problem = f"cannot write {target}: {(exc.strerror or str(exc)).lower()}"
        if isinstance(exc, PermissionError):
            raise NotPermitted(
                problem, hint="choose a folder of yours, or call it with sudo"
            ) from None
        raise UnitsyncError(problem) from None
    return target, _advice(folder)


def _path() -> list[Path]:
    return [Path(entry or ".") for entry in os.environ.get("PATH", "").split(os.pathsep)]


def _advice(folder: Path) -> list[str]:
    """Why ``coder`` might not be the shim in *folder*, judged by our own PATH."""
    for place in _path():
        try:
            if place.samefile(folder):
                return []
        except OSError:
            continue
        other = place / "coder"
        if os.path.isfile(other) and os.access(other, os.X_OK):
            if is_shim(other):
                return [f"unitsync: {other} comes first on PATH and is a shim as well"]
            return [
                f"warning: {other} comes first on PATH, so coder does not mean the shim",
                f"hint: put {folder} before {place} on PATH, or install the shim there",
            ]
    return [
        f"warning: {folder} is not on PATH, so coder does not mean the shim",
        f"hint: export PATH={shlex.quote(str(folder))}:$PATH",
    ]
