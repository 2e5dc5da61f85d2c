"""Compare two Spark frames column by column; rows are counted on Spark, only counts and quantiles come back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adbazureml.errors import SettingsError, TableError
from adbazureml.monitoring.distances import (
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from adbazureml.monitoring.report import ColumnDrift, DriftReport

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

# At the middle of each of 1,000 equal shares: the mean over them is the integral over the quantile function.
_QUANTILES = 1000
# Spark's quantile sketch is off by at most 1/10,000 in rank (its default): a tenth of a quantile here.
_SKETCH = 10_000
# A text column with more categories is compared by its most frequent ones; the others count as one.
_CATEGORIES = 100

Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True)
class _Binned:
    """A column with the bins that its baseline sets: inner edges of a number, or categories."""

    name: str
    kind: Kind
    bins: tuple[float, ...] | tuple[str, ...]


def drift(
    current: DataFrame,
    baseline: DataFrame,
    *,
    columns: Sequence[str] | None = None,
    threshold: float = 0.2,
    bins: int = 10,
) -> DriftReport:
    """Tell how far new data has moved from the data that a model learned from.

    Numbers are counted in bins between the baseline's quantiles, a value that takes several quantiles having a bin of
    its own; text and booleans by the baseline's categories (the 100 most frequent), all others being one bin. Null
    and NaN are one more bin. The frames are read twice each, the baseline a third time for categories.

    Parameters
    ----------
    current, baseline : pyspark DataFrame
        The new rows, and the rows to compare them with.
    columns : sequence of str, optional
        Columns to compare. By default all, which must be the same in both frames.
    threshold : float
        Population stability index from which a column counts as drifted: by the usual rule of thumb 0.1 is a slight
        and 0.2 a marked shift.
    bins : int
        Bins of a number, not counting the one of missing values; 2 or more.

    Returns
    -------
    DriftReport
        For each column the population stability index (Siddiqi 2006) and the Jensen-Shannon distance (Lin 1991), from
        the counts, and for numbers the Kolmogorov-Smirnov statistic and the Wasserstein distance, from 1,000 quantiles
        of each frame.

    Raises
    ------
    TableError
        A frame has no rows, a column is in one frame only or of another kind there, or is neither number, text nor
        boolean.
    SettingsError
        `threshold` is not above 0 or `bins` is below 2.
    """
    if not threshold > 0:
        raise SettingsError(f"drift_threshold: {threshold!r} is wrong; expected a number above 0, such as 0.2.")
    if bins < 2:
        raise SettingsError(f"bins: {bins!r} is wrong; expected 2 or more.")
    kinds = _kinds(current, baseline, columns)
    numeric = [name for name, kind in kinds.items() if kind == "numeric"]
    quantiles_baseline, edges = _quantiles(baseline, numeric, bins)
    quantiles_current, _ = _quantiles(current, numeric, bins)
    categories = _categories(baseline, [name for name, kind in kinds.items() if kind == "categorical"])
    binned = [_Binned(name, kind, (edges | categories)[name]) for name, kind in kinds.items()]
    counts_current = _counts(current, binned, "the current data")
    counts_baseline = _counts(baseline, binned, "the baseline")
    found = []
    for column, now, before in zip(binned, counts_current, counts_baseline, strict=True):
        psi = population_stability_index(now, before)
        ks = moved = None
        if column.kind == "numeric":
            a, b = quantiles_current[column.name], quantiles_baseline[column.name]
            if len(a) and len(b):
                ks, moved = kolmogorov_smirnov(a, b), wasserstein(a, b)
        found.append(
            ColumnDrift(
                column=column.name,
                kind=column.kind,
                psi=psi,
                js_distance=jensen_shannon_distance(now, before),
                ks=ks,
                wasserstein=moved,
                missing_current=float(now[-1] / now.sum()),
                missing_baseline=float(before[-1] / before.sum()),
                drifted=psi >= threshold,
            )
        )
    return DriftReport(
        columns=tuple(found),
        threshold=threshold,
        rows_current=int(counts_current[0].sum()),
        rows_baseline=int(counts_baseline[0].sum()),
    )


def _kinds(current: DataFrame, baseline: DataFrame, columns: Sequence[str] | None) -> dict[str, Kind]:
    """The columns to compare, each with its kind, checked."""
    if columns is None:
        columns = list(dict.fromkeys([*baseline.columns, *current.columns]))
    if not columns:
        raise TableError("columns: none given; name the columns to compare.")
    problems = []
    kinds: dict[str, Kind] = {}
    for name in columns:
        places = {"the current data": _type_of(current, name), "the baseline": _type_of(baseline, name)}
        absent = [place for place, kind in places.items() if kind is None]
        odd = [f"{kind} in {place}" for place, kind in places.items() if kind and _kind(kind) is None]
        now, before = places.values()
        if absent:
            problems.append(f"{name!r} is not in {' nor in '.join(absent)}")
        elif odd:
            problems.append(f"{name!r} is {' and '.join(odd)}, neither number, text nor boolean")
        elif now and before and _kind(now) != _kind(before):
            problems.append(f"{name!r} is {now} in the current data and {before} in the baseline")
        elif before and (kind := _kind(before)):
            kinds[name] = kind
    if problems:
        raise TableError(f"These columns can't be compared: {'; '.join(problems)}. Name those to compare in columns=.")
    return kinds


def _type_of(frame: DataFrame, name: str) -> str | None:
    return next((field.dataType.simpleString() for field in frame.schema.fields if field.name == name), None)


def _kind(type_name: str) -> Kind | None:
    plain = type_name.partition("(")[0]
    if plain in {"tinyint", "smallint", "int", "bigint", "float", "double", "decimal"}:
        return "numeric"
    return "categorical" if plain in {"string", "char", "varchar", "boolean"} else None


def _quantiles(
    frame: DataFrame, names: list[str], bins: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, tuple[float, ...]]]:
    """For each column 1,000 quantiles (none where all is missing), and the inner edges of its bins, in one job."""
    from pyspark.sql import functions

    if not names:
        return {}, {}
    middles = [(i + 0.5) / _QUANTILES for i in range(_QUANTILES)]
    inner = [i / bins for i in range(1, bins)]
    found = frame.agg(
        *(
            functions.percentile_approx(_number(name), [*middles, *inner], _SKETCH).alias(str(i))
            for i, name in enumerate(names)
        )
    ).first()
    quantiles, edges = {}, {}
    for i, name in enumerate(names):
        values = (found and found[i]) or []
        quantiles[name] = np.array(values[:_QUANTILES], dtype=np.float64)
        edges[name] = _edges(values[_QUANTILES:], quantiles[name])
    return quantiles, edges


def _edges(inner: Sequence[float], quantiles: NDArray[np.float64]) -> tuple[float, ...]:
    """Ascending edges; a bin holds what is above one edge and up to the next.

    A value that fills a bin alone gets an edge just below it too: otherwise what falls below the only value of a
    constant column would count as that value.
    """
    alone = {value for value in inner if np.mean(quantiles == value) >= 1 / (len(inner) + 1)}
    return tuple(sorted({*inner, *(math.nextafter(value, -math.inf) for value in alone)}))


def _categories(frame: DataFrame, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The most frequent values of each text or boolean column, in one job."""
    from pyspark.sql import Window, functions

    if not names:
        return {}
    values = functions.array(*(functions.col(_quoted(name)).cast("string") for name in names))
    ranked = (
        frame.select(functions.posexplode(values).alias("column", "value"))
        .where("value IS NOT NULL")
        .groupBy("column", "value")
        .count()
        .withColumn(
            "rank",
            functions.row_number().over(Window.partitionBy("column").orderBy(functions.desc("count"), "value")),
        )
        .where(functions.col("rank") <= _CATEGORIES)
        .collect()
    )
    return {
        name: tuple(sorted(row["value"] for row in ranked if row["column"] == position))
        for position, name in enumerate(names)
    }


