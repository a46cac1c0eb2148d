"""Whether the server answers; with --print, what it says."""

import sys
from urllib.request import urlopen

with urlopen("http://127.0.0.1:8124/", timeout=5) as page:
    text = page.read().decode()
if "--print" in sys.argv:
    print(text, end="")
