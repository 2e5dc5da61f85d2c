"""The two frames in figures: quantiles, categories, and the rows in each bin. Rows stay on Spark, figures come back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from adbazureml.errors import TableError

if TYPE_CHECKING:
    import pyarrow as pa
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
class Binned:
    """A column with the bins that its baseline sets: inner edges of a number, or categories."""

    name: str
    kind: Kind
    bins: tuple[float, ...] | tuple[str, ...]


def quantiles_of(
    frame: DataFrame, names: list[str], bins: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, tuple[float, ...]]]:
    """For each column 1,000 quantiles (none where all is missing), and the inner edges of its bins, in one job."""
    from pyspark.sql import functions

    if not names:
        return {}, {}
    middles = [(i + 0.5) / _QUANTILES for i in range(_QUANTILES)]
    inner = [i / bins for i in range(1, bins)]
    # Made once: each of the 1,000 literals is a call to Java.
    wanted = functions.array(*(functions.lit(share) for share in (*middles, *inner)))
    found = frame.agg(
        *(functions.percentile_approx(_number(name), wanted, _SKETCH).alias(str(i)) for i, name in enumerate(names))
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


def frequent_categories(frame: DataFrame, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The most frequent values of each text or boolean column, in one job."""
    from pyspark.sql import Window, functions

    if not names:
        return {}
    values = functions.array(*(_text(name) for name in names))
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


def rows_in_bins(frame: DataFrame, columns: list[Binned], place: str) -> list[NDArray[np.int64]]:
    """Rows in each bin of each column, missing values last, in one job.

    Numpy looks the bins up in the workers, several times faster than one comparison per edge in Spark. Only the counts
    leave a worker.

    Raises
    ------
    TableError
        The frame has no rows.
    """
    from pyspark.sql import functions

    values = frame.select(
        *(
            (_number(column.name) if column.kind == "numeric" else _text(column.name)).alias(str(i))
            for i, column in enumerate(columns)
        )
    )
    rows = (
        values.mapInArrow(partial(_counts_of_batches, columns), "column int, bin int, rows long")
        .groupBy("column", "bin")
        .agg(functions.sum("rows").alias("rows"))
        .collect()
    )
    if not rows:
        raise TableError(f"There is no row in {place}: choose a window or a condition that some rows fit.")
    counts = [np.zeros(_size(column), dtype=np.int64) for column in columns]
    for row in rows:
        counts[row["column"]][row["bin"]] = row["rows"]
    return counts


def _counts_of_batches(columns: list[Binned], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: the bins of its rows that are not empty, each with its number of rows."""
    import pyarrow as pa

    counts = [np.zeros(_size(column), dtype=np.int64) for column in columns]
    for batch in batches:
        for i, column in enumerate(columns):
            counts[i] += np.bincount(_bins(column, batch.column(i)), minlength=len(counts[i]))
    for i, count in enumerate(counts):
        filled = np.flatnonzero(count)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(np.full(len(filled), i, dtype=np.int32)),
                pa.array(filled.astype(np.int32)),
                pa.array(count[filled]),
            ],
            names=["column", "bin", "rows"],
        )


def _bins(column: Binned, values: pa.Array) -> NDArray[np.int64]:
    """The bin of each value: how many edges lie below it, or its category with one bin for all others; then missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind == "numeric":
        found = np.searchsorted(np.array(column.bins), values.to_numpy(zero_copy_only=False))
    else:
        known = pa.array(column.bins, type=values.type)
        found = pc.fill_null(pc.index_in(values, value_set=known), len(known)).to_numpy(zero_copy_only=False)
    return np.where(values.is_null().to_numpy(zero_copy_only=False), _size(column) - 1, found).astype(np.int64)


def _size(column: Binned) -> int:
    # Edges part the numbers into one bin more than there are edges, as do categories with all others; then missing.
    return len(column.bins) + 2


def _text(name: str) -> Column:
    from pyspark.sql import functions

    return functions.col(_quoted(name)).cast("string")


def _number(name: str) -> Column:
    """A column as a double, with null for NaN."""
    from pyspark.sql import functions

    return functions.nanvl(functions.col(_quoted(name)).cast("double"), functions.lit(None).cast("double"))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
