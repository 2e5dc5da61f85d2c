"""How the requests of callers go on a serving endpoint: what Databricks exports for Prometheus, of the last minute.

https://docs.databricks.com/machine-learning/model-serving/metrics-export-serving-endpoint
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone

from adbazureml.deployment.live_comparison import Minute, minutes_of
from adbazureml.errors import DeploymentError

_REQUESTS = "request_count_total"
_ERRORS = ("request_4xx_count_total", "request_5xx_count_total")
_LATENCY = "request_latency_ms_bucket"
# A name, its labels, a value and the moment in milliseconds.
_LINE = re.compile(r"(\w+)\{(.*)\}\s+(\S+)\s+(\d+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def live_requests(exported: str, entities: Collection[str]) -> Mapping[str, Mapping[datetime, Minute]]:
    """Return what an export tells, by served entity and minute.

    Parameters
    ----------
    exported : str
        The export.
    entities : collection of str
        Names of the served entities. Which label has them is not documented: it is the one whose values they are.

    Raises
    ------
    DeploymentError
        The export does not tell the entities apart.
    """
    requests: dict[tuple[str, datetime], int] = defaultdict(int)
    errors: dict[tuple[str, datetime], int] = defaultdict(int)
    within: dict[tuple[str, datetime], list[tuple[float, float]]] = defaultdict(list)
    for metric, labels, value, moment in _lines(exported):
        entity = next((each for each in labels.values() if each in entities), None)
        if entity is None:
            continue
        place = entity, moment
        if metric == _REQUESTS:
            requests[place] += round(value)
        elif metric in _ERRORS:
            errors[place] += round(value)
        elif metric == _LATENCY:
            within[place].append((float(labels["le"]), value))
    if not requests:
        raise DeploymentError(
            "watch: the metrics that Databricks exports of this endpoint do not tell its served entities apart: leave"
            " watch out."
        )
    return minutes_of(requests, errors, within)


def _lines(exported: str) -> Iterator[tuple[str, dict[str, str], float, datetime]]:
    for line in exported.splitlines():
        if found := _LINE.fullmatch(line.strip()):
            moment = datetime.fromtimestamp(int(found[4]) / 1000, timezone.utc)
            yield found[1], dict(_LABEL.findall(found[2])), float(found[3]), moment
