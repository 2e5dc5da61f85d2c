"""Azure Monitor's metrics of online endpoints: how many requests, how they were answered and how fast, by minute."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from .messages import Answer, Call, Problem, json_answer

_ROUTE = re.compile(r"/onlineEndpoints/(?P<endpoint>[^/]+)/providers/Microsoft\.Insights/metrics", re.IGNORECASE)
_CONDITION = re.compile(r"(\w+) eq '([^']*)'")
_REQUESTS = {"deployment", "statusCode", "statusCodeClass", "modelStatusCode"}
_QUANTILES = {
    "RequestLatency_P50": 0.5,
    "RequestLatency_P90": 0.9,
    "RequestLatency_P95": 0.95,
    "RequestLatency_P99": 0.99,
}
_DIMENSIONS = {"RequestsPerMinute": _REQUESTS, **{name: {"deployment"} for name in _QUANTILES}}
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Answered:
    """A request of a caller, and what came of it."""

    endpoint: str
    deployment: str
    status: int
    milliseconds: float
    at: datetime


class LiveMetrics:
    """What Azure Monitor knows, and tells at once; Azure's own is some minutes late.

    Attributes:
        answered: all requests so far.
    """

    def __init__(self) -> None:
        self.answered: list[Answered] = []
        self._lock = threading.Lock()

    def count(self, endpoint: str, deployment: str, status: int, seconds: float) -> None:
        with self._lock:
            now = datetime.now(timezone.utc)
            self.answered.append(Answered(endpoint, deployment, status, seconds * 1000, now))

    def answer(self, call: Call, rest: str) -> Answer | None:
        """The answer to a question for metrics; None for any other call."""
        match = _ROUTE.fullmatch(rest)
        if match is None or call.method != "GET":
            return None
        names = call.query.get("metricnames", "").split(",")
        asked = dict(_CONDITION.findall(call.query.get("$filter", "")))
        for name in names:
            if name not in _DIMENSIONS:
                raise Problem(400, "BadRequest", f"Failed to find metric configuration for metric: {name}.")
            if unknown := set(asked) - _DIMENSIONS[name]:
                raise Problem(400, "BadRequest", f"Metric {name} does not support dimension {sorted(unknown)[0]}.")
        if (call.query.get("interval"), call.query.get("aggregation")) != ("PT1M", "Average"):
            raise Problem(400, "BadRequest", "Only the time grain PT1M and the aggregation Average are supported.")
        begin, end = (datetime.fromisoformat(one.replace("Z", "+00:00")) for one in call.query["timespan"].split("/"))
        with self._lock:
            found = [one for one in self.answered if one.endpoint == match["endpoint"] and begin <= one.at < end]
        most = int(call.query.get("top", 10))
        value = [self._metric(name, found, list(asked), begin, end, most) for name in names]
        return json_answer({"timespan": call.query["timespan"], "interval": "PT1M", "value": value})

    @staticmethod
    def _metric(
        name: str, found: list[Answered], by: list[str], begin: datetime, end: datetime, most: int
    ) -> dict[str, Any]:
        series: dict[tuple[str, ...], list[Answered]] = defaultdict(list)
        for one in found:
            series[tuple(_value(one, dimension) for dimension in by)].append(one)
        return {
            "name": {"value": name, "localizedValue": name},
            "unit": "Count" if name not in _QUANTILES else "MilliSeconds",
            "timeseries": [
                {
                    "metadatavalues": [
                        {"name": {"value": dimension.lower()}, "value": value}
                        for dimension, value in zip(by, values, strict=True)
                    ],
                    "data": list(_points(name, mine, begin, end)),
                }
                for values, mine in sorted(series.items())[:most]
            ],
        }


def _points(name: str, mine: Iterable[Answered], begin: datetime, end: datetime) -> Iterable[dict[str, Any]]:
    minutes: dict[datetime, list[float]] = defaultdict(list)
    for one in mine:
        minutes[one.at.replace(second=0, microsecond=0)].append(one.milliseconds)
    moment = begin
    while moment < end:
        point: dict[str, Any] = {"timeStamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
        if times := minutes.get(moment):
            point["average"] = float(np.quantile(times, _QUANTILES[name])) if name in _QUANTILES else float(len(times))
        yield point
        moment += _MINUTE


def _value(one: Answered, dimension: str) -> str:
    if dimension == "deployment":
        return one.deployment
    return f"{one.status // 100}xx" if dimension == "statusCodeClass" else str(one.status)
