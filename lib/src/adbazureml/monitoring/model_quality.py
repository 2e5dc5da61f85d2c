"""How good predictions are once their labels are known, by day and version, against the values at training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adbazureml.errors import SettingsError, TableError, TrackingError
from adbazureml.monitoring.baseline import run_id_of
from adbazureml.monitoring.labelled_rows import (
    Task,
    by_slice,
    by_version_and_day,
    kept,
    labelled,
    losses,
    task_of,
)
from adbazureml.monitoring.quality_report import DayQuality, QualityReport, VersionQuality
from adbazureml.monitoring.rows import Rows, as_spark
from adbazureml.monitoring.sequential_test import Losses, risen_since
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.scoring.scoring_model import find_model
from adbazureml.scoring.source_table import find_columns
from adbazureml.text import identifier

_FILE = "quality_baseline.json"
_MOST_VALUES = 50


@dataclass(frozen=True, kw_only=True)
class QualityBaseline:
    """How good a model was at training, on rows that it did not learn from.

    Attributes
    ----------
    task : "regression" or "classification"
    losses : Losses
        Absolute errors, or for classes 1 for each wrong answer.
    """

    task: Task
    losses: Losses

    def log(self) -> None:
        """Keep it with the active MLflow run, where `quality` finds it by the model."""
        import mlflow

        mlflow.log_text(json.dumps(asdict(self)), _FILE)


def quality_baseline(
    rows: Rows, *, label: str, target_column: str = "prediction", task: Task | None = None
) -> QualityBaseline:
    """Take the quality at training, with which `quality` compares.

    Parameters
    ----------
    rows : str, pyspark DataFrame or pandas DataFrame
        Rows, or their table, that the model did not learn from, with their label and the model's prediction.
    label, target_column : str
        The columns of both.
    task : "regression" or "classification", optional
        By default classification where one of them is text or boolean.

    Raises
    ------
    TableError
        There is no such table or column, or fewer than two rows with both.
    """
    frame = as_spark(rows)
    names = find_columns(frame, [label, target_column], asked_by="label and target_column")
    frame = frame.select(*map(identifier, names)).dropna()
    task = task or task_of(frame, *names)
    (found,) = losses(frame, task, label=names[0], prediction=names[1])
    if found["rows"] < 2:
        raise TableError(f"rows: {found['rows']} have {label!r} and {target_column!r}; give two or more.")
    return QualityBaseline(task=task, losses=_losses(found))


def quality(
    predictions: Rows,
    *,
    labels: Rows,
    on: Sequence[str],
    label: str | None = None,
    target_column: str = "prediction",
    baseline: ModelURI | QualityBaseline | None = None,
    into: str | None = None,
    slices: Sequence[str] = (),
    day_column: str | None = None,
    task: Task | None = None,
    tolerance: float = 0.02,
) -> QualityReport:
    """Tell how good predictions are, as far as their labels have come.

    Ask as often as you like, after each day or each label: on rows like those at training, a fall of quality is told of
    with a probability of at most 5 %, over all days and calls together, see `sequential_test.risen_since`.

    Parameters
    ----------
    predictions : str, pyspark DataFrame or pandas DataFrame
        Predictions, or the table that `score` wrote; of several versions, each is looked at by itself.
    labels : str, pyspark DataFrame or pandas DataFrame
        The labels that have come so far.
    on : sequence of str
        Columns of both that tell rows apart.
    label : str, optional
        Its column of `labels`; by default the only one beside those of `on`.
    target_column : str
        The column of predictions.
    baseline : str, RegisteredVersion or QualityBaseline, optional
        A model whose run holds what `quality_baseline(…).log()` kept, which its predictions are compared with; or what
        `quality_baseline` returned, for all of them. Without one, no fall of quality can be told.
    into : str, optional
        Delta table that keeps each prediction with its label, so that later calls join only what is new, each row once;
        made where there is none.
    slices : sequence of str, optional
        Columns of predictions whose values are looked at apart, at most 50 of each.
    day_column : str, optional
        Column of predictions with the day, or other period, of a row; by default ``scored_at``, where it is there.
    task : "regression" or "classification", optional
        By default that of the baseline, or else classification where label or prediction is text or boolean.
    tolerance : float
        By what share of the loss at training a later one may be larger.

    Returns
    -------
    QualityReport
        For each version, and each of its days, the mean absolute error and the root mean squared error, or the
        accuracy, with 95 % intervals.

    Raises
    ------
    TableError
        A table or column is not there, some rows have two labels, or a slice has more than 50 values.
    TrackingError
        The model can't be found, or its run holds no quality at training.
    SettingsError
        `tolerance` is below 0.
    """
    if not tolerance >= 0:
        raise SettingsError(f"tolerance: {tolerance!r} is wrong; expected 0 or more, such as 0.02.")
    known = baseline if baseline is None or isinstance(baseline, QualityBaseline) else _baseline_of(baseline)
    of_version = None
    if baseline is not None and not isinstance(baseline, QualityBaseline):
        of_version = find_model(uri_of(baseline)).uri.removeprefix("models:/")
    rows = labelled(
        predictions, labels, on=on, label=label, target_column=target_column, slices=slices, day_column=day_column
    )
    if into:
        rows = kept(rows, into)
    task = task or (known.task if known else task_of(rows))
    found = by_version_and_day(rows, task)
    parts = [(name, row) for number, name in enumerate(slices) for row in sorted(by_slice(rows, task, number), key=str)]
    for name in slices:
        if (values := len({row[1] for one, row in parts if one == name})) > _MOST_VALUES:
            raise TableError(f"slices {name!r}: it has {values:,} values, and {_MOST_VALUES} is the most.")
    versions = []
    for version in sorted({row[0] for row in found}):
        training = known.losses if known and of_version in (None, version) else None
        days = [_day(row, row[1]) for row in sorted(found, key=lambda row: str(row[1])) if row[0] == version]
        since = None
        if training is not None:
            compared = _shrunken(training, task)
            since = risen_since([day.losses for day in days], compared, tolerance=tolerance)
        versions.append(
            VersionQuality(
                version=version,
                days=tuple(days),
                slices=tuple(_day(row, f"{name} = {row[1]}") for name, row in parts if row[0] == version),
                training=training,
                fallen_since=None if since is None else days[since].part,
            )
        )
    return QualityReport(task=task, versions=tuple(versions))


def _day(row: Sequence[float], part: str) -> DayQuality:
    _, _, count, total, squares, fourths = row
    return DayQuality(part=part, losses=Losses(int(count), total, squares), fourths=fourths)


def _losses(row: Sequence[float]) -> Losses:
    count, total, squares, _ = row
    return Losses(int(count), total or 0.0, squares or 0.0)


def _shrunken(training: Losses, task: Task) -> Losses:
    """Of classes with two right and two wrong answers more, as few errors, or none, would seem too sure.

    Agresti, A. and Coull, B. A. (1998), Approximate is better than "exact" for interval estimation of binomial
    proportions, The American Statistician 52(2).
    """
    return training + Losses(4, 2.0, 2.0) if task == "classification" else training


def _baseline_of(model: ModelURI) -> QualityBaseline:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    run_id = run_id_of(model)
    try:
        with TemporaryDirectory() as folder:
            found = json.loads(Path(MlflowClient().download_artifacts(run_id, _FILE, folder)).read_text())
        return QualityBaseline(task=found["task"], losses=Losses(**found["losses"]))
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"baseline: the run {run_id!r} of the model {uri_of(model)!r} holds no {_FILE} that can be read. Make one "
            f"of held-out rows: with mlflow.start_run(run_id={run_id!r}): quality_baseline(rows, label=…).log()."
        ) from error
