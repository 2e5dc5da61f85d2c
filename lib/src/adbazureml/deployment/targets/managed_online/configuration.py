"""What MLflow's deployment clients call `config`: fields of Azure ML's YAML for endpoints, read by azure-ai-ml."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adbazureml.deployment.targets.managed_online.options import ManagedOnline
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

# The keys under which azureml-mlflow takes a file.
DEPLOYMENT_FILE, ENDPOINT_FILE = "deploy-config-file", "endpoint-config-file"
_GIVEN_BY_THE_CALL = ("name", "endpoint_name", "model", "environment", "code_configuration")
_NO_FIELD = ("$schema", "type")
_INSTANCE_TYPE, _INSTANCE_COUNT = ManagedOnline().instance_type, ManagedOnline().instance_count


def read_fields(config: Mapping[str, Any] | None, file_key: str) -> dict[str, Any]:
    """Return the fields that a ``config`` gives by itself, or in a file of YAML or JSON; its own win.

    Raises
    ------
    DeploymentError
        The file can't be read, or a field is nothing that can be chosen here.
    """
    fields = dict(config or {})
    if path := fields.pop(file_key, None):
        fields = {**_read(path, file_key), **fields}
    if "computeType" in fields:
        raise DeploymentError(
            f"computeType {fields['computeType']!r}: Azure ML's service of that kind has ended. Leave it out for a"
            " managed online endpoint, or use adbazureml.deploy(…, target=ContainerInstances(…) or Kubernetes(…))."
        )
    if fields.get("type", "managed") != "managed":
        raise DeploymentError(
            f"type {fields['type']!r}: here endpoints are managed ones; leave it out, or use"
            " adbazureml.deploy(…, target=Kubernetes(…))."
        )
    if fields.pop("async", False):
        raise DeploymentError("async: a deployment is waited for, as its answers are compared; leave it out.")
    if given := [name for name in _GIVEN_BY_THE_CALL if name in fields]:
        raise DeploymentError(f"{', '.join(given)}: the call gives what a config can't; leave it out there.")
    return fields


def deployment_of(fields: Mapping[str, Any], *, name: str, endpoint: str) -> OnlineDeployment:
    """Return the managed online deployment that fields describe, still without a model.

    Raises
    ------
    DeploymentError
        azure-ai-ml does not take them.
    """
    from azure.ai.ml import load_online_deployment

    defaults = {"instance_type": _INSTANCE_TYPE, "instance_count": _INSTANCE_COUNT}
    described: OnlineDeployment = _loaded(
        load_online_deployment, {**defaults, **fields, "name": name, "endpoint_name": endpoint}
    )
    return described


def endpoint_of(fields: Mapping[str, Any], *, name: str) -> OnlineEndpoint:
    """Return the managed online endpoint that fields describe; raises as `deployment_of`."""
    from azure.ai.ml import load_online_endpoint

    described: OnlineEndpoint = _loaded(load_online_endpoint, {"auth_mode": "key", **fields, "name": name})
    return described


def set_fields(one: Any, fields: Mapping[str, Any], given: Any) -> None:
    """Give a deployment or an endpoint that is there those fields, as another one of its kind has them."""
    for field in fields:
        if field not in _NO_FIELD:
            setattr(one, field, getattr(given, field))


def _read(path: str, file_key: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = str(error).partition("\n")[0]
        raise DeploymentError(
            f"{file_key} {str(path)!r} can't be read: {said}. Give a file of YAML or JSON."
        ) from error
    if not isinstance(content, dict):
        raise DeploymentError(
            f"{file_key} {str(path)!r} holds no fields: write instance_type: {_INSTANCE_TYPE} and the like."
        )
    return content


def _loaded(load: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    from azure.ai.ml.exceptions import ValidationException
    from marshmallow import ValidationError

    try:
        return load(io.StringIO(yaml.safe_dump(dict(fields))))
    except (ValidationError, ValidationException) as error:
        # Azure's sentence, without its pointers to tools and pages.
        said = re.sub(r"\s+", " ", str(error).partition("Visit this link")[0].partition("failed:")[2] or str(error))
        raise DeploymentError(
            f"config is refused by azure-ai-ml: {said.strip()}. Correct or leave out the field."
        ) from error
