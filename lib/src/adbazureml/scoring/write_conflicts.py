"""Two jobs at once on the same table or checkpoint: one of them waits and does its step again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 12
_PAUSE_SECONDS = 0.3

# Seen by Spark on the checkpoint, or by Delta on the table; the texts are also inside what a stream reports.
_SIGNS = (
    "CONCURRENT_STREAM_LOG_UPDATE",
    "ConcurrentAppend",
    "ConcurrentDelete",
    "ConcurrentModification",
    "ConcurrentTransaction",
    "ConcurrentWrite",
    "MetadataChanged",
    "ProtocolChanged",
    # The other job is about to make the table, or just did.
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
    "TABLE_OR_VIEW_ALREADY_EXISTS",
    "DELTA_TABLE_ALREADY_EXISTS",
)

# A server of Spark Connect gives the worker that runs batches ten seconds to start.
_TOO_BUSY = "Python worker failed to connect back"

T = TypeVar("T")


def is_conflict(error: BaseException) -> bool:
    """Whether a step failed only because another job did the same."""
    said = f"{type(error).__name__} {error}"
    return any(sign in said for sign in _SIGNS)


def repeat_on_conflict(step: Callable[[], T]) -> T:
    """Do a step, again as long as another job is in the way, or the machine too busy; about 20 s of pauses in all."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return step()
        except Exception as error:
            if not is_conflict(error) and _TOO_BUSY not in str(error):
                raise
            time.sleep(_PAUSE_SECONDS * attempt)
    return step()
