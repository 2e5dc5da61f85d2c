"""Compare new data with the baseline of a model, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from adbazureml.errors import TableError
from adbazureml.monitoring.baseline import Baseline, BaselineColumn, baseline_of, comparable, profile, types_of
from adbazureml.monitoring.bins import Profile, profiles_of
from adbazureml.monitoring.distances import (
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from adbazureml.monitoring.report import ColumnDrift, DriftReport
from adbazureml.monitoring.thresholds import Thresholds
from adbazureml.scoring.predictions import predictions_of
from adbazureml.scoring.source import select_rows, shown
from adbazureml.scoring.target import MODEL_COLUMNS
from adbazureml.uris import ModelURI, uri_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def monitor(
    table: str | DataFrame,
    *,
    baseline: ModelURI | Baseline | DataFrame,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    threshold: float | Thresholds = 0.2,
    day_column: str | None = None,
) -> DriftReport:
    """Tell how far new data has moved from the data that a model learned from, in one pass over it.

    Parameters
    ----------
    table : str or pyspark DataFrame
        The new rows, or a table of predictions.
    baseline : str, RegisteredVersion, Baseline or pyspark DataFrame
        A model, whose run holds the baseline; what `profile` returned; or the rows to compare with.
    where : str, optional
        SQL condition that the new rows must meet. Without one, and with a model as the baseline, the rows of a table of
        predictions are those that this version scored, or where it has scored none yet, those of its other versions.
    columns : sequence of str, optional
        Columns to compare. By default all of the baseline; of a DataFrame those of both frames, which must be the same.
    threshold : float or Thresholds
        Population stability index from which a column counts as drifted: by the usual rule of thumb 0.1 is a slight
        and 0.2 a marked shift. `Thresholds` sets it, or others, for each figure.
    day_column : str, optional
        Compare each day, or other period, that this column names, too.

    Returns
    -------
    DriftReport
        For each column the population stability index (Siddiqi 2006) and the Jensen-Shannon distance (Lin 1991), from
        the counts, and for numbers the Kolmogorov-Smirnov statistic and the Wasserstein distance, from 1,000 quantiles
        of each side; those of the new rows are within 0.002 of their share of rows. Without a new row it has no
        columns, and none has drifted.

    Raises
    ------
    TableError
        The baseline has no rows, there is no such table, the condition is none, or a column is on one side only or of
        another kind there, or is neither number, text nor boolean.
    TrackingError
        The model can't be found, or no baseline was logged with it.
    SettingsError
        A threshold is not above 0, or none is given.
    """
    from pyspark.sql import DataFrame

    thresholds = threshold if isinstance(threshold, Thresholds) else Thresholds(psi=threshold)
    thresholds.check()
    current, source = _rows(table, where, baseline)
    there = types_of(current)
    if day_column is not None and day_column not in there:
        raise TableError(f"day_column: {day_column!r} is not among the columns {', '.join(there)}; name one of them.")
    if isinstance(baseline, Baseline):
        before = baseline
    elif isinstance(baseline, DataFrame):
        types = types_of(baseline)
        columns = list(dict.fromkeys([*types, *there])) if columns is None else columns
        comparable({"the current data": there, "the baseline": types}, columns)
        before = profile(baseline, columns=columns)
    else:
        before = baseline_of(baseline)
    known = {column.binned.name: column for column in before.columns}
    names = list(known) if columns is None else list(columns)
    comparable({"the current data": there, "the baseline": {name: one.type for name, one in known.items()}}, names)
    compared = [known[name] for name in names]
    profiles = profiles_of(current, [column.binned for column in compared], day_column)
    if not profiles:
        return DriftReport((), thresholds, 0, sum(compared[0].counts), source=source)
    days = tuple(_report(found, compared, thresholds, day) for day, found in profiles.items() if day_column)
    whole = [Profile.empty(column.binned) for column in compared]
    for found in profiles.values():
        for total, part in zip(whole, found, strict=True):
            total.take(part)
    return replace(_report(whole, compared, thresholds, "", days), source=source)


def _rows(
    table: str | DataFrame, where: str | None, baseline: ModelURI | Baseline | DataFrame
) -> tuple[DataFrame, str]:
    """The new rows, and what to call them."""
    from pyspark.sql import DataFrame

    rows = select_rows(table, where)
    if where or isinstance(table, DataFrame) or isinstance(baseline, (Baseline, DataFrame)):
        return rows, shown(table)
    if not set(MODEL_COLUMNS) <= set(rows.columns):
        return rows, table
    own, model = predictions_of(table, model=uri_of(baseline))
    return own, f"{table}, by {model}"


def _report(
    found: Sequence[Profile],
    baseline: Sequence[BaselineColumn],
    thresholds: Thresholds,
    day: str,
    days: tuple[DriftReport, ...] = (),
) -> DriftReport:
    columns = tuple(_compared(now, before, thresholds) for now, before in zip(found, baseline, strict=True))
    return DriftReport(columns, thresholds, int(found[0].counts.sum()), sum(baseline[0].counts), day, days)


def _compared(current: Profile, baseline: BaselineColumn, thresholds: Thresholds) -> ColumnDrift:
    now, before = current.counts, np.array(baseline.counts)
    psi = population_stability_index(now, before)
    ks = moved = None
    a, b = current.quantiles(), np.array(baseline.quantiles)
    if len(a) and len(b):
        ks, moved = kolmogorov_smirnov(a, b), wasserstein(a, b)
    found = ColumnDrift(
        column=baseline.binned.name,
        kind=baseline.binned.kind,
        psi=psi,
        js_distance=jensen_shannon_distance(now, before),
        ks=ks,
        wasserstein=moved,
        missing_current=float(now[-1] / now.sum()),
        missing_baseline=float(before[-1] / before.sum()),
        drifted=False,
    )
    return replace(found, drifted=bool(thresholds.reached(asdict(found))))
