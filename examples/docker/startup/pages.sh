#!/bin/sh
# Makes what the server shows.
exec unitsync run pages -- sh -c '
    sleep 1
    echo "made at $(date)" > "${SITE:-/site}/index.html"
'
