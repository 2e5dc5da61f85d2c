"""A frame in figures: quantiles, categories, and the rows in each bin. Rows stay on Spark, figures come back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adbazureml.text import identifier

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

# At the middle of each of 1,000 equal shares: the mean over them is the integral over the quantile function.
_QUANTILES = 1000
# Rows that a worker sorts at once.
_CHUNK = 100_000
# Spark's quantile sketch is off by at most 1/10,000 in rank (its default): a tenth of a quantile here.
_SKETCH = 10_000
# A text column with more categories is compared by its most frequent ones; the others count as one.
CATEGORIES = 100

Kind = Literal["numeric", "categorical"]
# What of a column is looked at: of free text the length, of dates day and weekday, of arrays the Euclidean norm.
Measure = Literal["value", "length", "day", "weekday", "norm"]
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Binned:
    """A column, what of it is looked at, and its bins by the baseline: inner edges of a number, or categories."""

    name: str
    kind: Kind
    bins: tuple[float, ...] | tuple[str, ...]
    measure: Measure = "value"

    @property
    def label(self) -> str:
        """The column's name, and what of it is looked at if not its value."""
        return self.name if self.measure in ("value", "day") else f"{self.name} ({self.measure})"

    def expression(self) -> Column:
        """What is counted, as a Spark column: a double with null for NaN, or text."""
        from pyspark.sql import functions

        column = functions.col(identifier(self.name))
        if self.measure == "length":
            return functions.length(column.cast("string")).cast("double")
        if self.measure == "day":
            return functions.unix_date(column.cast("date")).cast("double")
        if self.measure == "weekday":
            return functions.date_format(column.cast("date"), "EEE")
        if self.measure == "norm":
            squares = functions.aggregate(
                column.cast("array<double>"), functions.lit(0.0), lambda total, value: total + value * value
            )
            return _without_nan(functions.sqrt(squares))
        return _without_nan(column.cast("double")) if self.kind == "numeric" else column.cast("string")


def edges_of(frame: DataFrame, columns: list[Binned], bins: int) -> list[tuple[float, ...]]:
    """The inner edges of each column's bins, at its quantiles, in one job; none where all is missing."""
    from pyspark.sql import functions

    if not columns:
        return []
    middles = [(i + 0.5) / _QUANTILES for i in range(_QUANTILES)]
    inner = [i / bins for i in range(1, bins)]
    # Made once: each of the 1,000 literals is a call to Java.
    wanted = functions.array(*(functions.lit(share) for share in (*middles, *inner)))
    found = frame.agg(
        *(
            functions.percentile_approx(column.expression(), wanted, _SKETCH).alias(str(i))
            for i, column in enumerate(columns)
        )
    ).first()
    edges = []
    for i, column in enumerate(columns):
        values = (found and found[i]) or []
        between = _edges(values[_QUANTILES:], np.array(values[:_QUANTILES], dtype=np.float64))
        # Empty texts have a bin of their own.
        edges.append(tuple(sorted({0.0, *between})) if column.measure == "length" else between)
    return edges


def _edges(inner: Sequence[float], quantiles: NDArray[np.float64]) -> tuple[float, ...]:
    """Ascending edges; a bin holds what is above one edge and up to the next.

    A value that fills a bin alone gets an edge just below it too: otherwise what falls below the only value of a
    constant column would count as that value.
    """
    alone = {value for value in inner if np.mean(quantiles == value) >= 1 / (len(inner) + 1)}
    return tuple(sorted({*inner, *(math.nextafter(value, -math.inf) for value in alone)}))


def frequent_categories(frame: DataFrame, names: list[str]) -> dict[str, tuple[str, ...] | None]:
    """The most frequent values of each text or boolean column, in one job; None of free text."""
    from pyspark.sql import Window, functions

    if not names:
        return {}
    values = functions.array(*(functions.col(identifier(name)).cast("string") for name in names))
    of_column = Window.partitionBy("column")
    ranked = (
        frame.select(functions.posexplode(values).alias("column", "value"))
        .where("value IS NOT NULL")
        .groupBy("column", "value")
        .count()
        .withColumn("rank", functions.row_number().over(of_column.orderBy(functions.desc("count"), "value")))
        .withColumn("rows", functions.sum("count").over(of_column))
        .withColumn("distinct", functions.count("*").over(of_column))
        .where(functions.col("rank") <= CATEGORIES)
        .collect()
    )
    found: dict[str, tuple[str, ...] | None] = {}
    for position, name in enumerate(names):
        of_name = [row for row in ranked if row["column"] == position]
        free = bool(of_name) and is_free_text(of_name[0]["rows"], of_name[0]["distinct"])
        found[name] = None if free else tuple(sorted(row["value"] for row in of_name))
    return found


def is_free_text(rows: int, distinct: int) -> bool:
    """Whether texts are hardly ever the same, so that their frequencies say nothing.

    Parameters
    ----------
    rows, distinct : int
        Texts that are there, and different ones among them.
    """
    return distinct > CATEGORIES and distinct > rows / 2


