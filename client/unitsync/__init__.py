"""Startup scripts in the right order.

    from unitsync import Client

    with Client() as sync:
        with sync.unit("index-repo", after=["git-clone"], timeout_s=600):
            ...

Importing this package loads nothing else; its names are loaded when they are used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unitsync._version import __version__ as __version__
    from unitsync.aio import AsyncClient as AsyncClient
    from unitsync.client import Client as Client
    from unitsync.errors import AlreadyStarted as AlreadyStarted
    from unitsync.errors import ContradictionError as ContradictionError
    from unitsync.errors import CycleError as CycleError
    from unitsync.errors import DeclarationError as DeclarationError
    from unitsync.errors import EndedMeanwhile as EndedMeanwhile
    from unitsync.errors import InternalError as InternalError
    from unitsync.errors import Interrupted as Interrupted
    from unitsync.errors import InvalidName as InvalidName
    from unitsync.errors import LimitReached as LimitReached
    from unitsync.errors import NotGranted as NotGranted
    from unitsync.errors import NotKept as NotKept
    from unitsync.errors import NotPermitted as NotPermitted
    from unitsync.errors import NotReady as NotReady
    from unitsync.errors import ProtocolError as ProtocolError
    from unitsync.errors import Refused as Refused
    from unitsync.errors import Skipped as Skipped
    from unitsync.errors import StaleStartup as StaleStartup
    from unitsync.errors import StateChanged as StateChanged
    from unitsync.errors import StateLost as StateLost
    from unitsync.errors import Stopped as Stopped
    from unitsync.errors import TimedOut as TimedOut
    from unitsync.errors import Unavailable as Unavailable
    from unitsync.errors import UnitsyncError as UnitsyncError
    from unitsync.errors import UnknownUnit as UnknownUnit
    from unitsync.errors import Unreachable as Unreachable
    from unitsync.errors import UsageError as UsageError

_MODULES = {"Client": "client", "AsyncClient": "aio", "__version__": "_version"}
"""Where what is not an error comes from."""


def __getattr__(name: str) -> object:
    if name == "__all__":
        return _exported()
    if name not in _MODULES and not (name[:1].isupper() and name in _exported()):
        raise AttributeError(f"module 'unitsync' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"unitsync.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_exported()})


def _exported() -> list[str]:
    from unitsync import errors

    return [*_MODULES, *(kind.__name__ for kind in errors.BY_CODE.values())]
