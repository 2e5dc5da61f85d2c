"""Whether the replica is asked at all, after it failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0


class State(Enum):
    """How the replica is treated."""

    CLOSED = "the replica answers: everything goes there"
    OPEN = "the replica failed: nothing goes there until a pause is over"
    HALF_OPEN = "the pause is over: one job tries whether the replica is back"


class CircuitBreaker:
    """A circuit breaker; whoever shares it among threads holds a lock.

    Parameters
    ----------
    clock : callable
        Tells the seconds, as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = 0.0
        self._until = 0.0
        self.state = State.CLOSED

    def wait(self) -> float:
        """Seconds until a job may begin: none, those left of a pause, or infinitely many while another one tries."""
        if self.state is State.CLOSED:
            return 0.0
        return float("inf") if self.state is State.HALF_OPEN else max(self._until - self._clock(), 0.0)

    def begin(self) -> None:
        """Note that a job begins, which `wait` allowed."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def succeeded(self) -> bool:
        """Note that the replica answered; tell whether that is news."""
        was, self.state = self.state, State.CLOSED
        self._pause = 0.0
        return was is not State.CLOSED

    def failed(self) -> bool:
        """Note that the replica is away; tell whether that is news.

        Each try in vain doubles the pause. Jobs that began together and fail together count once.
        """
        was = self.state
        if was is State.OPEN:
            return False
        self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE
        self._until = self._clock() + self._pause
        self.state = State.OPEN
        return was is State.CLOSED

    def insist(self) -> None:
        """End the pause: somebody wants a try now."""
        self._until = self._clock()