@dataclass
class Profile:
    """A column's rows in each of its bins, and points that stand for its values, each with its weight in rows.

    Attributes
    ----------
    counts : array of int, shape (n_bins,)
        Missing values last.
    points, weights : list of arrays of float
        Of a number: pieces, each ascending.
    """

    counts: NDArray[np.int64]
    points: list[NDArray[np.float64]]
    weights: list[NDArray[np.float64]]

    @classmethod
    def empty(cls, column: Binned) -> Profile:
        """No row yet."""
        return cls(np.zeros(_size(column), dtype=np.int64), [], [])

    def take(self, other: Profile) -> None:
        """Add the rows of another one."""
        self.counts += other.counts
        self.points += other.points
        self.weights += other.weights

    def quantiles(self) -> NDArray[np.float64]:
        """1,000 quantiles, at the middles of equal shares; none without a value."""
        if not self.points:
            return np.array([])
        points, weights = np.concatenate(self.points), np.concatenate(self.weights)
        order = np.argsort(points, kind="stable")
        points, upto = points[order], np.cumsum(weights[order])
        middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES * upto[-1]
        found: NDArray[np.float64] = points[np.minimum(np.searchsorted(upto, middles), len(points) - 1)]
        return found

    def summed_up(self) -> None:
        """Replace the points by at most 1,000: no share of the rows moves by more than 1/2,000."""
        if sum(map(len, self.points)) > _QUANTILES:
            rows = sum(float(piece.sum()) for piece in self.weights)
            self.points, self.weights = [self.quantiles()], [np.full(_QUANTILES, rows / _QUANTILES)]


def column_profiles(frame: DataFrame, columns: list[Binned], day: str | None = None) -> dict[str, list[Profile]]:
    """The profile of each column, for each day or else of all rows under the key "", in one pass over the data.

    Numpy sorts and counts in the workers, several times faster than one comparison per edge in Spark. What leaves a
    worker is as much for a million rows as for ten thousand.

    It is empty where the frame has no rows.
    """
    from pyspark.sql import functions

    key = functions.lit("") if day is None else functions.coalesce(period(frame, day), functions.lit("null"))
    values = frame.select(key.alias("day"), *(column.expression().alias(str(i)) for i, column in enumerate(columns)))
    schema = "day string, column int, counts array<long>, points array<double>, weights array<double>"
    found: dict[str, list[Profile]] = {}
    parts = values.mapInArrow(partial(_profiles_of_batches, columns), schema).toPandas()
    part: Any
    for part in parts.itertuples(index=False):
        profiles = found.setdefault(part.day, [Profile.empty(column) for column in columns])
        points, weights = ([part.points], [part.weights]) if len(part.points) else ([], [])
        profiles[part.column].take(Profile(part.counts, points, weights))
    return dict(sorted(found.items()))


def _profiles_of_batches(columns: list[Binned], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: the profiles of its rows, by day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, list[Profile]] = {}
    for rows in _in_chunks(batches):
        for day in rows.column("day").unique().to_pylist():
            of_day = rows.filter(pc.equal(rows.column("day"), day))
            profiles = found.setdefault(day, [Profile.empty(column) for column in columns])
            for i, column in enumerate(columns):
                profiles[i].take(_profile(column, of_day.column(i + 1).combine_chunks()))
    for day, profiles in found.items():
        for profile in profiles:
            profile.summed_up()
        yield pa.RecordBatch.from_arrays(
            [
                pa.array([day] * len(columns)),
                pa.array(range(len(columns)), type=pa.int32()),
                pa.array([profile.counts for profile in profiles], type=pa.list_(pa.int64())),
                *(
                    pa.array(
                        [np.concatenate(pieces) if pieces else [] for pieces in several], type=pa.list_(pa.float64())
                    )
                    for several in ([one.points for one in profiles], [one.weights for one in profiles])
                ),
            ],
            names=["day", "column", "counts", "points", "weights"],
        )


def _in_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches joined: what is summed up at once is summed up well."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _CHUNK:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _profile(column: Binned, values: pa.Array) -> Profile:
    """The profile of some values: how many edges lie below each, or its category, or missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = values.null_count
    if column.kind == "categorical":
        known = pa.array(column.bins, type=values.type)
        found = pc.fill_null(pc.index_in(values.drop_null(), value_set=known), len(known))
        counts = np.bincount(found.to_numpy(zero_copy_only=False), minlength=_size(column)).astype(np.int64)
        counts[-1] = missing
        return Profile(counts, [], [])
    numbers = np.sort(values.drop_null().to_numpy(zero_copy_only=False))
    upto = np.searchsorted(numbers, np.array(column.bins), side="right")
    counts = np.diff(np.concatenate([[0], upto, [len(numbers), len(numbers) + missing]])).astype(np.int64)
    if not len(numbers):
        return Profile(counts, [], [])
    profile = Profile(counts, [numbers], [np.ones(len(numbers))])
    profile.summed_up()
    return profile


def _size(column: Binned) -> int:
    # Edges part the numbers into one bin more than there are edges, as do categories with all others; then missing.
    return len(column.bins) + 2


def period(frame: DataFrame, name: str) -> Column:
    """The day, or other period, that a row is of: a time stands for its day."""
    from pyspark.sql import functions

    column = functions.col(identifier(name))
    timed = (
        next(field for field in frame.schema.fields if field.name == name).dataType.typeName().startswith("timestamp")
    )
    return (column.cast("date") if timed else column).cast("string")


def types_of(frame: DataFrame) -> dict[str, str]:
    """The Spark type of each column."""
    return {field.name: field.dataType.simpleString() for field in frame.schema.fields}


def _without_nan(number: Column) -> Column:
    from pyspark.sql import functions

    return functions.nanvl(number, functions.lit(None).cast("double"))
