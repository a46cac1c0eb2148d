"""``python -m unitsync``: the same as the command ``unitsync``."""

from unitsync.cli import main

if __name__ == "__main__":
    main()
