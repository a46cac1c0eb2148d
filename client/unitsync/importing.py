"""Importing modules that define messages, while Ctrl-C may come at any time. Imports only what the
interpreter has already loaded."""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(name: str) -> "Any":
    """The module *name*. A Ctrl-C meanwhile ends the process by that signal. As an exception, it
    would crash msgspec if it came while a decoder is made."""
    raises = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if raises:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        __import__(name)
        return sys.modules[name]
    finally:
        if raises:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
