"""Plans: a whole startup in one TOML file.

``document.py`` is what a file may hold, ``model.py`` what it means, ``check.py`` what is wrong
with it. No verb that a script calls loads this package.
"""
