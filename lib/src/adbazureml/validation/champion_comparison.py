"""Compare a new version with the one in use, on the same rows, before it takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adbazureml.errors import RegistryError, TableError, ValidationFailedError
from adbazureml.registry import CHAMPION
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.registry.promotion import alias_holder
from adbazureml.scoring.request_rows import rows_of_models
from adbazureml.validation.verdict import Check, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import MetricThreshold
    from mlflow.pyfunc import PyFuncModel
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

Task = Literal["regression", "classification"]

_LOSS: Mapping[Task, str] = {"regression": "mean absolute error", "classification": "share of wrong answers"}
_MOST_ROWS = 100_000
_CONFIDENCE = 0.95
_RESAMPLES = 1_999
# Resampled rows are held in memory for so many cells at once.
_CELLS = 5_000_000
_SEED = 0


def validate(
    version: ModelURI,
    *,
    data: str | DataFrame | pd.DataFrame,
    label: str,
    where: str | None = None,
    task: Task = "regression",
    against: str = CHAMPION,
    tolerance: float = 0.02,
    thresholds: Mapping[str, MetricThreshold] | None = None,
) -> Verdict:
    """Compare a version with the one that has an alias, on the same rows, and say whether it may take its place.

    It may unless it is worse beyond doubt and by more than is tolerated: the 95 % interval of the difference in loss,
    over resampled rows, lies above 0, and the difference is above `tolerance` times the champion's loss. Chance neither
    blocks nor is taken for progress. Its signature must take what the champion's callers send, its input example must
    be answered, and its metrics must keep to `thresholds`.

    Parameters
    ----------
    version : str or RegisteredVersion
        The new version.
    data : str, pyspark DataFrame or pandas.DataFrame
        Rows that neither model learned from, with their label. Of a table or a Spark frame at most 100,000 are brought
        to the driver, each column as the model's signature names it. Rows without a label are left out.
    label : str
        Name of the label column.
    where : str, optional
        SQL condition that the rows of a table or a Spark frame must meet.
    task : "regression" or "classification"
    against : str
        Alias of the version in use. Where no version has it, the thresholds and checks alone decide.
    tolerance : float
        By what share of the champion's loss the new one's may be larger; 0.02 is 2 %.
    thresholds : mapping of str to mlflow.models.MetricThreshold, optional
        Limits of the metrics, such as ``{"r2_score": MetricThreshold(0.3, greater_is_better=True)}``.

    Returns
    -------
    Verdict

    Raises
    ------
    TableError
        The label or a column that a model needs is not in `data`, or no row has a label.
    RegistryError
        There is no such version, its files can't be loaded, or a threshold is of no metric of the task.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993), An Introduction to the Bootstrap, Chapman and Hall, chapter 13: the percentile
    interval, here of paired rows.
    """
    uri = uri_of(version)
    champion = _champion(uri, against)
    labels, rows = _rows(data, where, label, [uri, champion] if champion else [uri])
    challenger = _load(uri)
    answers = _predict(challenger, rows[0], uri)
    losses = _losses(answers, labels, task)
    ours = _metrics(labels, answers, task)
    checks = [_example_is_answered(challenger, uri)]
    theirs: Mapping[str, float] = {}
    before, interval = None, None
    if champion:
        other = _load(champion)
        their_answers = _predict(other, rows[1], champion)
        theirs = _metrics(labels, their_answers, task)
        their_losses = _losses(their_answers, labels, task)
        before, interval = float(their_losses.mean()), _interval(losses - their_losses)
        checks.append(_takes_the_same(challenger, other))
        checks.append(_no_worse(float(losses.mean()), before, interval, tolerance, task))
    checks += _within(ours, thresholds or {}, task)
    return Verdict(
        challenger=uri,
        champion=champion,
        rows=len(labels),
        loss=_LOSS[task],
        losses=(float(losses.mean()), before),
        difference=interval,
        metrics={name: (value, theirs.get(name)) for name, value in ours.items()},
        checks=tuple(checks),
    )


def _rows(
    data: str | DataFrame | pd.DataFrame, where: str | None, label: str, uris: Sequence[str]
) -> tuple[pd.Series[Any], list[pd.DataFrame]]:
    """The labels, and the rows as each model takes them."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        if where:
            raise TableError("where: of a pandas frame choose the rows yourself; it is for tables and Spark frames.")
        if label not in data.columns:
            raise TableError(f"label {label!r}: data has no such column; it has {', '.join(map(str, data.columns))}.")
        labels, rows = data[label], [data] * len(uris)
    else:
        labels, rows = rows_of_models(data, models=uris, also=label, where=where, rows=_MOST_ROWS)
    labelled = labels.notna()
    if not labelled.any():
        raise TableError(f"label {label!r}: no row of data has one; give rows with what was to be predicted.")
    return labels[labelled].reset_index(drop=True), [one[labelled].reset_index(drop=True) for one in rows]


def _champion(uri: str, alias: str) -> str | None:
    """URI of the version that has the alias in the registry that MLflow asks; None without one."""
    import mlflow

    name, _, number = uri.removeprefix("models:/").rpartition("/")
    holder = alias_holder(mlflow.MlflowClient(), name, alias)
    return None if holder in (None, number) else f"models:/{name}/{holder}"


