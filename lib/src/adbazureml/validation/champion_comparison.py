"""Compare a new version with the one in use, on the same rows, before it takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adbazureml.errors import RegistryError
from adbazureml.registry import CHAMPION
from adbazureml.registry.model_uri import ModelURI, uri_of
from adbazureml.registry.promotion import alias_holder
from adbazureml.validation import model_checks
from adbazureml.validation.answers import Answers, ask, load
from adbazureml.validation.limits import limit_checks
from adbazureml.validation.metrics import (
    CONFIDENCE,
    LOSS,
    Loss,
    Metric,
    Task,
    interval_of,
    metrics_of,
    name_of,
    row_losses,
)
from adbazureml.validation.rows import Rows, rows_to_compare
from adbazureml.validation.rules import MetricLimits
from adbazureml.validation.verdict import AGAINST, ALL_ROWS, Check, Comparison, Mode, Verdict, curve_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

# Of fewer rows, resampling says too little.
_FEWEST_OF_A_SLICE = 30


@dataclass(frozen=True)
class _Side:
    """A version, and what came of asking it."""

    uri: str
    model: PyFuncModel | None
    answers: Answers | None
    # Why there are no answers.
    problem: str


def validate(
    version: ModelURI,
    *,
    data: str | DataFrame | pd.DataFrame,
    label: str,
    where: str | None = None,
    task: Task = "regression",
    against: str = CHAMPION,
    tolerance: float = 0.02,
    thresholds: Mapping[str, MetricLimits] | None = None,
    slices: Sequence[str] = (),
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
    description: bool = False,
    tags: Sequence[str] = (),
    size_mb: float | None = None,
    latency_ms: float | None = None,
    environment: bool = False,
    mode: Mode = "enabled",
) -> Verdict:
    """Compare a version with the one that has an alias, on the same rows, and say whether it may take its place.

    It may unless it is worse beyond doubt and by more than is tolerated: the 95 % interval of the difference in loss,
    over resampled rows, lies above 0, and the difference is above `tolerance` times the champion's loss. Chance neither
    blocks nor is taken for progress. The same holds of each slice. It must load and answer each row and its input
    example, its signature must take what the champion's callers send, and its metrics must keep to `thresholds`. A
    version that does not is judged so; no error of its own is raised. A champion that can't be asked (its libraries are
    not here, it fails on the rows) leaves nothing to compare with, and stays.

    Parameters
    ----------
    version : str or RegisteredVersion
        The new version.
    data : str, pyspark DataFrame or pandas.DataFrame
        Rows that neither model learned from, with their label. Of a table or a Spark frame at most 100,000, drawn at
        random, are brought to the driver, each column as the model's signature names it; the interval says what these
        leave open. Rows without a label are left out.
    label : str
        Name of the label column.
    where : str, optional
        SQL condition that the rows of a table or a Spark frame must meet.
    task : "regression" or "classification"
    against : str
        Alias of the version in use. Where no version has it, the thresholds and checks alone decide.
    tolerance : float
        By what share of the champion's loss the new one's may be larger; 0.02 is 2 %.
    thresholds : mapping of str to Threshold or mlflow.models.MetricThreshold, optional
        Limits of the metrics, such as ``{"r2_score": Threshold(threshold=0.3, worse_by=0.1)}``. Those beside the
        champion's metric compare the figures as they are, without an interval.
    slices : sequence of str
        Columns of up to 50 values. Each value's rows, from 30 on, are compared by themselves: a version that is better
        on the whole is still blocked by one where it is worse. The more slices, the wider their intervals (Bonferroni),
        so that all of them together are wrong one time in 20.
    loss : callable, optional
        Of the labels and the answers, two arrays of a value per row: the loss of each row, such as the cost of an
        error. Default: the absolute error, or 1 for a wrong class.
    metrics : mapping of str to callable, optional
        Metrics of your own, each of the labels and the answers; `thresholds` may name them.
    description : bool
        Whether the version needs a description.
    tags : sequence of str
        Tags that the version needs.
    size_mb, latency_ms : float, optional
        The most megabytes of the model's files, and milliseconds for one row on this machine.
    environment : bool
        Whether one row is to be answered in a new environment of the version's own requirements, as a server makes it.
        It takes uv and a minute or more.
    mode : "enabled", "dry_run" or "disabled"
        In a dry run nothing is blocked, whatever the verdict says; disabled, nothing is looked at.

    Returns
    -------
    Verdict

    Raises
    ------
    TableError
        A column is not in `data`, no row has a label, all rows are of one class, or a slice has too many values.
    RegistryError
        There is no such version, a threshold is of no metric of the task, or a function of yours fails.
    """
    uri = uri_of(version)
    registered = _registered(uri)
    champion = _champion(registered, against)
    loss_name = name_of(loss) if loss else LOSS[task]
    if mode == "disabled":
        return Verdict(challenger=uri, champion=champion, loss=loss_name, mode=mode)
    rows = rows_to_compare(
        data, where=where, label=label, slices=slices, task=task, models=[uri, champion] if champion else [uri]
    )
    ours = _ask(uri, rows.of_models[0], task)
    theirs = _ask(champion, rows.of_models[1], task) if champion else None
    checks = [_answered(ours, theirs)]
    if ours.model:
        other = theirs.model.metadata if theirs and theirs.model else None
        checks.append(model_checks.signature_check(ours.model.metadata, other))
        checks.append(model_checks.example_check(ours.model))
    if description:
        checks.append(model_checks.description_check(registered))
    if tags:
        checks.append(model_checks.tags_check(registered, tags))
    if ours.model and size_mb is not None:
        checks.append(model_checks.size_check(ours.model.metadata, size_mb))
    if ours.model and ours.answers and latency_ms is not None:
        checks.append(model_checks.latency_check(ours.model, rows.of_models[0], uri, latency_ms))
    if ours.model and environment:
        checks.append(model_checks.environment_check(ours.model, rows.of_models[0], uri))
    compared: tuple[Comparison, ...] = ()
    our_metrics: dict[str, float] = {}
    their_metrics: dict[str, float] = {}
    if ours.answers:
        our_losses = row_losses(rows.labels, ours.answers.values, task, loss)
        our_metrics = metrics_of(rows.labels, ours.answers, task, metrics)
        their_losses = None
        if theirs and theirs.answers:
            their_losses = row_losses(rows.labels, theirs.answers.values, task, loss)
            their_metrics = metrics_of(rows.labels, theirs.answers, task, metrics)
        compared = tuple(_compared(rows, our_losses, their_losses))
        checks += [
            Check(
                AGAINST if one.part == ALL_ROWS else one.part,
                not one.worse(tolerance),
                _said(one, loss_name, tolerance),
            )
            for one in compared
            if one.difference
        ]
        checks += limit_checks(our_metrics, their_metrics, thresholds or {})
    answers = {"new version": ours.answers, "champion": theirs.answers if theirs else None}
    return Verdict(
        challenger=uri,
        champion=champion,
        loss=loss_name,
        mode=mode,
        rows=len(rows.labels),
        population=rows.population,
        comparisons=compared,
        metrics={name: (value, their_metrics.get(name)) for name, value in our_metrics.items()},
        checks=tuple(checks),
        curves=tuple(curve_of(rows.labels, given, task, of=of) for of, given in answers.items() if given),
    )


def _registered(uri: str) -> ModelVersion:
    """The version as the registry has it that MLflow asks."""
    import mlflow
    from mlflow.exceptions import MlflowException

    name, _, number = uri.removeprefix("models:/").rpartition("/")
    try:
        return mlflow.MlflowClient().get_model_version(name, number)
    except MlflowException as error:
        raise RegistryError(f"version {uri!r}: there is no such registered version ({error.message}).") from error


def _champion(version: ModelVersion, alias: str) -> str | None:
    """URI of the version that has the alias in the registry that MLflow asks; None without one."""
    import mlflow

    holder = alias_holder(mlflow.MlflowClient(), version.name, alias)
    return None if holder in (None, str(version.version)) else f"models:/{version.name}/{holder}"


def _ask(uri: str, rows: pd.DataFrame, task: Task) -> _Side:
    model, problem = load(uri)
    answers = None
    if model:
        answers, problem = ask(model, rows, task, uri)
    return _Side(uri, model, answers, problem)


def _answered(ours: _Side, theirs: _Side | None) -> Check:
    if ours.problem:
        return Check("answers", False, f"{ours.uri} {ours.problem}")
    if theirs and theirs.problem:
        said = "so nothing was compared: install what it needs, or promote by hand"
        return Check("answers", False, f"the champion {theirs.uri} {theirs.problem}, {said}")
    return Check("answers", True, "each row was answered")


def _compared(rows: Rows, ours: NDArray[np.float64], theirs: NDArray[np.float64] | None) -> Iterator[Comparison]:
    yield _comparison(ALL_ROWS, ours, theirs, CONFIDENCE)
    parts: list[tuple[str, NDArray[np.intp]]] = []
    for column in rows.slices.columns:
        for value, indices in rows.slices.groupby(column, dropna=False).indices.items():
            if len(indices) >= _FEWEST_OF_A_SLICE:
                parts.append((f"{column} = {value}", np.asarray(indices)))
    for part, indices in parts:
        other = None if theirs is None else theirs[indices]
        yield _comparison(part, ours[indices], other, 1 - (1 - CONFIDENCE) / len(parts))


def _comparison(
    part: str, ours: NDArray[np.float64], theirs: NDArray[np.float64] | None, confidence: float
) -> Comparison:
    return Comparison(
        part=part,
        rows=len(ours),
        confidence=100 * confidence,
        losses=(float(ours.mean()), None if theirs is None else float(theirs.mean())),
        difference=None if theirs is None else interval_of(ours - theirs, confidence),
    )


def _said(one: Comparison, loss: str, tolerance: float) -> str:
    assert one.difference is not None
    low, high = one.difference
    how = "better" if high < 0 else "worse" if low > 0 else "no different beyond chance"
    beyond = f", by more than {tolerance:.0%}" if one.worse(tolerance) else ""
    where = "" if one.part == ALL_ROWS else f" where {one.part}"
    figures = f"{loss} {one.losses[0]:.4g} against {one.losses[1]:.4g}{where}"
    return f"{figures}, {how} ({one.confidence:.3g} %: {low:+.3g} to {high:+.3g}){beyond}"
