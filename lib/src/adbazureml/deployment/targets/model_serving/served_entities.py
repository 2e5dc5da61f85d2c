"""What Databricks Model Serving tells of an endpoint, and how it takes it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from adbazureml.deployment.target import FINGERPRINT_TAG, MODEL_TAG, DeploymentState

if TYPE_CHECKING:
    from databricks.sdk.service import serving

    from adbazureml.deployment.target import State

MADE_BY = "adbazureml"
# Environment variables of a served entity carry what the service has no tags for.
MODEL_VARIABLE, FINGERPRINT_VARIABLE = (tag.upper().replace("-", "_") for tag in (MODEL_TAG, FINGERPRINT_TAG))
_STATES: Mapping[str, State] = {
    "DEPLOYMENT_READY": "healthy",
    "DEPLOYMENT_CREATING": "creating",
    "DEPLOYMENT_RECOVERING": "creating",
    "DEPLOYMENT_FAILED": "failed",
    "DEPLOYMENT_ABORTED": "failed",
}
UPDATING, NOT_UPDATING = "IN_PROGRESS", "NOT_UPDATING"


def entities(endpoint: serving.ServingEndpointDetailed) -> list[serving.ServedEntityOutput]:
    """What the endpoint serves now, without what is on its way."""
    return list((endpoint.config.served_entities if endpoint.config else None) or ())


def inputs(endpoint: serving.ServingEndpointDetailed) -> list[serving.ServedEntityInput]:
    """The same as the service takes it."""
    from databricks.sdk.service.serving import ServedEntityInput

    return [taken_as(ServedEntityInput, entity) for entity in entities(endpoint)]


def taken_as(kind: Any, value: Any) -> Any:
    """What the service told, as it takes it: without the fields that it only tells."""
    return kind.from_dict({name: part for name, part in value.as_dict().items() if name in _names(kind)})


def _names(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)}


def traffic_of(endpoint: serving.ServingEndpointDetailed) -> dict[str, int]:
    """Percent by served entity."""
    config = endpoint.config.traffic_config if endpoint.config else None
    routes = (config.routes if config else None) or ()
    return {route.served_entity_name or route.served_model_name or "": route.traffic_percentage for route in routes}


def traffic_config(
    traffic: Mapping[str | None, int] | Mapping[str, int], entities: Iterable[serving.ServedEntityInput]
) -> serving.TrafficConfig:
    """Routes to all entities; the service wants each named."""
    from databricks.sdk.service.serving import Route, TrafficConfig

    shares: Mapping[Any, int] = traffic
    routes = [Route(served_entity_name=one.name, traffic_percentage=shares.get(one.name, 0)) for one in entities]
    return TrafficConfig(routes=routes)


def update_of(endpoint: serving.ServingEndpointDetailed) -> str:
    """Whether an update is under way, as the service says it."""
    update = endpoint.state.config_update if endpoint.state else None
    return update.value if update else NOT_UPDATING


def status_message(endpoint: serving.ServingEndpointDetailed, deployment: str) -> str:
    """What the service says about a deployment that is on its way."""
    pending = (endpoint.pending_config.served_entities if endpoint.pending_config else None) or ()
    for entity in (*pending, *entities(endpoint)):
        if entity.name == deployment and entity.state:
            return entity.state.deployment_state_message or ""
    return ""


def serves(endpoint: serving.ServingEndpointDetailed, wanted: serving.ServedEntityInput) -> bool:
    """Whether an entity is served as it is wanted, and healthy."""
    return any(
        (one.name, one.entity_name, one.entity_version) == (wanted.name, wanted.entity_name, wanted.entity_version)
        and state_of(one, 0).state == "healthy"
        for one in entities(endpoint)
    )


def state_of(entity: serving.ServedEntityOutput, traffic: int) -> DeploymentState:
    """A served entity as the api knows it."""
    state, variables, made = entity.state, entity.environment_vars or {}, entity.creation_timestamp
    deployment = state.deployment.value if state and state.deployment else ""
    return DeploymentState(
        name=entity.name or "",
        model=variables.get(MODEL_VARIABLE) or f"models:/{entity.entity_name}/{entity.entity_version}",
        fingerprint=variables.get(FINGERPRINT_VARIABLE, ""),
        state=_STATES.get(deployment, "creating"),
        traffic=traffic,
        made=datetime.fromtimestamp(made / 1000, timezone.utc) if made else None,
        note=(state.deployment_state_message if state else None) or "",
    )


def is_tagged(tags: Iterable[serving.EndpointTag] | None) -> bool:
    """Whether this package made the endpoint."""
    return any(tag.key == MADE_BY for tag in tags or ())
