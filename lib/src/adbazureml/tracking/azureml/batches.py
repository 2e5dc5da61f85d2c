"""Metrics, params and tags in batches that Azure ML takes, and what becomes of a batch that it refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from adbazureml.tracking.failures import is_refusal

_VALUES_OF_A_METRIC = 250

Send = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], object]


def plain(metric: Metric) -> Metric:
    """The point of a run; the service has no metrics by model or dataset."""
    return Metric(metric.key, metric.value, metric.timestamp, metric.step)


def within_limits(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """Split metrics so that none has more than 250 values in a batch (Azure ML's limit, mlflow issue 11462)."""
    batches: list[list[Metric]] = [[]]
    taken: Counter[str] = Counter()
    for metric in metrics:
        number = taken[metric.key] // _VALUES_OF_A_METRIC
        taken[metric.key] += 1
        if number == len(batches):
            batches.append([])
        batches[number].append(metric)
    return batches


def send_around_refused(send: Send, metrics: Sequence[Metric], params: Sequence[Any], tags: Sequence[Any]) -> None:
    """Send a batch; where the service refuses it as a whole for one of its items, send the others.

    Autologging puts all params and metrics of a training into one batch, and a pipeline's params are often longer than
    the service takes.

    Raises
    ------
    mlflow.exceptions.MlflowException
        Names what the service refuses, after everything else was sent.
    """
    try:
        send(metrics, params, tags)
    except MlflowException as error:
        if not is_refusal(error) or len(metrics) + len(params) + len(tags) == 1:
            raise
        refused: dict[str, MlflowException] = {}
        if metrics and (params or tags):
            _halve(metrics, lambda some: send(some, [], []), "metric", refused)
        elif metrics:
            raise
        _halve(params, lambda some: send([], some, []), "param", refused)
        _halve(tags, lambda some: send([], [], some), "tag", refused)
        if refused:
            named = ", ".join(sorted(refused))
            said = next(iter(refused.values())).message
            raise MlflowException(
                f"Azure ML refused {named}; everything else of this call is logged. It says: {said}",
                error_code="INVALID_PARAMETER_VALUE",
            ) from error


def _halve(
    items: Sequence[Any],
    send: Callable[[Sequence[Any]], object],
    kind: str,
    refused: dict[str, MlflowException],
) -> None:
    if not items:
        return
    try:
        send(items)
    except MlflowException as error:
        if not is_refusal(error):
            raise
        # Points are not sought one by one: a batch of them with a NaN is refused when it was sent before.
        if kind == "metric" or len(items) == 1:
            refused |= {f"{kind} {item.key!r}": error for item in items}
            return
        middle = len(items) // 2
        _halve(items[:middle], send, kind, refused)
        _halve(items[middle:], send, kind, refused)
