#!/usr/bin/env bash
# Makes the web pages from the project's notes, with the command that it installed.
set -euo pipefail

exec unitsync run build-site --after pip-install -- stopwatch build-site \
    "$WORKSPACE/.venv/bin/fieldnotes" "$WORKSPACE/fieldnotes/notes" "$WORKSPACE/site"
