"""Faults that the next requests meet, on the way to the service or back."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from enum import Enum

from .messages import Problem

CODES = {401: "Unauthorized", 403: "Forbidden", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


class Effect(Enum):
    """What happens to a request."""

    FAIL = "answered by an error, without the work being done"
    HANG = "answered late"
    DROP = "connection closed before the work"
    LOSE_ANSWER = "connection closed after the work"
    CUT_UPLOAD = "connection closed in the middle of the body"


@dataclass
class Fault:
    """The next ``left`` requests whose path has ``path`` in it, a regular expression, meet this."""

    effect: Effect
    path: re.Pattern[str]
    left: int
    method: str | None = None
    status: int = 500
    retry_after: int | None = None
    seconds: float = 0.0

    def meets(self, method: str, path: str) -> bool:
        return self.left > 0 and self.method in (None, method) and bool(self.path.search(path))

    def problem(self) -> Problem:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Problem(self.status, CODES[self.status], "The emulator was told to fail here.", headers)


class Faults:
    """The faults that are waiting for a request, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def next_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if fault.meets(method, path):
                    fault.left -= 1
                    return fault
            return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
