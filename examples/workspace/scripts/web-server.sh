#!/usr/bin/env bash
# Serves the site on a free port, in the background. The unit is complete when the
# first page has answered, and the server lives on.
#
# This is the form for a script that cannot be one command of `unitsync run`. The trap
# comes after the start: a script that was not let through has nothing to complete. The
# first trap makes a signal count as a failure: bash alone would report the status of the
# last command.
set -euo pipefail

unitsync want web-server build-site || exit
unitsync start web-server --timeout 2m || exit
finish() {
    status=$?
    stopwatch web-server
    unitsync complete web-server --exit-code "$status"
}
trap 'exit 1' HUP INT TERM
trap finish EXIT
stopwatch web-server

cd "$WORKSPACE"
log=$PWD/web-server.log
: >"$log"
nohup .venv/bin/python -u -m http.server 0 --bind 127.0.0.1 --directory site \
    </dev/null >"$log" 2>&1 &
server=$!
echo "$server" >web-server.pid

answers() {
    python3 -c 'import sys, urllib.request as web; web.urlopen(sys.argv[1], timeout=5)' "$1"
}

while kill -0 "$server" && ((SECONDS < 60)); do
    url=$(sed -n 's/^Serving HTTP .*(\(.*\)).*/\1/p' "$log")
    if [[ -n $url ]] && answers "$url"; then
        echo "$url" >web-server.url
        exit
    fi
    sleep 0.05
done
echo "error: the web server did not come up" >&2
cat "$log" >&2
exit 1
