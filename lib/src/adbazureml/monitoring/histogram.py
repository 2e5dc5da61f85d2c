"""How the rows of one column lie in its bins, now and in the baseline: what a picture shows and a title says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from adbazureml.monitoring.column_profile import Binned, Measure
from adbazureml.monitoring.distances import psi_of_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_LABEL = 24
NEW, OTHER, MISSING = "new values", "other values", "missing"


@dataclass(frozen=True)
class Histogram:
    """Rows in each bin of a column, on both sides.

    Attributes
    ----------
    binned : Binned
    current, baseline : tuple of int
        Rows in each bin; missing values last.
    """

    binned: Binned
    current: tuple[int, ...]
    baseline: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        if self.binned.kind == "numeric":
            return (*_intervals([float(edge) for edge in self.binned.bins], self.binned.measure), MISSING)
        # The list holds all that the baseline has, or else its most frequent values.
        rest = OTHER if self.baseline[-2] else NEW
        return (*(shortened(str(name)) or "(empty)" for name in self.binned.bins), rest, MISSING)

    def shares(self) -> NDArray[np.float64]:
        """Shares of the rows, now and in the baseline; shape (2, n_bins)."""
        counts = np.array([self.current, self.baseline], dtype=np.float64)
        return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    def finding(self) -> str:
        """The bin that contributes most to the population stability index, such as ``"above 3: 10 % → 32 %"``."""
        at = self.most_changed
        now, before = self.shares()[:, at]
        digits = 0 if f"{before:.0%}" != f"{now:.0%}" else 1
        return f"{self.labels[at]}: {before:.{digits}%} → {now:.{digits}%}"

    @property
    def most_changed(self) -> int:
        """Place of that bin."""
        return int(np.argmax(psi_of_bins(np.array(self.current), np.array(self.baseline))))


def shortened(text: str) -> str:
    """A text in one line of at most 24 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…"


def _intervals(edges: list[float], measure: Measure) -> list[str]:
    """Words for what is up to each edge and above the last; a value with an edge just below it has a bin of its own."""
    if not edges:
        return ["any value"]
    written = [_day(edge) if measure == "day" else f"{edge:.3g}" for edge in edges]
    named = ["empty" if measure == "length" and edges[0] == 0 else f"up to {written[0]}"]
    for place, (below, edge) in enumerate(pairwise(edges)):
        alone = np.nextafter(edge, -np.inf) == below
        named.append(f"= {written[place + 1]}" if alone else f"{written[place]} to {written[place + 1]}")
    return [*named, f"above {written[-1]}"]


def _day(days: float) -> str:
    """A day that is given in days since 1970."""
    return str(np.datetime64(math.floor(days), "D"))
