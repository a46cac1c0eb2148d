#!/usr/bin/env bash
# The last one: it wants to know how the others ended, not that they succeeded.
set -euo pipefail
[[ ${1-} == go ]] ||
    exec unitsync run report --requires completion \
        --after git-config,git-clone,venv,pip-install,unit-tests,build-site,web-server,agent \
        -- stopwatch report bash "$0" go

{
    if [[ -f $WORKSPACE/agent.txt ]]; then
        echo "ready: $(<"$WORKSPACE/web-server.url") serves $(wc -l <"$WORKSPACE/agent.txt") notes"
    else
        echo "not ready"
    fi
    unitsync list --output json | python3 -c '
import json, sys
for unit in json.load(sys.stdin):
    if unit["unit_name"] != "report":
        print("  {unit_name:<11}  {status:<9}  {reason}".format(**unit).rstrip())
'
} >"$WORKSPACE/report.txt"
