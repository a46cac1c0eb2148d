"""The verb ``watch``: what is going on, in a terminal.

``board`` holds what is shown and what the user chose. ``drawing`` and ``details`` turn that into
lines, with ``look``. All four are pure. ``following`` asks the coordinator. ``app`` connects them
to the terminal, and is the only module that knows Textual (the extra ``unitsync[watch]``).
"""
