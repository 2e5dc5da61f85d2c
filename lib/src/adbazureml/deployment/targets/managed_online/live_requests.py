"""How the requests of callers go on an online endpoint, by deployment and minute: platform metrics of Azure Monitor.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-machinelearningservices-workspaces-onlineendpoints-metrics
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from adbazureml.azure.credential import credential_for
from adbazureml.azure.refusals import RefusedError
from adbazureml.azure.resource_manager import read_resource
from adbazureml.deployment.live_comparison import Minute, minutes_of
from adbazureml.errors import DeploymentError, WorkspaceError

if TYPE_CHECKING:
    from adbazureml.workspaces import AzureMLWorkspace

_API_VERSION = "2023-10-01"
_REQUESTS = "RequestsPerMinute"
_LATENCIES = {
    "RequestLatency_P50": 0.5,
    "RequestLatency_P90": 0.9,
    "RequestLatency_P95": 0.95,
    "RequestLatency_P99": 0.99,
}
_SOUND = ("1xx", "2xx", "3xx")
# Azure Monitor gives 10 series where nothing is said: an endpoint has up to 20 deployments, with 5 classes each.
_MOST_SERIES = "100"

# A deployment, the beginning of a minute.
_Place = tuple[str, datetime]


def read_live_requests(
    workspace: AzureMLWorkspace, name: str, since: datetime
) -> Mapping[str, Mapping[datetime, Minute]]:
    """Return the requests of an endpoint; see `Target.live`.

    Raises
    ------
    DeploymentError
        Azure Monitor refused, or did not answer.
    """
    requests: dict[_Place, float] = defaultdict(float)
    errors: dict[_Place, float] = defaultdict(float)
    within: dict[_Place, list[tuple[float, float]]] = defaultdict(list)
    of_codes = _read(workspace, name, since, [_REQUESTS], "deployment eq '*' and statusCodeClass eq '*'")
    for _, dimensions, moment, value in of_codes:
        place = dimensions["deployment"], moment
        requests[place] += value
        if dimensions["statuscodeclass"].lower() not in _SOUND:
            errors[place] += value
    for metric, dimensions, moment, value in _read(workspace, name, since, list(_LATENCIES), "deployment eq '*'"):
        place = dimensions["deployment"], moment
        within[place].append((value, _LATENCIES[metric] * round(requests[place])))
    return minutes_of(requests, errors, within)


def _read(
    workspace: AzureMLWorkspace, name: str, since: datetime, metrics: list[str], series: str
) -> Iterator[tuple[str, dict[str, str], datetime, float]]:
    """Yield metric, dimensions, beginning and average of each minute that has one."""
    begin = since.astimezone(timezone.utc).replace(second=0, microsecond=0)
    end = datetime.now(timezone.utc) + timedelta(minutes=1)
    query = {
        "metricnames": ",".join(metrics),
        "timespan": f"{begin:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}",
        "interval": "PT1M",
        "aggregation": "Average",
        "$filter": series,
        "top": _MOST_SERIES,
    }
    told = _ask(workspace, name, query)
    for metric in told.get("value", ()):
        for each in metric.get("timeseries", ()):
            dimensions = {one["name"]["value"].lower(): one["value"] for one in each.get("metadatavalues", ())}
            for point in each.get("data", ()):
                if (value := point.get("average")) is not None:
                    yield metric["name"]["value"], dimensions, _moment(point["timeStamp"]), float(value)


def _ask(workspace: AzureMLWorkspace, name: str, query: Mapping[str, str]) -> dict[str, Any]:
    resource = f"{workspace.arm_id}/onlineEndpoints/{name}/providers/Microsoft.Insights/metrics"
    credential = credential_for(workspace.cloud)
    try:
        return read_resource(resource, api_version=_API_VERSION, credential=credential, query=query)
    except RefusedError as error:
        raise DeploymentError(
            f"watch: Azure Monitor does not tell how the requests of endpoint {name!r} go ({error.status},"
            f" {str(error).rstrip('.')}): have this identity ({credential.identity}) given the role 'Monitoring Reader'"
            " on the workspace, or leave watch out."
        ) from error
    except WorkspaceError as error:
        raise DeploymentError(f"watch: {error}") from error


def _moment(said: str) -> datetime:
    return datetime.fromisoformat(said.replace("Z", "+00:00"))
