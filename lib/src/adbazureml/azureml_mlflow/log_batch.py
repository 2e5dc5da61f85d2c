"""Metrics, params and tags in batches that Azure ML takes, and what becomes of a batch that it refuses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from adbazureml.azureml_mlflow.mlflow_errors import is_rejection
from adbazureml.text import redacted

_VALUES_OF_A_METRIC = 250
# So many of the rejected items are named in an error.
_NAMED = 5

Kind = Literal["metric", "param", "tag"]
Send = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], object]
# What the service says of a length ("Tags.Value/Length") or a number of things ("Parameters") that is over its limit.
_OVER = re.compile(r"FieldName=(?P<field>\w+)(?:\.(?P<part>\w+)/Length)?, Limit=(?P<limit>\d+), Size=(?P<size>\d+)")


class RejectedError(MlflowException):
    """Azure ML refuses some of a batch for good; everything else of it is logged.

    Attributes
    ----------
    rejected : dict of (kind, key) to str
        What it refuses, and what it says.
    full : set of str
        The kinds of which the run takes no more.
    has_unsought : bool
        Whether it also refuses points that were not sought out.
    """

    def __init__(self, sending: _Sending) -> None:
        self.rejected, self.full, self.has_unsought = sending.rejected, sending.full, sending.unsought is not None
        named = [f"{kind} {key!r}" for kind, key in self.rejected]
        if sending.unsought is not None:
            named.append("points of metrics")
        others = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        said = next(iter(self.rejected.values()), str(sending.unsought))
        super().__init__(  # type: ignore[no-untyped-call]
            f"Azure ML refused {', '.join(named[:_NAMED])}{others}; everything else of this call is logged. It says:"
            f" {said}",
            error_code=INVALID_PARAMETER_VALUE,
        )


class Limits:
    """Lengths that the service said are its longest; what is longer is not sent again."""

    def __init__(self) -> None:
        self._longest: dict[tuple[Kind, str, str], tuple[int, str]] = {}

    def rejection_of(self, kind: Kind, item: Any) -> str | None:
        """What the service said of items that are as long as this one; None when it may take it."""
        for part in ("Key", "Value"):
            longest, said = self._longest.get((kind, part, _scope(kind, item)), (None, ""))
            if longest is not None and _length(item, part) > longest:
                return said
        return None

    def learn(self, kind: Kind, items: Sequence[Any], said: str) -> bool:
        """Take in what the service said of a batch; tell whether some of its items are known to be too long now."""
        over = _OVER.search(said)
        if over is None or over["part"] is None:
            return False
        part = "Value" if over["part"] == "Value" else "Key"
        size, limit = int(over["size"]), int(over["limit"])
        # The item that it speaks of also shows that it counts as we do.
        meant = [item for item in items if _length(item, part) == size > limit]
        for item in meant:
            self._longest[kind, part, _scope(kind, item)] = limit, said
        return bool(meant)


@dataclass
class _Sending:
    """One batch on its way, around what is rejected of it."""

    send: Send
    limits: Limits
    rejected: dict[tuple[Kind, str], str] = field(default_factory=dict)
    full: set[Kind] = field(default_factory=set)
    unsought: MlflowException | None = None

    def known(self, kind: Kind, items: Sequence[Any]) -> list[Any]:
        """Items without those that are known to be too long."""
        kept = []
        for item in items:
            if (said := self.limits.rejection_of(kind, item)) is None:
                kept.append(item)
            else:
                self.rejected[kind, item.key] = said
        return kept

    def one_kind(self, kind: Kind, items: Sequence[Any]) -> None:
        """Send items; halve what is refused, where the service does not say what is wrong with it."""
        items = self.known(kind, items)
        if not items:
            return
        try:
            self.send(*(items if kind == one else [] for one in ("metric", "param", "tag")))
        except MlflowException as error:
            if not is_rejection(error):
                raise
            said = redacted(error.message)
            if self.limits.learn(kind, items, said):
                self.one_kind(kind, items)
            elif kind == "metric":
                # Points are not sought one by one: a batch of them with a NaN is refused when it was sent before.
                self.unsought = error
            elif (surplus := _surplus(said)) >= len(items) or len(items) == 1:
                self.rejected |= {(kind, item.key): said for item in items}
                if surplus:
                    self.full.add(kind)
            else:
                split = len(items) - surplus if surplus else len(items) // 2
                self.one_kind(kind, items[:split])
                self.one_kind(kind, items[split:])


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


def send_around_rejected(
    send: Send, metrics: Sequence[Metric], params: Sequence[Any], tags: Sequence[Any], limits: Limits
) -> None:
    """Send a batch; where the service refuses it as a whole for some of its items, send the others.

    Autologging puts all params and metrics of a training into one batch, and a pipeline's params are often longer than
    the service takes.

    Raises
    ------
    RejectedError
        Some items are refused, after everything else was sent.
    mlflow.exceptions.MlflowException
        The only item is refused, or the service fails.
    """
    sending = _Sending(send, limits)
    batches: Mapping[Kind, Sequence[Any]] = {
        "metric": sending.known("metric", metrics),
        "param": sending.known("param", params),
        "tag": sending.known("tag", tags),
    }
    first, *more = within_limits(batches["metric"])
    try:
        if first or batches["param"] or batches["tag"]:
            send(first, batches["param"], batches["tag"])
    except MlflowException as error:
        if not is_rejection(error) or len(metrics) + len(params) + len(tags) == 1:
            raise
        sending.one_kind("metric", first)
        sending.one_kind("param", batches["param"])
        sending.one_kind("tag", batches["tag"])
    for batch in more:
        sending.one_kind("metric", batch)
    if sending.rejected or sending.unsought is not None:
        raise RejectedError(sending)


def _surplus(said: str) -> int:
    """How many things too many the service says there are; 0 where it says something else."""
    over = _OVER.search(said)
    return int(over["size"]) - int(over["limit"]) if over and over["part"] is None else 0


def _length(item: Any, part: str) -> int:
    return len(str(item.value if part == "Value" else item.key))


def _scope(kind: Kind, item: Any) -> str:
    # A description (mlflow.note.content) may be longer than other tags.
    return item.key if kind == "tag" and item.key.startswith("mlflow.") else ""
