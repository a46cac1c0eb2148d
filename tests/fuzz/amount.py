"""How much is tried: ``FUZZ=5`` tries five times as much, other input each time."""

from __future__ import annotations

import os
from typing import Final

ROUNDS: Final = max(1, int(os.environ.get("FUZZ", "0")))
