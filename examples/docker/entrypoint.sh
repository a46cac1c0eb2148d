#!/bin/sh
# Starts everything at once; each script says itself what it waits for.

for script in "${STARTUP:-/startup}"/*.sh; do
    ("$script" &) # so that it is not a child of the main program, which replaces this shell
done

# The main program: the container ends when it does. If the pages could not be made, it is
# not started, and the container ends with status 3.
exec unitsync run server --after pages -- \
    python3 -m http.server --directory "${SITE:-/site}" "${PORT:-8000}"
