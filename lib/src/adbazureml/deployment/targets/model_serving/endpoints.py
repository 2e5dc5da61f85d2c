"""Endpoints of Databricks Model Serving; a deployment is a served entity.

The service takes the list of served entities and routes as a whole, so what is there is read just before and sent
again. Its traffic must always sum up to 100 percent: the first deployment of an endpoint has all of it from the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from adbazureml.deployment.live_comparison import Minute
from adbazureml.deployment.load_test import Caller
from adbazureml.deployment.signed_requests import post, signed_session
from adbazureml.deployment.target import LOG_LINES, Deadline, EndpointState, Target, with_log
from adbazureml.deployment.targets.model_serving import served_entities
from adbazureml.deployment.targets.model_serving.live_requests import live_requests
from adbazureml.errors import DeploymentError
from adbazureml.workspaces.databricks import databricks_sign_in
from adbazureml.workspaces.databricks_refusals import explain_error

if TYPE_CHECKING:
    import requests
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service import serving

    from adbazureml.deployment.deployable import Deployable
    from adbazureml.deployment.target import Progress
    from adbazureml.deployment.targets.model_serving.options import ModelServing

_MOST_ENTITIES = 10
_REFUSALS = {
    "PermissionDenied": (
        "{what}: Databricks refused ({answer}): have this identity given CAN_MANAGE on the endpoint, and EXECUTE on the"
        " model."
    ),
    "NotFound": (
        "{what}: Databricks refused ({answer}): check that the model version is registered, and that this identity may"
        " EXECUTE it."
    ),
    "DatabricksError": (
        "{what}: Databricks refused ({answer}): check the model's name, version and limits in the Databricks workspace."
    ),
}
_FULL = "{what}: Databricks refused ({answer}): delete what is not needed, or have the limit raised by Databricks."
_RETRIES_S = 60


class DatabricksServing(Target):
    """Databricks Model Serving, in the workspace that databricks-sdk signs in to; see `Target`."""

    kind: Literal["databricks"] = "databricks"
    registry: Literal["azureml", "databricks"] | None = "databricks"
    splits_traffic = True
    timeout = 3600.0

    def __init__(self, options: ModelServing) -> None:
        self._options = options

    def check(self, name: str, model: Deployable) -> None:
        """Raise for what the service will refuse; nothing is created."""
        registered, version = _registered(model)
        signature = model.signature
        if signature is None or signature.inputs is None or signature.outputs is None:
            raise DeploymentError(
                f"Model {registered!r} version {version} has no signature of inputs and outputs, without which"
                " Databricks serves none of Unity Catalog: log it with signature= or input_example=."
            )
        endpoint = self._get(name)
        if endpoint is None:
            return
        level = endpoint.permission_level
        if level is not None and level.value != "CAN_MANAGE":
            raise DeploymentError(
                f"name {name!r}: this identity may not change the endpoint ({level.value}): have it given"
                " CAN_MANAGE on it, or choose another name."
            )
        if any(entity.external_model or entity.foundation_model for entity in served_entities.entities(endpoint)):
            raise DeploymentError(
                f"name {name!r}: the endpoint serves a model of somebody else's, which can't share it: choose"
                " another name."
            )

    def find(self, name: str) -> EndpointState | None:
        """Return what the endpoint is now; None when there is none."""
        endpoint = self._get(name)
        if endpoint is None:
            return None
        traffic = served_entities.traffic_of(endpoint)
        pending = endpoint.pending_config.served_entities if endpoint.pending_config else None
        entities = {entity.name: entity for entity in (*(pending or ()), *served_entities.entities(endpoint))}
        states = [served_entities.state_of(entity, traffic.get(entity.name or "", 0)) for entity in entities.values()]
        host = self._client.config.host
        return EndpointState(
            name=name,
            kind=self.kind,
            url=f"{host}/serving-endpoints/{name}/invocations",
            auth="token",
            deployments=tuple(sorted(states, key=lambda state: state.made or datetime.now(timezone.utc))),
            page=f"{host}/ml/endpoints/{name}",
        )

    def create(self, name: str, deployment: str, model: Deployable, *, progress: Progress, deadline: Deadline) -> None:
        """Serve a version beside what the endpoint serves, without traffic but for the first one."""
        entity = self._entity(deployment, model)
        asked = False
        for waited in deadline.polls(self._options.poll):
            endpoint = self._get(name)
            if endpoint is None:
                asked = self._make(name, entity)
            elif served_entities.update_of(endpoint) == served_entities.UPDATING:
                progress(
                    f"{served_entities.status_message(endpoint, deployment) or 'waiting for an update'}, {waited:.0f} s"
                )
            elif served_entities.serves(endpoint, entity):
                return
            elif asked and served_entities.update_of(endpoint) != served_entities.NOT_UPDATING:
                raise self._failed(name, deployment, endpoint, progress=progress, deadline=deadline)
            else:
                # Asked again, too, where somebody who updated at the same moment did not know of this one.
                others = [one for one in served_entities.inputs(endpoint) if one.name != deployment]
                if len(others) >= _MOST_ENTITIES:
                    raise DeploymentError(
                        f"name {name!r} serves {len(others)} versions, the most that Databricks takes: remove"
                        " one first."
                    )
                traffic = served_entities.traffic_of(endpoint) if others else {deployment: 100}
                asked = self._replace(name, endpoint, [*others, entity], traffic)
        raise with_log(
            str(deadline.missed(f"deployment {deployment!r} is not ready")),
            self.logs(name, deployment, LOG_LINES),
            source="its log",
        )

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None = None) -> Any:
        """Post a request of the scoring protocol and return the predictions."""
        url = self._url(name, deployment)
        return post(url, _without_nan(payload), authorize=self._sign, timeout=self._options.request_timeout)

    def caller(self, name: str) -> Caller:
        """Return a connection as callers have it; see `Target.caller`."""
        return signed_session(self._sign), self._url(name, None)

    def shift(self, name: str, traffic: Mapping[str, int], *, progress: Progress, deadline: Deadline) -> None:
        """Share the traffic, and wait until it is so."""
        wanted = {one: percent for one, percent in traffic.items() if percent}
        asked = False
        for waited in deadline.polls(self._options.poll):
            endpoint = self._existing(name)
            if served_entities.update_of(endpoint) == served_entities.UPDATING:
                progress(f"moving the traffic, {waited:.0f} s")
            elif {one: percent for one, percent in served_entities.traffic_of(endpoint).items() if percent} == wanted:
                return
            elif asked and served_entities.update_of(endpoint) != served_entities.NOT_UPDATING:
                raise self._failed(name, next(iter(wanted)), endpoint, progress=progress, deadline=deadline)
            else:
                known = {one.name for one in served_entities.entities(endpoint)}
                if missing := sorted(set(wanted) - known):
                    raise DeploymentError(f"endpoint {name!r} has no deployment {missing[0]!r}: deploy it first.")
                asked = self._replace(name, endpoint, served_entities.inputs(endpoint), wanted)
        raise deadline.missed(f"the traffic of endpoint {name!r} has not moved")

    def live(self, name: str, since: datetime) -> Mapping[str, Mapping[datetime, Minute]]:  # noqa: ARG002
        """Return the requests of callers in the last minute; see `Target.live`."""
        with self._asking(name):
            exported = self._client.serving_endpoints.export_metrics(name).contents
        entities = {one.name or "" for one in served_entities.entities(self._existing(name))}
        return live_requests(exported.read().decode() if exported else "", entities)

    def logs(self, name: str, deployment: str, lines: int) -> str:
        """Return the last lines of a deployment's log, or of its image's build; empty where there is none."""
        from databricks.sdk.errors import DatabricksError

        service = self._client.serving_endpoints
        for read in (service.logs, service.build_logs):
            try:
                said = read(name, deployment).logs or ""
            except DatabricksError:
                continue
            if said.strip():
                return "\n".join(said.strip().splitlines()[-lines:])
        return ""

    def remove(self, name: str, deployment: str) -> None:
        """Stop serving a deployment; with the last one its endpoint goes."""
        deadline = Deadline.after(self.timeout)
        for _ in deadline.polls(self._options.poll):
            endpoint = self._get(name)
            if endpoint is None:
                return
            if served_entities.update_of(endpoint) == served_entities.UPDATING:
                continue
            others = [one for one in served_entities.inputs(endpoint) if one.name != deployment]
            if not others:
                self.delete(name)
                return
            if len(others) == len(served_entities.entities(endpoint)):
                return
            self._replace(name, endpoint, others, served_entities.traffic_of(endpoint))
        raise deadline.missed(f"deployment {deployment!r} of endpoint {name!r} is still there")

    def delete(self, name: str) -> None:
        """Delete the endpoint with all that is on it; one that is gone is no error."""
        from databricks.sdk.errors import NotFound

        with self._asking(name):
            try:
                self._client.serving_endpoints.delete(name)
            except NotFound:
                return

    def list(self) -> list[EndpointState]:
        """Return the endpoints that hold a deployment made by this package, by name."""
        with self._asking("*"):
            found = [
                one.name or "" for one in self._client.serving_endpoints.list() if served_entities.is_tagged(one.tags)
            ]
        return [state for name in sorted(found) if (state := self.find(name))]

    def _url(self, name: str, deployment: str | None) -> str:
        of_one = f"/served-models/{deployment}" if deployment else ""
        return f"{self._client.config.host}/serving-endpoints/{name}{of_one}/invocations"

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._client.config.authenticate())
        return request

    def _make(self, name: str, entity: serving.ServedEntityInput) -> bool:
        """Create the endpoint; whether it was this call that did it."""
        from databricks.sdk.errors import ResourceConflict
        from databricks.sdk.service.serving import EndpointCoreConfigInput, EndpointTag

        config = EndpointCoreConfigInput(
            name=name,
            served_entities=[entity],
            traffic_config=served_entities.traffic_config({entity.name: 100}, [entity]),
        )
        with self._asking(name):
            try:
                self._client.serving_endpoints.create(
                    name, config=config, tags=[EndpointTag(key=served_entities.MADE_BY, value="")]
                )
            except ResourceConflict:
                return False
        return True

    def _replace(
        self,
        name: str,
        endpoint: serving.ServingEndpointDetailed,
        entities: Sequence[serving.ServedEntityInput],
        traffic: Mapping[str | None, int] | Mapping[str, int],
    ) -> bool:
        """Replace what the endpoint serves; whether the service took it, and no other update was faster."""
        from databricks.sdk.errors import ResourceConflict
        from databricks.sdk.service.serving import AutoCaptureConfigInput, EndpointTag

        kept = endpoint.config.auto_capture_config if endpoint.config else None
        with self._asking(name):
            if not served_entities.is_tagged(endpoint.tags):
                self._client.serving_endpoints.patch(
                    name, add_tags=[EndpointTag(key=served_entities.MADE_BY, value="")]
                )
            try:
                self._client.serving_endpoints.update_config(
                    name,
                    served_entities=[*entities],
                    traffic_config=served_entities.traffic_config(traffic, entities),
                    auto_capture_config=served_entities.taken_as(AutoCaptureConfigInput, kept) if kept else None,
                )
            except ResourceConflict:
                return False
        return True

    def _failed(
        self,
        name: str,
        deployment: str,
        endpoint: serving.ServingEndpointDetailed,
        *,
        progress: Progress,
        deadline: Deadline,
    ) -> DeploymentError:
        """The error of an update that failed; what was served before is made the whole configuration again."""
        said = (
            served_entities.status_message(endpoint, deployment)
            or f"the update ended as {served_entities.update_of(endpoint)}"
        )
        error = with_log(
            f"deployment {deployment!r} on endpoint {name!r} does not come up: {said.rstrip('.')}.",
            self.logs(name, deployment, LOG_LINES),
            source=f"the log of deployment {deployment!r}",
        )
        if served_entities.entities(endpoint) and self._replace(
            name, endpoint, served_entities.inputs(endpoint), served_entities.traffic_of(endpoint)
        ):
            for _ in deadline.polls(self._options.poll):
                now = self._get(name)
                if now is None or served_entities.update_of(now) != served_entities.UPDATING:
                    break
                progress("dropping the deployment that failed")
        return error

    def _entity(self, deployment: str, model: Deployable) -> serving.ServedEntityInput:
        from databricks.sdk.service.serving import ServedEntityInput

        registered, version = _registered(model)
        return ServedEntityInput(
            name=deployment,
            entity_name=registered,
            entity_version=version,
            workload_size=self._options.instance_type,
            scale_to_zero_enabled=False,
            environment_vars={
                **self._options.environment,
                served_entities.MODEL_VARIABLE: model.uri,
                served_entities.FINGERPRINT_VARIABLE: model.fingerprint,
            },
        )

    def _existing(self, name: str) -> serving.ServingEndpointDetailed:
        endpoint = self._get(name)
        if endpoint is None:
            raise DeploymentError(f"endpoint {name!r} does not exist, or was deleted meanwhile: deploy it first.")
        return endpoint

    def _get(self, name: str) -> serving.ServingEndpointDetailed | None:
        from databricks.sdk.errors import NotFound

        with self._asking(name):
            try:
                return self._client.serving_endpoints.get(name)
            except NotFound:
                return None

    def _asking(self, name: str) -> Any:
        return _asking(f"name {name!r}" if name != "*" else "The serving endpoints")

    @cached_property
    def _client(self) -> WorkspaceClient:
        return databricks_sign_in(retry_timeout_seconds=_RETRIES_S)


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn what databricks-sdk raises into one sentence."""
    from databricks.sdk.errors import DatabricksError

    try:
        yield
    except DatabricksError as error:
        full = any(word in str(error).lower() for word in ("quota", "limit"))
        meanings = {**_REFUSALS, "DatabricksError": _FULL} if full else _REFUSALS
        raise DeploymentError(explain_error(error, meanings, what=what)) from error
    except (OSError, TimeoutError) as error:
        raise DeploymentError(f"{what}: Databricks does not answer ({error}): try again later.") from error


def _registered(model: Deployable) -> tuple[str, str]:
    """Name and version in the Databricks registry."""
    if model.databricks is None:
        raise DeploymentError(
            f"Model {model.uri!r} is not registered in Databricks, from whose registry target 'databricks' serves:"
            " register it there first, with registry='databricks' or 'both'."
        )
    return model.databricks


def _without_nan(value: Any) -> Any:
    """The value with null for every number that JSON has no form for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
