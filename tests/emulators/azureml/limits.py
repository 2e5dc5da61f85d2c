"""Names, lengths and numbers that Azure ML accepts.

From https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity, unless another source is given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .messages import Problem

StorePair = Mapping[str, Any]

_EXPERIMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]*")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Limits:
    """What fits."""

    experiment_name: int = 256
    model_name: int = 255
    tags: int = 50
    run_tag_key: int = 100
    experiment_tag_key: int = 250
    tag_value: int = 1000
    description: int = 5000
    metric_name: int = 255
    # A batch of 699 values of one metric was refused: mlflow issue 11462.
    values_of_a_metric_in_a_batch: int = 250
    # Undocumented: azure-sdk-for-python issue 35685.
    params: int = 200
    # The length that servers of MLflow 2 take; Azure ML documents none.
    param_value: int = 500
    # Refused with this number in ultralytics issue 3223.
    artifacts_in_a_batch: int = 100
    artifact_path: int = 5000


def check_experiment_name(name: str, limits: Limits) -> None:
    # A slash inside a name is let through, and the experiment not found again: azure-sdk-for-python issue 45209.
    if not _EXPERIMENT_NAME.fullmatch(name) or len(name) > limits.experiment_name:
        raise invalid(
            f"Experiment name must be 1-{limits.experiment_name} characters, start with a letter or a number, and can "
            "only contain letters, numbers, underscores, and dashes."
        )


def check_model_name(name: str, limits: Limits) -> None:
    if not _MODEL_NAME.fullmatch(name) or len(name) > limits.model_name:
        raise invalid(
            f"Model name {name} is invalid: it must be 1-{limits.model_name} characters, start with a letter or a "
            "number, and can only contain letters, numbers, underscores, dashes, and periods."
        )


def check_tags(tags: Iterable[StorePair], *, longest_key: int, limits: Limits) -> None:
    for tag in tags:
        key, value = tag.get("key", ""), str(tag.get("value", ""))
        # mlflow issue 8008
        if ":" in key:
            raise invalid("The request is invalid.")
        _check_size("Tags.Key/Length", len(key), longest_key)
        longest_value = limits.description if key == "mlflow.note.content" else limits.tag_value
        _check_size("Tags.Value/Length", len(value), longest_value)


def check_tag_count(keys: Iterable[str], limits: Limits) -> None:
    """MLflow's own tags are properties of a run in Azure ML, and don't count."""
    _check_size("Tags", len({key for key in keys if not key.startswith("mlflow.")}), limits.tags)


def check_params(params: Iterable[StorePair], limits: Limits) -> None:
    for param in params:
        _check_size("Parameters.Value/Length", len(str(param.get("value", ""))), limits.param_value)


def check_param_count(keys: Iterable[str], limits: Limits) -> None:
    _check_size("Parameters", len(set(keys)), limits.params)


def check_metrics(metrics: Iterable[StorePair], limits: Limits) -> None:
    counts = Counter(metric.get("key", "") for metric in metrics)
    for key, count in counts.items():
        _check_size("MetricV2Dto.Name/Length", len(key), limits.metric_name)
        _check_size("MetricV2Dto.Value/Count", count, limits.values_of_a_metric_in_a_batch)


def invalid(message: str) -> Problem:
    return Problem(400, "INVALID_PARAMETER_VALUE", message)


def _check_size(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise invalid(
            f"A field of the entity is over the size limit. FieldName={field}, Limit={limit}, Size={size}. See "
            "https://aka.ms/azure-machine-learning-limits for service limits documentation."
        )
