#!/bin/sh
# Ends when the server answers; the server itself runs on.
nohup "$HOME/venv/bin/python" -m http.server 8000 >/tmp/server.log 2>&1 &
until curl -fs -o /dev/null http://127.0.0.1:8000; do
    kill -0 $! || exit 1 # it has ended
    sleep 0.2
done
