#!/usr/bin/env python3
"""The agent: comes when the site answers and the tests have passed, and reads a page.

A Python program needs no shell around it. The block below begins when its turn has
come; leaving it completes the unit, and an exception fails it with its text.
"""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from unitsync import Client
from unitsync.errors import NotGranted

workspace = Path(os.environ["WORKSPACE"])


def read_index() -> None:
    url = (workspace / "web-server.url").read_text().strip()
    with urllib.request.urlopen(url, timeout=10) as answer:
        page = answer.read().decode()
    titles = re.findall(r"<li><a [^>]*>(.*?)</a>", page)
    (workspace / "agent.txt").write_text("".join(f"{title}\n" for title in titles))
    print(f"read {len(titles)} notes from {url}")


def note_time() -> None:
    subprocess.run(["stopwatch", "agent"], check=True)


if sys.argv[1:] == ["go"]:  # a unit of the plan, which has done the waiting
    read_index()
    sys.exit()
try:
    with Client() as sync, sync.unit("agent", after=["unit-tests", "web-server"], timeout_s=120):
        note_time()
        read_index()
        note_time()
except NotGranted as error:
    sys.exit(f"the agent's turn did not come: {error}")
