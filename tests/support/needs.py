"""The needs of edges that ``want`` declares, by name."""

from __future__ import annotations

from typing import Final

from unitsync.wire import Requirement
from unitsyncd.core.requirement import need_of

SUCCESS: Final = need_of(Requirement.SUCCESS, optional=False)
COMPLETION: Final = need_of(Requirement.COMPLETION, optional=False)
START: Final = need_of(Requirement.START, optional=False)
OPTIONAL_SUCCESS: Final = need_of(Requirement.SUCCESS, optional=True)
OPTIONAL_COMPLETION: Final = need_of(Requirement.COMPLETION, optional=True)
OPTIONAL_START: Final = need_of(Requirement.START, optional=True)
