"""A job that spans hosts, without a log."""

from __future__ import annotations

from unitsync import wire


class LonelyJob:
    """The job as its host *h0* knows it, which hears only what the test says."""

    name = "job"
    host = "h0"

    def __init__(self, *, expected: int = 0) -> None:
        self.expected = expected
        self.remarks: dict[str, str] = {}

    def remark(self, host: str) -> str:
        return self.remarks.get(host, "")

    def takes_part(self) -> bool:
        return False

    def standing(self) -> str:
        return "no log"

    def hosts(self) -> list[wire.Host]:
        return []
