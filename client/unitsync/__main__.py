"""``python -m unitsync``: what the command ``unitsync`` does, always by the full command
line, never by the express path."""

from unitsync.cli import main

if __name__ == "__main__":
    main()
