"""Losses and metrics of answers, and how much of a difference may be chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from adbazureml.errors import RegistryError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from adbazureml.validation.answers import Answers

Task = Literal["regression", "classification"]
# Of labels and answers: a loss for each row, or one figure for all rows.
Loss: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]"
Metric: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], float]"

LOSS: Mapping[Task, str] = {"regression": "mean absolute error", "classification": "share of wrong answers"}
CONFIDENCE = 0.95
_RESAMPLES = 1_999
# Resampled rows are held in memory for so many cells at once.
_CELLS = 5_000_000
_SEED = 0
_LESS_IS_BETTER = {"mean_absolute_error", "root_mean_squared_error", "log_loss"}
_MORE_IS_BETTER = {"r2_score", "accuracy_score", "f1_score", "precision_score", "recall_score", "roc_auc"}
# A probability of 0 for what then happens is no infinite loss, as in scikit-learn.
_LEAST = np.finfo(np.float64).eps


def greater_is_better(metric: str) -> bool | None:
    """Whether more of a metric is better; None for one that is not known here."""
    return True if metric in _MORE_IS_BETTER else False if metric in _LESS_IS_BETTER else None


def as_text(values: Any) -> NDArray[np.str_]:
    """Write classes so that equal ones are equal, however a table and a model spell them: 1, 1.0, "1" and True.

    >>> as_text([1.0, 0.0]).tolist(), as_text(["b", True]).tolist()
    (['1', '0'], ['b', '1'])
    """
    import pandas as pd

    return np.asarray([_text(value) for value in pd.Series(values).tolist()], dtype=np.str_)


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def row_losses(labels: pd.Series[Any], answers: NDArray[Any], task: Task, loss: Loss | None) -> NDArray[np.float64]:
    """Loss of each row: the absolute error, whether the answer is wrong, or what a function of the caller's says.

    Raises
    ------
    RegistryError
        The function raises, or gives no number for each row.
    """
    if loss is not None:
        return _own_losses(labels.to_numpy(), answers, loss)
    if task == "classification":
        return np.asarray(as_text(answers) != as_text(labels), dtype=np.float64)
    errors: NDArray[np.float64] = np.abs(answers.astype(np.float64) - labels.to_numpy().astype(np.float64))
    return errors


def _own_losses(labels: NDArray[Any], answers: NDArray[Any], loss: Loss) -> NDArray[np.float64]:
    name = name_of(loss)
    try:
        found = np.asarray(loss(labels, answers), dtype=np.float64)
    except Exception as error:
        # The caller's own code may raise anything.
        raise RegistryError(f"loss {name!r} fails on labels and answers: {type(error).__name__}: {error}") from error
    if found.shape != labels.shape or not np.isfinite(found).all():
        seen = f"an array of shape {found.shape}" if found.shape != labels.shape else "something that is no number"
        raise RegistryError(f"loss {name!r}: it gave {seen}; a number for each of {len(labels):,} rows is expected.")
    return found


def name_of(function: Any) -> str:
    """The name that a function of the caller's goes by."""
    return str(getattr(function, "__name__", type(function).__name__))


def metrics_of(
    labels: pd.Series[Any], answers: Answers, task: Task, own: Mapping[str, Metric] | None = None
) -> dict[str, float]:
    """Metrics by the names that MLflow's evaluation, which would start runs of its own, has for them.

    Parameters
    ----------
    labels : pandas.Series
        What was to be answered.
    answers : Answers
        Where they hold probabilities, the logarithmic loss and the area under the ROC curve are among the metrics.
    task : "regression" or "classification"
    own : mapping of str to callable, optional
        Metrics of the caller's.

    Raises
    ------
    RegistryError
        One of the caller's raises.
    """
    from sklearn import metrics

    if task == "regression":
        numbers, given = labels.to_numpy().astype(np.float64), answers.values.astype(np.float64)
        found = {
            "mean_absolute_error": metrics.mean_absolute_error(numbers, given),
            "root_mean_squared_error": metrics.root_mean_squared_error(numbers, given),
            "r2_score": metrics.r2_score(numbers, given),
        }
    else:
        truth, classes = as_text(labels), as_text(answers.values)
        # Of several classes the mean, each by its share of the rows.
        means = {"average": "weighted", "zero_division": 0.0}
        found = {
            "accuracy_score": metrics.accuracy_score(truth, classes),
            "f1_score": metrics.f1_score(truth, classes, **means),
            "precision_score": metrics.precision_score(truth, classes, **means),
            "recall_score": metrics.recall_score(truth, classes, **means),
        }
        if answers.probabilities is not None:
            found |= _of_probabilities(truth, answers.probabilities, as_text(answers.classes))
    for name, metric in (own or {}).items():
        try:
            found[name] = metric(labels.to_numpy(), answers.values)
        except Exception as error:
            # The caller's own code may raise anything.
            raise RegistryError(
                f"metric {name!r} fails on labels and answers: {type(error).__name__}: {error}"
            ) from error
    return {name: float(value) for name, value in found.items()}


def _of_probabilities(
    truth: NDArray[np.str_], probabilities: NDArray[np.float64], classes: NDArray[np.str_]
) -> dict[str, float]:
    """Logarithmic loss, and the area under the ROC curve of each class against the rest, by its share of the rows.

    Of two classes that is the area itself. A class that the model never learned has the probability 0.
    """
    from sklearn.metrics import roc_auc_score

    column_of = {name: probabilities[:, i] for i, name in enumerate(classes.tolist())}
    nothing = np.zeros(len(truth))
    given, areas = nothing.copy(), 0.0
    there, counts = np.unique(truth, return_counts=True)
    for name, count in zip(there.tolist(), counts.tolist(), strict=True):
        column, is_it = column_of.get(name, nothing), truth == name
        given[is_it] = column[is_it]
        if len(there) > 1:
            areas += float(roc_auc_score(is_it, column)) * count / len(truth)
    loss = {"log_loss": float(-np.log(np.clip(given, _LEAST, 1.0)).mean())}
    return loss if len(there) == 1 else {**loss, "roc_auc": areas}


def interval_of(differences: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of the mean of paired differences, over resampled rows.

    References
    ----------
    Efron, B. and Tibshirani, R. (1993), An Introduction to the Bootstrap, Chapman and Hall, chapter 13: the percentile
    interval.
    """
    from scipy.stats import bootstrap

    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _CELLS // len(differences)),
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)
