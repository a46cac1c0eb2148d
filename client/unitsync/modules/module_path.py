"""Where this process finds its modules.

Imports only what the interpreter has already loaded.
"""

import os
import sys

_PROGRAM_FOLDER = None if sys.flags.safe_path else os.path.abspath(sys.path[0])
"""Noted now, because it comes first only until the modules are reordered."""


def installed_first() -> None:
    """Reorder sys.path: the modules of Python and of this installation come before modules of
    the same name in PYTHONPATH or in the program's folder, such as a user's ``typing.py``. To
    call it again changes nothing."""
    given = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    foreign = {os.path.abspath(entry) for entry in given.split(os.pathsep)} if given else set()
    if _PROGRAM_FOLDER is not None:
        foreign.add(_PROGRAM_FOLDER)
    here = os.path.dirname(os.path.abspath(__file__))
    ours = os.path.dirname(os.path.dirname(here))
    library = os.path.dirname(os.__file__)
    first = [entry for entry in sys.path if os.path.abspath(entry) not in foreign]
    if ours in foreign:  # with its packages beside it: pip --target
        after = [at for at, entry in enumerate(first, 1) if os.path.dirname(entry) == library]
        first.insert(max(after, default=len(first)), ours)
        foreign.discard(ours)
    sys.path[:] = first + [entry for entry in sys.path if os.path.abspath(entry) in foreign]


def see_all_packages() -> None:
    """Load the module site if Python was started without it. The shim does that, because site
    costs a third as much as everything else."""
    if sys.flags.no_site:
        import site

        site.main()


def folders_of(packages: tuple[str, ...]) -> list[str]:
    """The folders where this process finds *packages*, whether by PYTHONPATH, PYTHONUSERBASE or
    sys.path."""
    from importlib.util import find_spec

    found: list[str] = []
    for name in packages:
        spec = find_spec(name)
        places = (spec.submodule_search_locations or ()) if spec is not None else ()
        found += [os.path.dirname(os.path.abspath(place)) for place in places]
    return list(dict.fromkeys(found))
