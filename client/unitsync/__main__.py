"""``python -m unitsync``: the command ``unitsync``, never by the express path."""

from unitsync.cli import main

if __name__ == "__main__":
    main()
