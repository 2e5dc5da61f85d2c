"""What a team asks of a new version beside the comparison: limits, slices and what must be there, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

from adbazureml.errors import SettingsError


class MetricLimits(Protocol):
    """What `Threshold` and ``mlflow.models.MetricThreshold`` have in common."""

    @property
    def threshold(self) -> float | None:
        """The least value, or where less is better, the most."""

    @property
    def min_absolute_change(self) -> float | None:
        """By how much it must be better than the champion's."""

    @property
    def min_relative_change(self) -> float | None:
        """By what share of the champion's value it must be better."""

    @property
    def greater_is_better(self) -> bool | None:
        """Whether more is better."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The limits of a metric, in the words of ``mlflow.models.MetricThreshold``, and one that it lacks.

    Attributes
    ----------
    threshold : float, optional
        The least value, or where less is better, the most.
    min_absolute_change : float, optional
        By how much it must be better than the champion's.
    min_relative_change : float, optional
        By what share of the champion's value, whatever its sign, it must be better: 0.1 is 10 %.
    worse_by : float, optional
        By what share of the champion's value it may at most be worse.
    greater_is_better : bool, optional
        Needed for metrics of your own only.
    """

    threshold: float | None = None
    min_absolute_change: float | None = None
    min_relative_change: float | None = None
    worse_by: float | None = None
    greater_is_better: bool | None = None


class Rules(TypedDict, total=False):
    """Arguments of `validate` that a file may hold; `read_rules`."""

    thresholds: Mapping[str, MetricLimits]
    slices: tuple[str, ...]
    tags: tuple[str, ...]
    description: bool
    size_mb: float
    latency_ms: float
    environment: bool


_NUMBERS = ("threshold", "min_absolute_change", "min_relative_change", "worse_by")


def read_rules(path: str | Path) -> Rules:
    """Read the arguments of `validate` that a YAML file holds: ``validate(…, **read_rules("validation.yml"))``.

    Parameters
    ----------
    path : str or Path
        The file; empty: no rules. It may hold ``thresholds``, of each metric the fields of `Threshold`, and
        ``slices``, ``tags``, ``description``, ``size_mb``, ``latency_ms`` and ``environment``, as in `validate`.

    Raises
    ------
    SettingsError
        There is no such file, or something in it is not known or of another type; names all of these.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
    ...     _ = file.write("thresholds: {r2_score: {threshold: 0.3, worse_by: 0.1}}")
    ...     file.flush()
    ...     read_rules(file.name)["thresholds"]["r2_score"].threshold
    0.3
    """
    import yaml

    if not str(path):
        return {}
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: this file of rules can't be read: {error.strerror}. Correct the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: this file of rules is no YAML: {error}") from error
    problems: list[str] = []
    rules = cast("Rules", {} if found is None else _checked(found, problems))
    if problems:
        raise SettingsError(f"{path}: wrong rules:\n  " + "\n  ".join(problems))
    return rules


def _checked(found: Any, problems: list[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        problems.append(f"{found!r}: expected names with values, such as 'slices: [sex]'")
        return {}
    rules: dict[str, Any] = {}
    for name, value in found.items():
        # What was left empty asks for nothing.
        if value is None:
            continue
        if name == "thresholds" and isinstance(value, dict):
            rules[name] = {metric: _threshold(metric, fields, problems) for metric, fields in value.items()}
        elif name in ("slices", "tags") and isinstance(value, list) and all(isinstance(one, str) for one in value):
            rules[name] = tuple(value)
        elif (name in ("description", "environment") and isinstance(value, bool)) or (
            name in ("size_mb", "latency_ms") and _is_number(value)
        ):
            rules[name] = value
        elif name in Rules.__annotations__:
            problems.append(f"{name}: {value!r} is wrong; {_EXPECTED[name]} is expected")
        else:
            problems.append(f"{name}: no such rule; known are {', '.join(Rules.__annotations__)}")
    return rules


_EXPECTED = {
    "thresholds": "metrics with their limits, such as {r2_score: {threshold: 0.3}},",
    "slices": "a list of columns, such as [sex],",
    "tags": "a list of tags, such as [owner],",
    "description": "true or false",
    "size_mb": "a number",
    "latency_ms": "a number",
    "environment": "true or false",
}


def _threshold(metric: str, fields: Any, problems: list[str]) -> Threshold:
    known = {
        name: value
        for name, value in (fields.items() if isinstance(fields, dict) else ())
        if (name in _NUMBERS and _is_number(value)) or (name == "greater_is_better" and isinstance(value, bool))
    }
    if not isinstance(fields, dict) or len(known) < len(fields):
        problems.append(
            f"thresholds: {metric}: {fields!r} is wrong; expected are numbers for any of {', '.join(_NUMBERS)}, and"
            " true or false for greater_is_better"
        )
    return Threshold(**known)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
