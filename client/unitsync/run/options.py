"""What ``run`` does with its command beyond running it, as its flags say. Loaded only if
there is such a flag.

Imports only what the interpreter has already loaded, and more for ``--env-file``.
"""

import os

from unitsync.process.supervision import BACKOFF_DEFAULT_S, FOREVER, GRACE_DEFAULT_S, RETRIES_MAX
from unitsync.verb.commandline import invalid, number, parse_duration, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unitsync.process.probes import Probe
    from unitsync.verb.commandline import Flags


class Options:
    """``timeout_s``, ``grace_s``, ``retries``, ``backoff_s`` and ``probe`` as in
    supervision.py; ``log`` and ``prefix``; the folder ``cwd``, or ""; ``variables`` to add to
    the environment."""

    def __init__(self, flags: "Flags") -> None:
        """Raises UsageError."""
        last = {name: values[-1] for name, values in flags.items() if values}

        def seconds(name: str, default: float) -> float:
            return parse_duration(last[name], name) if name in last else default

        self.timeout_s = seconds("--run-timeout", FOREVER)
        if not self.timeout_s:
            text = last["--run-timeout"]
            raise invalid("--run-timeout", text, "would end the command before it begins")
        self.grace_s = seconds("--grace", GRACE_DEFAULT_S)
        self.backoff_s = seconds("--backoff", BACKOFF_DEFAULT_S)
        self.retries = self._retries(last.get("--retries", "0"))
        if "--backoff" in last and not self.retries:
            raise wrong("--backoff is the pause before a retry, and there is no --retries")
        self.probe = self._probe(last.get("--ready"))
        self.log = "--log" in flags
        self.prefix = "--prefix" in flags
        self.variables: dict[bytes, bytes] = {}
        for path in flags.get("--env-file", ()):
            self._read(path)
        self.cwd = self._folder(last.get("--cwd"))

    def _retries(self, text: str) -> int:
        count = number(text, "--retries")
        if not 0 <= count <= RETRIES_MAX:
            raise invalid("--retries", text, f"is not a number from 0 to {RETRIES_MAX:,}")
        return count

    def _probe(self, text: str | None) -> "Probe | None":
        if text is None:
            return None
        from unitsync.process.probes import parse

        try:
            return parse(text)
        except ValueError as problem:
            raise invalid("--ready", text, str(problem)) from None

    def _read(self, path: str) -> None:
        from unitsync.modules import module_path

        module_path.see_all_packages()
        module_path.installed_first()
        from unitsync.process.env_file import variables

        try:
            with open(path, "rb") as file:
                content = file.read()
        except (OSError, ValueError) as problem:
            why = getattr(problem, "strerror", None) or str(problem)
            raise invalid("--env-file", path, f"cannot be read: {why}") from None
        found, problems = variables(content)
        if problems:
            from unitsync.text.printing import safe

            first = problems[0]
            raise wrong(f"{safe(path)}:{first.line}: {first.message}", first.hint)
        for name, value in found.items():
            self.variables[os.fsencode(name)] = os.fsencode(value)

    def _folder(self, path: str | None) -> str:
        if path is None:
            return ""
        if not os.path.isdir(path):
            raise invalid("--cwd", path, "is not a folder")
        if not os.access(path, os.X_OK):
            raise invalid("--cwd", path, "cannot be entered: permission denied")
        return os.path.abspath(path)
