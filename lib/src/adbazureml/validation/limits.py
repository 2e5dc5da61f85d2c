"""Whether metrics keep to the limits that somebody set: of their own, and beside the champion's."""

from __future__ import annotations

from collections.abc import Mapping

from adbazureml.errors import RegistryError
from adbazureml.validation.metrics import greater_is_better
from adbazureml.validation.rules import MetricLimits
from adbazureml.validation.verdict import Check


def limit_checks(
    ours: Mapping[str, float], theirs: Mapping[str, float], thresholds: Mapping[str, MetricLimits]
) -> list[Check]:
    """Compare metrics with their limits; not a number is within none.

    Shares are of the champion's value without its sign, so that they mean the same of an R2 below 0.

    Raises
    ------
    RegistryError
        A threshold is of no metric, or does not say which way is better.
    """
    unknown = [name for name in thresholds if name not in ours]
    if unknown:
        raise RegistryError(
            f"thresholds: there is no metric {', '.join(map(repr, unknown))}; there are {', '.join(ours)}."
        )
    return [_check(name, ours[name], theirs.get(name), limits) for name, limits in thresholds.items()]


def _check(name: str, value: float, champion: float | None, limits: MetricLimits) -> Check:
    more = limits.greater_is_better if limits.greater_is_better is not None else greater_is_better(name)
    if more is None:
        raise RegistryError(f"thresholds: {name}: give greater_is_better, as this metric is your own.")
    wanted = [] if limits.threshold is None else [(limits.threshold, "")]
    if champion is not None:
        sign, size = (1 if more else -1), abs(champion)
        if limits.min_absolute_change is not None:
            wanted.append((champion + sign * limits.min_absolute_change, " to be better than the champion's by enough"))
        if limits.min_relative_change is not None:
            wanted.append((champion + sign * size * limits.min_relative_change, " to be better by that share"))
        # MLflow's own thresholds have none of it.
        worse_by = getattr(limits, "worse_by", None)
        if worse_by is not None:
            wanted.append((champion - sign * size * worse_by, f" as the champion's is {champion:.4g}"))
    least = "at least" if more else "at most"
    missed = [
        f"{least} {limit:.4g} wanted{why}" for limit, why in wanted if not (value >= limit if more else value <= limit)
    ]
    kept = ", ".join(f"{least} {limit:.4g}" for limit, _ in wanted) or "no champion to compare it with"
    return Check(name, not missed, f"{name} {value:.4g}, {'; '.join(missed) or kept}")
