#!/usr/bin/env bash
# The last one: it wants to know how the others ended, not that they succeeded.
set -euo pipefail
[[ ${1-} == go ]] ||
    exec unitsync run report --requires completion \
        --after git-config,git-clone,venv,pip-install,unit-tests,build-site,web-server,agent \
        -- stopwatch report "$0" go

{
    if [[ -f $WORKSPACE/agent.txt ]]; then
        echo "ready: $(<"$WORKSPACE/web-server.url") serves $(wc -l <"$WORKSPACE/agent.txt") notes"
    else
        echo "not ready"
    fi
    unitsync list | cut -c 1-79
} >"$WORKSPACE/report.txt"
