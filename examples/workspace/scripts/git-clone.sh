#!/usr/bin/env bash
# Clones the project. Without the git configuration its address leads nowhere.
set -euo pipefail

exec unitsync run git-clone --after git-config -- stopwatch git-clone \
    git clone --quiet https://git.example/fieldnotes.git "$WORKSPACE/fieldnotes"
