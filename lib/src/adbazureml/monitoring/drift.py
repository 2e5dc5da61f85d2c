"""Compare two Spark frames column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbazureml.errors import SettingsError, TableError
from adbazureml.monitoring.bins import Binned, Kind, frequent_categories, quantiles_of, rows_in_bins
from adbazureml.monitoring.distances import (
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from adbazureml.monitoring.report import ColumnDrift, DriftReport

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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
    quantiles_baseline, edges = quantiles_of(baseline, numeric, bins)
    quantiles_current, _ = quantiles_of(current, numeric, bins)
    categories = frequent_categories(baseline, [name for name, kind in kinds.items() if kind == "categorical"])
    binned = [Binned(name, kind, (edges | categories)[name]) for name, kind in kinds.items()]
    counts_current = rows_in_bins(current, binned, "the current data")
    counts_baseline = rows_in_bins(baseline, binned, "the baseline")
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
