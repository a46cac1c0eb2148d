"""The verb ``logs``: shows what logs/files.py has kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import sleep, time

from unitsync import Client, errors
from unitsync.link import endpoint as endpoints
from unitsync.logs import reading as log_reading
from unitsync.logs.files import STAMP_BYTES
from unitsync.logs.pump import prefixes_for
from unitsync.names.patterns import any_matcher, is_pattern, matcher
from unitsync.names.remote_names import check_here
from unitsync.output.answers import print_err
from unitsync.owner.calling_script import shell_word
from unitsync.process.runners import RUNNING, last_owner, runner_of
from unitsync.text.nearest import nearest
from unitsync.text.printing import NAMES_WIDE, columns, safe, silence
from unitsync.verb.commandline import Call, invalid, parse_duration

_DIGITS_MAX = 18
_LOOK_S = 0.1
"""How often ``--follow`` looks for new lines."""


def main(call: Call) -> int:
    """Perform *call*. Returns the exit status. Raises UnitsyncError."""
    number = _run_number(call.flags.get("--run"))
    after = b""
    if "--since" in call.flags:
        since_s = parse_duration(call.flags["--since"][-1], "--since")
        after = log_reading.stamp_of(max(0.0, time() - since_s))
    place = endpoints.resolve(call.address or None)
    folder = log_reading.present_folder(place)
    names = list(dict.fromkeys(call.names))
    for name in names:
        check_here(name, "logs")
    follow = "--follow" in call.flags
    if not follow:
        notes = {} if number else _notes(place, folder, names)
        _check_logs(folder, names, number, notes)
        if not after:
            print_err(f"note: {safe(note)}" for note in notes.values())
    readers: dict[str, log_reading.Reader] = {}
    try:
        while True:
            folder = folder or log_reading.present_folder(place)
            if folder is not None:
                for name, place_of in _places(folder, names).items():
                    if name not in readers:
                        reader = log_reading.Reader(place_of, name, run=number, since=after)
                        readers[name] = reader
            several = len(names) != 1 or is_pattern(names[0])
            width = min(NAMES_WIDE, max(map(columns, readers), default=0)) if several else -1
            lines = log_reading.merged(list(readers.values()), last=not follow)
            if not _written(lines, width) or not follow:
                return 0
            sleep(_LOOK_S)
    except KeyboardInterrupt:
        if follow:
            return 130
        raise
    finally:
        for reader in readers.values():
            reader.close()


def _places(folder: Path, names: list[str]) -> dict[str, Path]:
    """The folders with the logs of units: of these *names*, and of what matches those that are
    patterns; of all units if there are none. Raises InvalidName."""
    places = {}
    if not names or any(map(is_pattern, names)):
        match = any_matcher(names or ["*"])
        places = {
            name: place for name, place in log_reading.units_in(folder).items() if match(name)
        }
    named = (name for name in names if not is_pattern(name))
    return {name: log_reading.folder_of(folder, name) for name in named} | places


def _run_number(given: list[str] | None) -> int:
    if given is None:
        return 0
    text = given[-1]
    run = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0
    if not run:
        raise invalid("--run", text, "is not the number of a run", "unitsync status UNIT has them")
    return run


def _notes(place: endpoints.Endpoint, folder: Path | None, names: list[str]) -> dict[str, str]:
    """For each of the *names* whose latest run has no output in *folder*: what to say of that.
    Nothing if there is no coordinator, because only it knows of such a run."""
    notes = {}
    try:
        with Client(place.address, autostart=False) as client:
            for name in (name for name in names if not is_pattern(name)):
                info = client.status(name)
                kept = _latest(folder, name)
                if info.run <= kept:
                    continue
                if runner_of(last_owner(info)) == "up":
                    so_far = " so far" if info.status in RUNNING else ""
                    notes[name] = f"run {info.run} of {name} has printed nothing{so_far}"
                elif kept:
                    notes[name] = f"the output of run {info.run} of {name} was not kept"
                if kept:
                    notes[name] += f"; this is run {kept}"
    except errors.UnitsyncError:
        pass
    return notes


def _latest(folder: Path | None, unit: str, run: int = 0) -> int:
    """The latest run of *unit* of which *folder* has output, or *run* if it has that. 0 if it has
    none."""
    if folder is None:
        return 0
    return log_reading.Reader(log_reading.folder_of(folder, unit), unit, run=run).latest


def _check_logs(folder: Path | None, names: list[str], run: int, notes: Mapping[str, str]) -> None:
    """Raise UnitsyncError if there is nothing of one of the *names*, and no note says so."""
    known = log_reading.units_in(folder) if folder is not None else {}
    if not names and not known:
        raise nothing_kept(names)
    for name in names:
        if is_pattern(name):
            match = matcher(name)
            if not any(match(one) for one in known):
                raise errors.UnitsyncError(
                    f"no unit with output matches {name}",
                    hint=f"unitsync list {shell_word(name)} shows the units that match",
                )
            continue
        if name not in notes and not _latest(folder, name):
            raise nothing_kept([name], nearest(name, known))
        if run and not _latest(folder, name, run):
            raise errors.UnitsyncError(
                f"the output of run {run} of {name} is not kept", hint=f"unitsync status {name}"
            )


def nothing_kept(names: list[str], meant: str = "") -> errors.UnitsyncError:
    """The error if there is no output of *names*, of which at most one is given. *meant* may be
    meant by it."""
    of = f" of {names[0]}" if names else ""
    unit = shell_word(names[0]) if names else "UNIT"
    hint = f"did you mean {meant}?" if meant else f"unitsync run {unit} --log -- COMMAND keeps it"
    return errors.UnitsyncError(f"no output{of} was kept in this startup", hint=hint)


def _written(lines: Iterable[tuple[str, bytes]], width: int) -> bool:
    """Print *lines*, with the names of their units in *width* columns; below 0, without. Returns
    False if nobody reads them any more."""
    if sys.stdout is None:
        return False
    out = sys.stdout.buffer
    prefixes: dict[str, bytes] = {}
    at_terminal = out.isatty()
    try:
        for unit, line in lines:
            if width >= 0:
                if unit not in prefixes:
                    prefixes[unit] = prefixes_for(unit, width)[0]
                out.write(prefixes[unit])
            out.write(_overwritten(line) if at_terminal and b"\r" in line else line)
        out.flush()
    except BrokenPipeError:
        silence(1)
        return False
    except OSError as problem:
        silence(1)
        raise errors.UnitsyncError(f"cannot write to stdout: {problem.strerror}") from None
    return True


def _overwritten(line: bytes) -> bytes:
    """*line* as it is when it has come to its end. A carriage return in it would write over the
    time and the name before it."""
    text = line[STAMP_BYTES:].rstrip(b"\r\n").rpartition(b"\r")[2]
    return line[:STAMP_BYTES] + text + b"\n"
