"""How often the drift report cries on rows of one population, and how often it finds a shift, at seven sizes.

Eleven columns are drawn; each column's bins come from its baseline rows, as `profile` makes them. Beside it, on the
same draws: the tests that a statistician would take on the rows themselves (Kolmogorov-Smirnov, and chi-square over
categories and missing values) with Benjamini and Hochberg's rule over the columns; and PSI from 0.2 on, the usual rule.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

from adbazureml.monitoring.column_profile import CATEGORIES, Binned, _edges, _profile, is_free_text
from adbazureml.monitoring.distances import population_stability_index
from adbazureml.monitoring.drift_thresholds import Thresholds
from adbazureml.monitoring.significance import LEVEL, adjusted, p_value

SIZES = [
    *((282, 30), (282, 89), (282, 178), (1_000, 100), (1_000, 1_000)),
    *((100_000, 10_000), (1_000_000, 1_000_000)),
]
ROWS_IN_ALL = 2_000_000
MOST_REPORTS = 400
Rows = dict[str, NDArray[Any]]
SHIFTS: dict[str, tuple[str, Callable[[np.random.Generator, NDArray[Any]], NDArray[Any]]]] = {
    "place, 0.5 sd": ("normal", lambda _, rows: rows + 0.5),
    "width, 1.5 times": ("normal", lambda _, rows: rows * 1.5),
    "two humps": ("uniform", lambda random, rows: (rows > 0.5) / 2 + random.beta(8, 8, len(rows)) / 2),
    "nulls, 5 to 15 %": ("nulls", lambda random, rows: np.where(random.random(len(rows)) < 0.105, np.nan, rows)),
    "share, 10 to 25 %": ("few", lambda random, rows: np.where(random.random(len(rows)) < 1 / 6, "c", rows)),
    "new category, 10 %": ("few", lambda random, rows: np.where(random.random(len(rows)) < 0.1, "new", rows)),
}


def drawn(random: np.random.Generator, rows: int) -> Rows:
    """Rows of the population."""
    zipf = 1 / np.arange(1, 301)
    return {
        "normal": random.normal(size=rows),
        "skewed": random.lognormal(size=rows),
        "heavy": random.standard_t(2, size=rows),
        "counts": random.poisson(3, rows).astype(float),
        "rare counts": random.poisson(0.1, rows).astype(float),
        "uniform": random.random(rows),
        "nulls": np.where(random.random(rows) < 0.05, np.nan, random.normal(size=rows)),
        "boolean": np.where(random.random(rows) < 0.3, "true", "false"),
        "few": random.choice(["a", "b", "c"], size=rows, p=[0.65, 0.25, 0.1]),
        "zipf": random.choice(300, size=rows, p=zipf / zipf.sum()).astype(str),
        "many": random.choice(300, size=rows).astype(str),
    }


def binned(name: str, rows: NDArray[Any]) -> Binned:
    """A column's bins, as `profile` makes them."""
    if rows.dtype.kind == "U":
        values, counts = np.unique(rows, return_counts=True)
        if is_free_text(len(rows), len(values)):
            return replace(binned(name, _lengths(rows)), measure="length")
        return Binned(name, "categorical", tuple(sorted(values[np.argsort(-counts, kind="stable")][:CATEGORIES])))
    there = rows[~np.isnan(rows)]
    inner = np.quantile(there, np.arange(1, 10) / 10, method="inverted_cdf")
    return Binned(name, "numeric", _edges(inner.tolist(), np.quantile(there, (np.arange(1000) + 0.5) / 1000)))


def _lengths(texts: NDArray[Any]) -> NDArray[np.float64]:
    return np.char.str_len(texts).astype(np.float64)


def counted(column: Binned, rows: NDArray[Any]) -> NDArray[np.int64]:
    """Rows in each bin."""
    rows = _lengths(rows) if column.measure == "length" else rows
    return _profile(column, pa.array(rows, mask=None if rows.dtype.kind == "U" else np.isnan(rows))).counts


def reference(now: NDArray[Any], before: NDArray[Any]) -> float:
    """The p value of the usual test on the rows themselves."""
    if now.dtype.kind == "U":
        values, places = np.unique(np.concatenate([now, before]), return_inverse=True)
        sides = np.split(places, [len(now)])
        table = np.stack([np.bincount(side, minlength=len(values)) for side in sides])
        return float(chi2_contingency(table, correction=False).pvalue) if len(values) > 1 else 1.0
    gaps = [np.isnan(side) for side in (now, before)]
    found = [float(ks_2samp(now[~gaps[0]], before[~gaps[1]]).pvalue)]
    if any(side.any() for side in gaps):
        table = np.array([[side.sum(), (~side).sum()] for side in gaps])
        found.append(float(chi2_contingency(table, correction=False).pvalue))
    return min(1.0, len(found) * min(found))


def found(before: Rows, now: Rows) -> Iterator[tuple[str, set[str]]]:
    """The columns that each rule calls drifted."""
    columns = {name: binned(name, rows) for name, rows in before.items()}
    counts = {name: (counted(one, now[name]), counted(one, before[name])) for name, one in columns.items()}
    psi = {name: population_stability_index(*sides) for name, sides in counts.items()}
    chances = adjusted([p_value(columns[name], *sides) for name, sides in counts.items()])
    least = Thresholds().given()["psi"]
    yield "ours", {name for name, p in zip(columns, chances, strict=True) if p <= LEVEL and psi[name] >= least}
    usual = adjusted([reference(now[name], before[name]) for name in columns])
    yield "tests", {name for name, p in zip(columns, usual, strict=True) if p <= LEVEL}
    yield "PSI 0.2", {name for name, value in psi.items() if value >= 0.2}


def main() -> None:
    """Print both tables, in percent of the reports."""
    warnings.simplefilter("ignore")
    cases = ["none", *SHIFTS]
    for before, now in SIZES:
        random = np.random.default_rng(before + now)
        reports = int(np.clip(ROWS_IN_ALL / (before + now), 3, MOST_REPORTS))
        hits: Counter[tuple[str, str]] = Counter()
        start = time.monotonic()
        for _ in range(reports):
            baseline, rows = drawn(random, before), drawn(random, now)
            for case in cases:
                name, shift = SHIFTS.get(case, ("", None))
                shifted = rows if shift is None else {**rows, name: shift(random, rows[name])}
                for rule, columns in found(baseline, shifted):
                    hits[case, rule] += bool(columns) if shift is None else name in columns
        print(f"{before:,}/{now:,}: {reports} reports, {(time.monotonic() - start) / reports / len(cases):.2f} s each")
        for case in cases:
            figures = ", ".join(
                f"{rule} {100 * hits[case, rule] / reports:.0f}" for rule in ("ours", "tests", "PSI 0.2")
            )
            print(f"  {'no drift' if case == 'none' else case:<20}{figures}", flush=True)


if __name__ == "__main__":
    main()
