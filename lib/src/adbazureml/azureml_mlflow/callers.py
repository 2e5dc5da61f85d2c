"""Which of MLflow's functions asks, where its arguments alone do not tell what it wants."""

from __future__ import annotations

import sys
from types import FrameType

# MLflow's clients lie between its functions and a store.
_DEPTH = 6


def find_caller(function: str) -> FrameType | None:
    """Return the frame of a function of MLflow's by whom a store's method is called; None where it is not.

    The names are private, and the same in 3.0 and 3.8 (pinned by tests of what they change).
    """
    # Two frames are this function's and that of the one who asks.
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_DEPTH):
        if frame is None:
            return None
        if frame.f_code.co_name == function and frame.f_globals.get("__name__", "").startswith("mlflow."):
            return frame
        frame = frame.f_back
    return None
