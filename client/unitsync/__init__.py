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
    from unitsync.errors import *  # noqa: F403 (all of them)

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
