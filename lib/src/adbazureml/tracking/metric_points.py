"""Metric points: compare whole histories without holding them.

A point is its step, its time stamp and its value. Eight bytes stand for a point in memory, so that a run at Databricks'
quota of 1,000,000 points takes 8 MB to compare.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.store.tracking.abstract_store import AbstractStore

_PAGE = 10_000
_PACK = struct.Struct("<qqd").pack
# MLflow's SQL stores keep infinities as the largest number.
_LARGEST = 1.7976931348623157e308


def fingerprint(metric: Metric) -> int:
    """64 bits that stand for a point within this process; NaN equals NaN, infinity the largest number."""
    return hash(_PACK(metric.step, metric.timestamp, _normal(metric.value)))


def _normal(value: float) -> float:
    if math.isnan(value):
        # It has many bit patterns.
        return math.nan
    if value >= _LARGEST:
        return math.inf
    return -math.inf if value <= -_LARGEST else value


@dataclass
class Tally:
    """Count and sum of the fingerprints of points; two sets of points are equal when their tallies are."""

    count: int = 0
    total: int = 0
    _last: tuple[int, int, float] | None = field(default=None, compare=False)

    def add(self, metrics: Iterable[Metric]) -> None:
        """Count points in."""
        for metric in metrics:
            self.count += 1
            self.total = (self.total + fingerprint(metric)) & 0xFFFFFFFFFFFFFFFF
            place = metric.step, metric.timestamp, metric.value
            self._last = max(self._last or place, place)

    def ends_with(self, value: float) -> bool:
        """Whether a run that has these points shows this value: the one of the last step."""
        return self._last is not None and _PACK(0, 0, _normal(self._last[2])) == _PACK(0, 0, _normal(value))


class Fingerprints:
    """The points of one metric that a store holds."""

    def __init__(self, metrics: Iterable[Metric] = ()) -> None:
        self._sorted = np.sort(np.fromiter(map(fingerprint, metrics), dtype=np.int64))

    def missing(self, metrics: list[Metric]) -> list[Metric]:
        """Those of the points that are not among these; a point that comes twice is given once."""
        wanted = {fingerprint(metric): metric for metric in metrics}
        if not len(self._sorted):
            return list(wanted.values())
        keys = np.fromiter(wanted, dtype=np.int64, count=len(wanted))
        places = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        there = self._sorted[places] == keys
        return [metric for metric, found in zip(wanted.values(), there.tolist(), strict=True) if not found]


def pages(store: AbstractStore, run_id: str, key: str) -> Iterator[list[Metric]]:
    """Read a metric's whole history, a page at a time; the next one is read while a page is used."""

    def read(token: str | None = None) -> Any:
        return store.get_metric_history(run_id, key, max_results=_PAGE, page_token=token)

    page = read()
    with ThreadPoolExecutor(1, "adbazureml-read") as reader:
        while token := getattr(page, "token", None):
            try:
                coming = reader.submit(read, token).result
            except RuntimeError:
                # Python starts no threads any more while it exits.
                coming = partial(read, token)
            if page:
                yield page
            page = coming()
    if page:
        yield page


def points(store: AbstractStore, run_id: str, key: str) -> Iterator[Metric]:
    """Read a metric's whole history, point by point."""
    for page in pages(store, run_id, key):
        yield from page
