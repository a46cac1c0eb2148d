"""A plan from a compose file, as far as its services make sense without containers.

What the keys mean: https://github.com/compose-spec/compose-spec
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from unitsync.errors import not_installed
from unitsync.importing.cycles import cycle
from unitsync.importing.draft import (
    Draft,
    Place,
    Unit,
    Wrong,
    failed,
    placeholder,
    text_of,
    unit_name,
)
from unitsync.plan.units import Edge
from unitsync.plan.values import wrong_probe, wrong_stop
from unitsync.text.durations import seconds_in
from unitsync.text.nearest import nearest
from unitsync.wire.values import Requirement

Node = Any
"""A node of pyyaml: its ``id`` is scalar, sequence or mapping."""

_CONDITIONS: Final = {
    "service_started": Requirement.START,
    "service_healthy": Requirement.START,
    "service_completed_successfully": Requirement.SUCCESS,
}
_WITHOUT: Final = {
    "image": "the command has to be on this machine",
    "build": "the command has to be on this machine",
    "ports": "it listens where its command says",
    "expose": "it listens where its command says",
    "volumes": "it sees the files of this machine",
    "working_dir": "it is a folder of the container; see cwd",
    "user": "it is a user of the container; see user",
    "networks": "it has the network of this machine",
    "scale": "a unit runs once",
    "deploy": "a unit runs once, with the limits of this machine",
    "secrets": "it sees the files of this machine",
    "configs": "it sees the files of this machine",
    "logging": "see unitsync logs",
}
"""Why a key of a service is left out."""
_SILENT: Final = ("version", "name", "services")
_VARIABLE: Final = re.compile(
    r"\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*(?:[:?+-][^{}]*)?)\})"
)
NODES_MAX: Final = 100_000
"""Of a compose file; an alias counts each time."""


def read(path: Path) -> Draft:
    """The plan for the compose file *path*. Raises PlanError, and UsageError if the library is
    not installed."""
    root = _parsed(path)
    wrong = Wrong()
    try:
        return _Reader(path, wrong).read(root)
    except RecursionError:
        raise failed(Place(path, 1), "it is nested too deeply") from None


def _parsed(path: Path) -> Node:
    text = text_of(path)
    try:
        import yaml
    except ImportError:
        raise not_installed("a compose file is read", "pyyaml", "import") from None
    try:
        found: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = Place(path, mark.line + 1 if mark else 1)
        raise failed(place, f"this is not YAML: {problem.problem}") from None
    except yaml.YAMLError as problem:
        raise failed(Place(path, 1), f"this is not YAML: {problem}") from None
    except (RecursionError, ValueError):
        raise failed(Place(path, 1), "this is not YAML") from None
    if found is None:
        raise failed(Place(path, 1), "it is empty")
    return found


class _Reader:
    def __init__(self, path: Path, wrong: Wrong) -> None:
        self._path = path
        self._wrong = wrong
        self._draft = Draft(path, path.parent)
        self._names: dict[str, str] = {}
        self._healthy: set[str] = set()
        self._waits: dict[str, list[tuple[str, str, Place]]] = {}
        self._nodes = 0

    def read(self, root: Node) -> Draft:
        top = self._entries(root, "the file")
        if "services" not in top:
            raise failed(Place(self._path, 1), "it has no services", "services:, then one key each")
        for key, (place, _) in top.items():
            if key in ("include", "extends"):
                self._draft.open(place, f"{key}: the services of other files are not imported")
            elif key not in _SILENT and not key.startswith("x-"):
                self._draft.left_out(place, f"{key}: containers only")
        services = self._entries(top["services"][1], "services")
        entries: dict[str, tuple[Place, dict[str, tuple[Place, Node]]]] = {}
        for name, (place, node) in services.items():
            entry = self._entries(node, f"service {name}")
            if "profiles" in entry:
                at = entry["profiles"][0]
                self._draft.left_out(
                    at, f"{name}: it has profiles, so it is not one of the usual services"
                )
                continue
            entries[name] = (place, entry)
            self._names[name] = unit_name(name, self._names.values())
        if not entries:
            raise failed(Place(self._path, 1), "it has no service to import")
        for name, (place, entry) in entries.items():
            self._service(name, place, entry)
        for name, (_, entry) in entries.items():
            if "depends_on" in entry:
                self._depends(name, *entry["depends_on"], set(services))
        self._finish()
        return self._draft

    def _finish(self) -> None:
        units = {unit.name: unit for unit in self._draft.units}
        for name, waits in self._waits.items():
            for other, condition, place in waits:
                units[self._names[name]].after.append(
                    Edge(self._names[other], _CONDITIONS[condition])
                )
                if condition == "service_healthy" and other not in self._healthy:
                    text = f"unit {self._names[other]}: when it is healthy (ready)"
                    self._draft.open(place, f"{text}: its image may say it")
                elif condition == "service_started" and other in self._healthy:
                    text = f"{name} waits until {other} is healthy, not only until it has started"
                    self._draft.note(place, text)
        path = cycle(
            {name: [other for other, _, _ in waits] for name, waits in self._waits.items()}
        )
        if path:
            places = {
                (name, other): at for name, all_ in self._waits.items() for other, _, at in all_
            }
            at = places[path[0], path[1]]
            self._wrong.add(at, f"the services wait in a circle: {' → '.join(path)}")
        self._wrong.stop()
        self._draft.about = [f"The services of {self._path.name}, without containers."]

    # --- YAML ---

    def _place(self, node: Node) -> Place:
        return Place(self._path, node.start_mark.line + 1)

    def _count(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise failed(self._place(node), f"it has more than {NODES_MAX:,} values")

    def _entries(self, node: Node, what: str) -> dict[str, tuple[Place, Node]]:
        """The keys of a mapping, each with its place; of ``<<`` those that it does not set."""
        found: dict[str, tuple[Place, Node]] = {}
        if node.id == "scalar" and not node.value:
            return found
        if node.id != "mapping":
            raise failed(self._place(node), f"{what} is no mapping", "lines of key: value")
        merged: list[Node] = []
        for key, value in node.value:
            self._count(value)
            if key.id != "scalar":
                raise failed(self._place(key), f"a key of {what} is no text")
            if key.value == "<<":
                merged += value.value if value.id == "sequence" else [value]
            else:
                found[key.value] = (self._place(key), value)
        for each in merged:
            for key, entry in self._entries(each, "what is merged").items():
                found.setdefault(key, entry)
        return found

    def _items(self, node: Node, what: str) -> Iterator[Node]:
        if node.id == "sequence":
            for each in node.value:
                self._count(each)
                yield each
        elif node.value:
            raise failed(self._place(node), f"{what} is no list")

    def _text(self, node: Node, what: str) -> str:
        """The text of a scalar, with ``{{ }}`` for variables that compose would put in."""
        if node.id != "scalar":
            raise failed(self._place(node), f"{what} is no text")
        place = self._place(node)

        def put(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            self._draft.open(place, f"{what}: {found[0]}")
            return placeholder(found[1] or found[2])

        text = node.value if node.tag != "tag:yaml.org,2002:null" else ""
        return _VARIABLE.sub(put, text)

    # --- services ---

    def _service(self, name: str, place: Place, entry: dict[str, tuple[Place, Node]]) -> None:
        unit = Unit(self._names[name], place)
        unit.about.append(place.beside(self._path.parent))
        words = self._words(name, entry)
        if words:
            unit.keys["command"] = words
        else:
            image = self._text(entry["image"][1], "image") if "image" in entry else "it"
            self._draft.open(place, f"unit {unit.name}: the command of {image}")
            unit.keys["run"] = "echo 'no command yet' >&2; exit 1"
            unit.about.append("open: its command")
        takes: dict[str, Callable[[str, Unit, Place, Node], None]] = {
            "environment": self._environment,
            "env_file": self._env_file,
            "healthcheck": self._healthcheck,
            "restart": self._restart,
            "stop_signal": self._stop_signal,
            "stop_grace_period": self._grace,
        }
        for key, (at, node) in entry.items():
            if key in takes:
                takes[key](name, unit, at, node)
            elif key == "extends":
                self._draft.open(at, f"unit {unit.name}: what it has from the service it extends")
            elif key not in ("command", "entrypoint", "depends_on") and not key.startswith("x-"):
                why = _WITHOUT.get(key, "it is about the container")
                self._draft.left_out(at, f"{name}: {key}: {why}")
        self._draft.units.append(unit)

    def _words(self, name: str, entry: dict[str, tuple[Place, Node]]) -> list[str]:
        words: list[str] = []
        for key in ("entrypoint", "command"):
            if key not in entry:
                continue
            place, node = entry[key]
            what = f"unit {self._names[name]}: {key}"
            if node.id == "sequence":
                words += [self._text(each, what) for each in self._items(node, what)]
                continue
            text = self._text(node, what)
            try:
                words += shlex.split(text)
            except ValueError:
                raise failed(place, f"{name}: a quote in {key} is not closed") from None
        if "command" not in entry and words:
            self._draft.note(entry["entrypoint"][0], f"{name}: its image may add arguments")
        if "entrypoint" not in entry and words and "image" in entry:
            self._draft.note(
                entry["command"][0], f"{name}: its image may have an entrypoint before it"
            )
        if words and (not words[0].strip() or any("\0" in word for word in words)):
            place = entry["entrypoint" if "entrypoint" in entry else "command"][0]
            raise failed(place, f"{name}: the program is empty")
        return words

    def _environment(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        env: dict[str, str] = {}
        if node.id == "mapping":
            pairs = [
                (key, None if value.tag.endswith(":null") else value)
                for key, (_, value) in self._entries(node, "environment").items()
            ]
            for key, value in pairs:
                if value is not None:
                    env[key] = self._text(value, f"unit {unit.name}: {key}")
        else:
            for each in self._items(node, "environment"):
                text = self._text(each, f"unit {unit.name}: environment")
                key, given, rest = text.partition("=")
                if given:
                    env[key] = rest
        if any(not key or "=" in key or "\0" in key + value for key, value in env.items()):
            raise failed(place, f"{name}: a variable has no name, or holds NUL")
        if env:
            unit.keys["env"] = env

    def _env_file(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        nodes = [node] if node.id == "scalar" else list(self._items(node, "env_file"))
        paths: list[str] = []
        for each in nodes:
            required = True
            if each.id == "mapping":
                entry = self._entries(each, "env_file")
                required = "required" not in entry or entry["required"][1].value != "false"
                if "path" not in entry:
                    raise failed(place, f"{name}: an env_file has no path")
                each = entry["path"][1]
            text = self._text(each, f"unit {unit.name}: env_file")
            if not text.strip() or "\0" in text:
                raise failed(place, f"{name}: an env_file has no path")
            path = self._path.parent / text
            if not required and not path.is_file():
                self._draft.left_out(place, f"{name}: {text}, which is not there")
            else:
                paths.append(str(path))
        if paths:
            unit.keys["env-file"] = paths if len(paths) > 1 else paths[0]
            for path_ in paths:
                if not Path(path_).is_file():
                    self._draft.open(place, f"unit {unit.name}: {Path(path_).name} is not there")

    def _healthcheck(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        entry = self._entries(node, "healthcheck")
        if "disable" in entry and entry["disable"][1].value == "true":
            return
        for key, (at, _) in entry.items():
            if key not in ("test", "disable"):
                self._draft.left_out(at, f"{name}: healthcheck: {key}: see timeout")
        if "test" not in entry:
            self._draft.open(
                place, f"unit {unit.name}: when it is healthy (ready): its image says it"
            )
            return
        at, test = entry["test"]
        what = f"unit {unit.name}: healthcheck"
        if test.id == "sequence":
            words = [self._text(each, what) for each in self._items(test, what)]
            kind, rest = (words[0], words[1:]) if words else ("NONE", [])
            if kind == "NONE":
                return
            if kind not in ("CMD", "CMD-SHELL") or not rest:
                raise failed(at, f"{name}: test begins with NONE, CMD or CMD-SHELL")
            text = shlex.join(rest) if kind == "CMD" else rest[0]
        else:
            text = self._text(test, what)
        if not text.strip() or "\0" in text:
            raise failed(at, f"{name}: the test is empty")
        if wrong_probe(text) or text.startswith(("tcp:", "http:", "https:", "line:")):
            text = f"( {text} )"
        unit.keys["ready"] = text
        if any(each in text for each in ";&\n"):
            unit.keys["shell"] = "/bin/sh"  # as in a container: it does not end at the first error
        self._healthy.add(name)

    def _stop_signal(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        text = self._text(node, f"unit {unit.name}: stop_signal")
        text = text if text.startswith("SIG") else f"SIG{text}"
        if wrong_stop(text):
            self._draft.left_out(place, f"{name}: stop_signal: {text} is not the name of a signal")
        else:
            unit.keys["stop"] = text

    def _restart(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        text = self._text(node, f"unit {unit.name}: restart")
        how, _, count = text.partition(":")
        if how == "on-failure" and count.isascii() and count.isdigit() and len(count) < 6:
            unit.keys["retries"] = int(count)
        elif text != "no":
            self._draft.left_out(place, f"{name}: restart: {text}: a plan only counts retries")

    def _grace(self, name: str, unit: Unit, place: Place, node: Node) -> None:
        text = self._text(node, f"unit {unit.name}: stop_grace_period")
        seconds = seconds_in(text)
        if seconds is None or not 0 <= seconds <= 86400 or text.strip() == "none":
            self._draft.left_out(place, f"{name}: stop_grace_period: {text}")
        else:
            unit.keys["grace"] = text.strip()

    # --- order ---

    def _depends(self, name: str, place: Place, node: Node, services: set[str]) -> None:
        waits: dict[str, tuple[str, Place]] = {}
        if node.id == "mapping":
            for other, (at, value) in self._entries(node, "depends_on").items():
                entry = self._entries(value, f"depends_on of {name}")
                condition = "service_started"
                for key, (where, inner) in entry.items():
                    if key == "condition":
                        condition = self._text(inner, "condition")
                    else:
                        self._draft.left_out(where, f"{name}: depends_on {other}: {key}")
                waits[other] = (condition, at)
        else:
            for each in self._items(node, f"depends_on of {name}"):
                waits[self._text(each, "depends_on")] = ("service_started", self._place(each))
        for other, (condition, at) in waits.items():
            if condition not in _CONDITIONS:
                hint = f"one of: {', '.join(_CONDITIONS)}"
                self._wrong.add(
                    at, f"{name}: depends_on {other}: there is no condition {condition}", hint
                )
            elif other not in services:
                meant = nearest(other, sorted(services))
                hint = (
                    f"did you mean {meant}?"
                    if meant
                    else f"there are: {', '.join(sorted(services))}"
                )
                self._wrong.add(at, f"{name}: depends_on {other}, which is no service", hint)
            elif other not in self._names:
                self._draft.left_out(at, f"{name}: depends_on {other}, which is left out")
            elif other == name:
                self._wrong.add(at, f"{name} would wait for itself")
            else:
                self._waits.setdefault(name, []).append((other, condition, at))