def _counts(frame: DataFrame, columns: list[_Binned], place: str) -> list[NDArray[np.int64]]:
    """Rows in each bin of each column, missing values last, in one job.

    Raises
    ------
    TableError
        The frame has no rows.
    """
    from pyspark.sql import functions

    bins = functions.array(*(_bin(column) for column in columns))
    rows = frame.select(functions.posexplode(bins).alias("column", "bin")).groupBy("column", "bin").count().collect()
    if not rows:
        raise TableError(f"There is no row in {place}: choose a window or a condition that some rows fit.")
    # Edges part the numbers into one bin more than there are edges, as do categories with all others; then missing.
    counts = [np.zeros(len(column.bins) + 2, dtype=np.int64) for column in columns]
    for row in rows:
        counts[row["column"]][row["bin"]] = row["count"]
    return counts


def _bin(column: _Binned) -> Column:
    """The bin of a row: 0 to n for n edges or categories (0 for none of them), -1, the last one, for missing."""
    from pyspark.sql import functions

    if column.kind == "numeric":
        value = _number(column.name)
        place = functions.lit(0)
        for edge in column.bins:
            place = place + (value > functions.lit(edge)).cast("int")
    else:
        value = functions.col(_quoted(column.name)).cast("string")
        known = functions.array(*(functions.lit(name) for name in column.bins)).cast("array<string>")
        place = functions.array_position(known, value).cast("int")
    return functions.when(value.isNull(), functions.lit(-1)).otherwise(place)


def _number(name: str) -> Column:
    """A column as a double, with null for NaN."""
    from pyspark.sql import functions

    return functions.nanvl(functions.col(_quoted(name)).cast("double"), functions.lit(None).cast("double"))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
