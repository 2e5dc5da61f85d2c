"""How things are timed against one another."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping


def alternate(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Time each way once a round and return the medians in seconds, so that a noisy machine is unfair to all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    return {name: statistics.median(times) for name, times in seconds.items()}
