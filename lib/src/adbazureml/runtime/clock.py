"""What everything that waits asks for the time, and waits by: the module `time`, or what a caller gives instead."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The part of the module `time` that waiting needs."""

    def monotonic(self) -> float:
        """Seconds since some moment, which never go back."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Let so many seconds pass."""
        ...
