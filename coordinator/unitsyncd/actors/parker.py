"""An actor that requests can wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitsyncd.actors.actor import Actor

if TYPE_CHECKING:
    from unitsyncd.actors.waiters import Parked


class Parker(Actor):
    __slots__ = ("parked",)

    def __init__(self) -> None:
        super().__init__()
        self.parked: list[Parked] | None = None