def _load(uri: str) -> PyFuncModel:
    import mlflow

    try:
        return mlflow.pyfunc.load_model(uri)
    except Exception as error:
        # A model's own loading may raise anything.
        raise RegistryError(f"{uri!r} can't be loaded: {error}") from error


def _predict(model: PyFuncModel, rows: pd.DataFrame, uri: str) -> NDArray[Any]:
    schema = model.metadata.get_input_schema()
    wanted = list(rows.columns) if schema is None or not schema.has_input_names() else schema.input_names()
    required = set(wanted) if schema is None else set(schema.required_input_names() or wanted)
    lacking = [name for name in wanted if name in required and name not in rows.columns]
    if lacking:
        raise TableError(f"data lacks {', '.join(map(repr, lacking))}, which {uri!r} takes.")
    try:
        answers = model.predict(rows[[name for name in wanted if name in rows.columns]])
    except Exception as error:
        raise ValidationFailedError(f"{uri!r} fails on the rows: {error}") from error
    found = np.asarray(answers)
    return found.reshape(len(rows), -1)[:, 0]


def _losses(answers: NDArray[Any], labels: pd.Series[Any], task: Task) -> NDArray[np.float64]:
    """Loss of each row: the absolute error, or whether the answer is wrong."""
    truth = labels.to_numpy()
    if task == "classification":
        return np.asarray(answers.astype(str) != truth.astype(str), dtype=np.float64)
    return np.abs(answers.astype(np.float64) - truth.astype(np.float64))


def _metrics(labels: pd.Series[Any], answers: NDArray[Any], task: Task) -> dict[str, float]:
    """Metrics by the names that MLflow's evaluation, which would start runs of its own, has for them."""
    from sklearn import metrics

    truth = labels.to_numpy()
    if task == "regression":
        truth, answers = truth.astype(np.float64), answers.astype(np.float64)
        found = {
            "mean_absolute_error": metrics.mean_absolute_error(truth, answers),
            "root_mean_squared_error": metrics.root_mean_squared_error(truth, answers),
            "r2_score": metrics.r2_score(truth, answers),
        }
    else:
        truth, answers = truth.astype(str), answers.astype(str)
        # Of several classes the mean, each by its share of the rows.
        means = {"average": "weighted", "zero_division": 0.0}
        found = {
            "accuracy_score": metrics.accuracy_score(truth, answers),
            "f1_score": metrics.f1_score(truth, answers, **means),
            "precision_score": metrics.precision_score(truth, answers, **means),
            "recall_score": metrics.recall_score(truth, answers, **means),
        }
    return {name: float(value) for name, value in found.items()}


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean difference, over resampled rows."""
    from scipy.stats import bootstrap

    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _CELLS // len(differences)),
        confidence_level=_CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _no_worse(ours: float, theirs: float, interval: tuple[float, float], tolerance: float, task: Task) -> Check:
    low, high = interval
    worse = low > 0 and ours - theirs > tolerance * theirs
    how = "better" if high < 0 else "worse" if low > 0 else "no different beyond chance"
    said = f"{_LOSS[task]} {ours:.4g} against {theirs:.4g}, {how} (95 %: {low:+.3g} to {high:+.3g})"
    return Check("against the champion", not worse, f"{said}{f', by more than {tolerance:.0%}' if worse else ''}")


def _within(metrics: Mapping[str, float], thresholds: Mapping[str, MetricThreshold], task: Task) -> list[Check]:
    checks = []
    for name, threshold in thresholds.items():
        if name not in metrics:
            raise RegistryError(f"thresholds: {name!r} is no metric of a {task}; there are {', '.join(metrics)}.")
        more, limit, value = threshold.greater_is_better, threshold.threshold, metrics[name]
        # Not a number is within no limit.
        passed = value >= limit if more else value <= limit
        checks.append(
            Check(name, passed, f"{name} {value:.4g}, {'at least' if more else 'at most'} {limit:.4g} wanted")
        )
    return checks


def _takes_the_same(challenger: PyFuncModel, champion: PyFuncModel) -> Check:
    """Whether callers of the champion may go on calling as they do."""
    schemas = [model.metadata.get_input_schema() for model in (champion, challenger)]
    if any(schema is None or not schema.has_input_names() for schema in schemas):
        return Check("signature", True, "one of them names no inputs")
    before, now = ({one.name: one for one in schema.inputs} for schema in schemas)
    problems = [f"input {name!r} is gone" for name in before if name not in now]
    problems += [
        f"input {name!r} is {now[name].type}, not {one.type}"
        for name, one in before.items()
        if name in now and now[name].type != one.type
    ]
    problems += [
        f"input {name!r} is new and required" for name, one in now.items() if name not in before and one.required
    ]
    return Check("signature", not problems, "; ".join(problems) or "takes what the champion takes")


def _example_is_answered(model: PyFuncModel, uri: str) -> Check:
    try:
        example = model.input_example
        if example is None:
            return Check("input example", True, "none was logged")
        model.predict(example)
    except Exception as error:
        # The model's own code may raise anything.
        return Check("input example", False, f"{uri} fails on its own input example: {error}")
    return Check("input example", True, "answered")
