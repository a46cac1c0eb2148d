#!/bin/bash -e
cd repo
exec ./serve --port 8080
