#!/usr/bin/env bash
# Installs the project and the library that it leans on into the environment.
set -euo pipefail
[[ ${1-} == go ]] ||
    exec unitsync run pip-install --after git-clone,venv -- stopwatch pip-install bash "$0" go

cd "$WORKSPACE/fieldnotes"
python3 -m pip --python ../.venv/bin/python --isolated --disable-pip-version-check \
    install --no-index --no-cache-dir ./vendor/tinymark .
