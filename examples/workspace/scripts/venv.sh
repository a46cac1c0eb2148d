#!/usr/bin/env bash
# A virtual environment, without a pip of its own: pip-install.sh uses the one outside,
# and so this takes 50 ms instead of 3 s.
set -euo pipefail

exec unitsync run venv -- stopwatch venv \
    python3 -m venv --without-pip "$WORKSPACE/.venv"
