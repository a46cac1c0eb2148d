#!/usr/bin/env bash
# What each host of the job runs, as a scheduler or ssh would start it there.
#
# UNITSYNC_HOSTS, UNITSYNC_JOB, UNITSYNC_HOST and UNITSYNC_HOSTS_EXPECTED are set. So the
# first verb starts the coordinator of this host, and it joins the job.
set -euo pipefail

# They are written in the wrong order, and nothing but unitsync puts them right.
if [[ $UNITSYNC_HOST == node-0 ]]; then
    unitsync run report --after 'train@*' -- stopwatch report true &
fi
unitsync run train --after "data@$NEIGHBOUR" --after 'ready@*' -- stopwatch train sleep 0.5 &
unitsync run ready --after data -- stopwatch ready load-model &
unitsync run data -- stopwatch data sleep "$FETCH_S" &

for _ in $(jobs -p); do wait -n; done
