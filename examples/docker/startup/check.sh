#!/bin/sh
# Looks whether the server answers. It needs the server's start, not its end.
exec unitsync run check --after server --requires start --timeout 1m -- python3 -c '
import os, sys, time, urllib.request

url = "http://127.0.0.1:" + os.environ.get("PORT", "8000")
for _ in range(100):
    try:
        sys.exit(urllib.request.urlopen(url).status != 200)
    except OSError:
        time.sleep(0.1)
sys.exit("the server does not answer")
'
