#!/usr/bin/env bash
# Who commits here, and where the address of our repositories leads.
set -euo pipefail
[[ ${1-} == go ]] || exec unitsync run git-config -- stopwatch git-config bash "$0" go

git config --global user.name 'Workspace'
git config --global user.email 'workspace@example.com'
git config --global advice.detachedHead false
git config --global "url.$REPOSITORIES/.insteadOf" https://git.example/
