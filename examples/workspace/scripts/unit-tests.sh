#!/usr/bin/env bash
# Runs the project's tests, beside build-site.sh.
set -euo pipefail
[[ ${1-} == go ]] ||
    exec unitsync run unit-tests --after pip-install -- stopwatch unit-tests bash "$0" go

cd "$WORKSPACE/fieldnotes"
../.venv/bin/python -m unittest discover --start-directory tests --verbose
