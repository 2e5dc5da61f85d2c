"""Compare new data with the baseline of a model, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from adbazureml.errors import TableError
from adbazureml.monitoring.baseline import Baseline, BaselineColumn, baseline_of, comparable, profile
from adbazureml.monitoring.column_profile import Profile, column_profiles, types_of
from adbazureml.monitoring.distances import (
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)
from adbazureml.monitoring.drift_report import ColumnDrift, DriftReport
from adbazureml.monitoring.drift_thresholds import Thresholds
from adbazureml.monitoring.histogram import Histogram
from adbazureml.monitoring.rows import Rows, as_spark
from adbazureml.monitoring.significance import LEVEL, adjusted, p_value
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.scoring.predictions_table import MODEL_COLUMNS
from adbazureml.scoring.source_table import NAME_OF_A_FRAME
from adbazureml.scoring.version_predictions import predictions_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from typing_extensions import TypeIs


def monitor(
    table: Rows,
    *,
    baseline: ModelURI | Baseline | Rows,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    threshold: float | Thresholds = 0.05,
    day_column: str | None = None,
) -> DriftReport:
    """Tell how far new data has moved from the data that a model learned from, in one pass over it.

    A column has drifted if its change is significant and large enough. Significant: in reports on rows of the same
    population, whatever their number, no column is called so 95 times of 100, see `significance.p_value`. Large enough:
    it reaches the threshold, so that a million rows don't cry for a shift that is of no concern.

    Parameters
    ----------
    table : str, pyspark DataFrame or pandas DataFrame
        The new rows, their table, or a table of predictions.
    baseline : str, RegisteredVersion, Baseline, pyspark DataFrame or pandas DataFrame
        A model, such as ``"models:/prices/3"``, whose run holds the baseline; what `profile` returned; or the rows to
        compare with, or their table.
    where : str, optional
        SQL condition that the new rows must meet. Without one, and with a model as the baseline, the rows of a table of
        predictions are those that this version scored, or where it has scored none yet, those of its other versions.
    columns : sequence of str, optional
        Columns to compare. By default all of the baseline; of rows those of both sides, which must be the same.
    threshold : float or Thresholds
        Population stability index from which a significant change counts as drift: by the usual rule of thumb 0.1 is
        a slight and 0.2 a marked shift. `Thresholds` sets it, or others, for each figure.
    day_column : str, optional
        Compare each day, or other period, that this column names, too; a time stands for its day.

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
        another kind there, or can't be looked at, such as a struct.
    TrackingError
        The model can't be found, or no baseline was logged with it.
    SettingsError
        A threshold is not above 0, or none is given.
    """
    thresholds = threshold if isinstance(threshold, Thresholds) else Thresholds(psi=threshold)
    thresholds.check()
    if not (isinstance(baseline, Baseline) or _is_rows(baseline)):
        # First, as a table of predictions is asked for this model's rows.
        model, baseline = uri_of(baseline), baseline_of(baseline)
    else:
        model = None
    current, source = _rows(table, where, model)
    there = types_of(current)
    if day_column is not None and day_column not in there:
        raise TableError(f"day_column: {day_column!r} is not among the columns {', '.join(there)}; name one of them.")
    if isinstance(baseline, Baseline):
        before = baseline
    else:
        rows = as_spark(baseline)
        types = types_of(rows)
        columns = list(dict.fromkeys([*types, *there])) if columns is None else columns
        comparable({"the current data": there, "the baseline": types}, columns)
        before = profile(rows, columns=columns)
    known = {column.binned.name: column.type for column in before.columns}
    names = list(known) if columns is None else list(columns)
    comparable({"the current data": there, "the baseline": known}, names)
    compared = [column for name in names for column in before.columns if column.binned.name == name]
    profiles = column_profiles(current, [column.binned for column in compared], day_column)
    if not profiles:
        return DriftReport((), thresholds, 0, sum(compared[0].counts), source=source)
    whole = [Profile.empty(column.binned) for column in compared]
    for found in profiles.values():
        for total, part in zip(whole, found, strict=True):
            total.take(part)
    (report,) = _reports({"": whole}, compared, thresholds)
    days = _reports(profiles, compared, thresholds) if day_column else []
    histograms = tuple(
        Histogram(column.binned, tuple(total.counts.tolist()), column.counts)
        for column, total in zip(compared, whole, strict=True)
    )
    return replace(report, days=tuple(days), source=source, histograms=histograms)


def _is_rows(baseline: ModelURI | Baseline | Rows) -> TypeIs[Rows]:
    """Whether these are rows, or the name of a table, which has no ``:/`` as the URI of a model has."""
    import pandas as pd
    from pyspark.sql import DataFrame

    return ":/" not in baseline if isinstance(baseline, str) else isinstance(baseline, DataFrame | pd.DataFrame)


def _rows(table: Rows, where: str | None, model: str | None) -> tuple[DataFrame, str]:
    """The new rows, and what to call them."""
    rows = as_spark(table, where)
    if not isinstance(table, str):
        return rows, NAME_OF_A_FRAME
    if where or model is None or not set(MODEL_COLUMNS) <= set(rows.columns):
        return rows, table
    own, found = predictions_of(table, model=model)
    return own, f"{table}, by {found}"


def _reports(
    profiles: Mapping[str, Sequence[Profile]], baseline: Sequence[BaselineColumn], thresholds: Thresholds
) -> list[DriftReport]:
    """A report for each day; all their columns are tested together."""
    found = [
        [_compared(now, before) for now, before in zip(of_day, baseline, strict=True)] for of_day in profiles.values()
    ]
    chances = iter(adjusted([column.p_value for columns in found for column in columns]).tolist())
    reports = []
    for day, columns in zip(profiles, found, strict=True):
        judged = tuple(_judged(column, next(chances), thresholds) for column in columns)
        rows = int(profiles[day][0].counts.sum())
        reports.append(DriftReport(judged, thresholds, rows, sum(baseline[0].counts), day))
    return reports


def _judged(column: ColumnDrift, p_adjusted: float, thresholds: Thresholds) -> ColumnDrift:
    drifted = p_adjusted <= LEVEL and bool(thresholds.exceeded(asdict(column)))
    return replace(column, p_adjusted=p_adjusted, drifted=drifted)


def _compared(current: Profile, baseline: BaselineColumn) -> ColumnDrift:
    now, before = current.counts, np.array(baseline.counts)
    ks = moved = None
    a, b = current.quantiles(), np.array(baseline.quantiles)
    if len(a) and len(b):
        ks, moved = kolmogorov_smirnov(a, b), wasserstein(a, b)
    chance = p_value(baseline.binned, now, before)
    return ColumnDrift(
        column=baseline.binned.label,
        kind=baseline.binned.kind,
        psi=population_stability_index(now, before),
        js_distance=jensen_shannon_distance(now, before),
        ks=ks,
        wasserstein=moved,
        missing_current=float(now[-1] / now.sum()),
        missing_baseline=float(before[-1] / before.sum()),
        p_value=chance,
        p_adjusted=chance,
        drifted=False,
    )
