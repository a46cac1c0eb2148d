"""Plans made from what others wrote: a Coder template, a compose file, a Procfile, a Makefile.

Each kind has a reader of its own that makes a Draft (draft.py), and says what it left out and
what it cannot know. writing.py makes a plan of it. Nothing is guessed, and nothing is run.
Loaded only for ``unitsync import``.
"""
