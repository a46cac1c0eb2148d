"""Importing modules that define messages, while Ctrl-C may come at any time. Imports only what the
interpreter has already loaded, and ``gc``."""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_SPARED = ("ssl", "typing_extensions")
"""What asyncio and msgspec load if it is there, and do without otherwise. We need neither, and they
take a tenth of the time that ``up`` needs to begin."""
_WITH_ALL = ("unitsync.job.", "unitsync.agents.", "unitsync.web.")
"""The rooms whose libraries speak to servers, perhaps with TLS, even if we do not."""


def imported(name: str) -> "Any":
    """The module *name*. A Ctrl-C meanwhile ends the process by that signal. As an exception, it
    would crash msgspec if it came while a decoder is made."""
    raises = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if raises:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    needless = () if name.startswith(_WITH_ALL) else _SPARED
    spared = [other for other in needless if other not in modules]
    modules.update(dict.fromkeys(spared))  # importing them fails
    gc.disable()  # nearly everything that is made here stays
    try:
        __import__(name)
        return sys.modules[name]
    finally:
        gc.freeze()
        gc.enable()
        for other in spared:
            del modules[other]
        if raises:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
