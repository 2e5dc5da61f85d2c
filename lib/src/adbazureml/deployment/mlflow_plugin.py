"""MLflow's deployment client for ``azureml://``: `mlflow.deployments.get_deploy_client` and ``mlflow deployments``.

azureml-mlflow brings a client of the same scheme, whose deployments of models of MLflow 3 do not start. This one takes
and returns what that one does, and brings models up as `adbazureml.deploy` does: with an environment that holds the
inference server, with our scoring script, and compared with the model before anybody is told that it serves. The
registration is in the wheel's entry points; `azureml_mlflow.plugin` makes it the one that counts.

MLflow takes the only class of this module that is a deployment client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import mlflow.deployments as mlflow_deployments

from adbazureml.azure.refusals import is_missing
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.azureml_mlflow.connection import connect
from adbazureml.azureml_mlflow.mlflow_errors import Code, code_of, mlflow_error, status_of
from adbazureml.deployment.api import deploy
from adbazureml.deployment.model_lookup import check_servable, find_model, register_unnamed, register_where_missing
from adbazureml.deployment.progress_line import progress
from adbazureml.deployment.rollout import WHOLE, RollOut, shared
from adbazureml.deployment.scoring_client import request_of
from adbazureml.deployment.target import Deadline, EndpointState
from adbazureml.deployment.targets import Local, ManagedOnline
from adbazureml.deployment.targets.managed_online import configuration
from adbazureml.deployment.targets.managed_online.configured import ConfiguredEndpoints
from adbazureml.deployment.targets.managed_online.errors import explaining_errors
from adbazureml.errors import AdbAzureMLError
from adbazureml.workspaces import AzureMLWorkspace

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint
    from azureml.mlflow.deploy._mir.mir_deployment_client import MirDeploymentClient
    from mlflow.exceptions import MlflowException

    from adbazureml.deployment.deployable import Deployable

_FLAVOR = "python_function"
_Answer = TypeVar("_Answer")


class AzureMLDeploymentClient(mlflow_deployments.BaseDeploymentClient):
    """Managed online endpoints of an Azure ML workspace, as MLflow's deployment clients offer them.

    What goes wrong is a `mlflow.exceptions.MlflowException`: ``RESOURCE_DOES_NOT_EXIST``, ``RESOURCE_CONFLICT``,
    ``INVALID_PARAMETER_VALUE`` for what the caller can correct, ``INTERNAL_ERROR`` with the service's reason and the
    end of the deployment's log.

    Parameters
    ----------
    target_uri : str
        Tracking URI of the workspace, such as `AzureMLWorkspace.tracking_uri`.

    Attributes
    ----------
    poll : float
        Seconds between two looks at something that takes minutes.
    """

    poll: float = 5

    def __init__(self, target_uri: str):
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        with _mlflow_errors("INVALID_PARAMETER_VALUE"):
            self.workspace = AzureMLWorkspace.from_uri(target_uri)

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy a model, wait until it is healthy, and compare its answers to its input example with its own.

        Parameters
        ----------
        name : str
            The deployment.
        model_uri : str
            Any URI of a model that MLflow resolves, or a local folder. One that is in no registry is registered in
            Azure ML as ``<name>-model``.
        flavor : str, optional
            ``python_function``, which is served.
        config : mapping, optional
            Fields of a managed online deployment, such as ``instance_type``, or ``deploy-config-file``, a file of them:
            https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
        endpoint : str, optional
            The endpoint, whose traffic stays as it is. Without, one of the deployment's name is made where it is
            missing, and all its traffic goes there.

        Returns
        -------
        dict
            As `get_deployment`.
        """
        _check_flavor(flavor)
        where = endpoint or name
        with _mlflow_errors():
            fields = _fields(config, configuration.DEPLOYMENT_FILE)
            target = self._deploying(_configured(fields, name=name, endpoint=where))
            before = target.find(where)
            _check_free(before, name, endpoint)
            model = self._registered(model_uri, name, target)
            with progress(f"endpoint {where!r}") as show:
                deadline = Deadline.after(target.timeout)
                RollOut(
                    target=target, name=where, deployment=name, model=model, progress=show, deadline=deadline
                ).run_beside(before)
                if endpoint is None:
                    target.shift(where, {name: WHOLE}, progress=show, deadline=deadline)
        return self.get_deployment(name, where)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Change a deployment in place, as Azure ML does it: instance by instance.

        A deployment that is tried before it takes the place of another is a new one: `create_deployment`, then
        `update_endpoint`.

        Parameters
        ----------
        name, flavor, endpoint
            As `create_deployment` takes them.
        model_uri : str, optional
            Another model; without, the one that it has stays.
        config : mapping, optional
            The fields to change, as `create_deployment` takes them; all others stay as they are.

        Returns
        -------
        dict
            As `get_deployment`.
        """
        _check_flavor(flavor)
        where = endpoint or name
        with _mlflow_errors():
            fields = _fields(config, configuration.DEPLOYMENT_FILE)
            found = self._asking.find_deployment(where, name)
            if found is None:
                raise _missing(f"deployment {name!r} of endpoint {where!r}")
            if fields:
                configuration.set_fields(found, fields, _configured(fields, name=name, endpoint=where))
            target = self._deploying(found)
            model = None if model_uri is None else self._registered(model_uri, name, target)
            with progress(f"endpoint {where!r}") as show:
                deadline = Deadline.after(target.timeout)
                if model is not None:
                    model.prepare()
                target.update_deployment(where, name, model, progress=show, deadline=deadline)
                if model is not None:
                    RollOut(
                        target=target, name=where, deployment=name, model=model, progress=show, deadline=deadline
                    ).compare()
        return self.get_deployment(name, where)

    def delete_deployment(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,  # noqa: ARG002 (MLflow's signature)
        endpoint: str | None = None,
        *,
        delete_empty_endpoint: bool = False,
    ) -> None:
        """Delete a deployment; one that is gone is no error. Its traffic goes to those that have some.

        Parameters
        ----------
        name, endpoint
            As `create_deployment` takes them.
        delete_empty_endpoint : bool
            Delete the endpoint as well, where it holds no other.
        """
        where = endpoint or name
        with _mlflow_errors():
            target = self._asking
            found = target.find(where)
            if found is None:
                return
            others = {one: share for one, share in found.traffic.items() if one != name}
            if delete_empty_endpoint and {one.name for one in found.deployments} <= {name}:
                target.delete(where)
                return
            with progress(f"endpoint {where!r}") as show:
                if name in found.traffic:
                    left = shared(others, WHOLE) if others else {}
                    target.shift(where, left, progress=show, deadline=Deadline.after(target.timeout))
            target.remove(where, name)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments of an endpoint, or of all, each with the name and the addresses of its endpoint."""
        if endpoint is not None:
            return self._asked(f"endpoint {endpoint!r}", lambda: self._rest.list_deployments(endpoint))
        return [
            {
                **one,
                "endpointName": each["name"],
                "scoringUri": each["properties"].get("scoringUri"),
                "swaggerUri": each["properties"].get("swaggerUri"),
            }
            for each in self.list_endpoints()
            for one in self.list_deployments(each["name"])
        ]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return a deployment as Azure's REST API describes it, ``name`` and ``properties``, with its ``flavor``."""
        where = endpoint or name
        found = self._asked(
            f"deployment {name!r} of endpoint {where!r}", lambda: self._rest.get_deployment(name, where)
        )
        return {**found, "flavor": _FLAVOR}

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None, *, df: Any = None
    ) -> Any:
        """Ask an endpoint for predictions.

        Parameters
        ----------
        deployment_name : str, optional
            With ``endpoint``, the deployment to ask whatever its traffic is; without, the endpoint of that name.
        inputs : DataFrame, ndarray or dict of ndarray
            The rows, or tensors; ``df``, as azureml-mlflow and Microsoft's examples call it, is the same.
        endpoint : str, optional
            The endpoint, whose traffic decides where no deployment is named.

        Returns
        -------
        DataFrame or ndarray
            A row a prediction; an array for tensors.
        """
        import numpy as np
        import pandas as pd

        where = endpoint or deployment_name
        if where is None:
            raise mlflow_error("predict: give deployment_name or endpoint.", "INVALID_PARAMETER_VALUE")
        rows = inputs if df is None else df
        with _mlflow_errors():
            answer = self._asking.score(where, _payload(rows), deployment=deployment_name if endpoint else None)
        return pd.DataFrame(answer) if isinstance(rows, pd.DataFrame) else np.array(answer)

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make an endpoint without a deployment.

        Parameters
        ----------
        config : mapping, optional
            Fields of an online endpoint, such as ``auth_mode``, or ``endpoint-config-file``, a file of them:
            https://learn.microsoft.com/azure/machine-learning/reference-yaml-endpoint-online
        """
        with _mlflow_errors():
            wanted = _configured_endpoint(_fields(config, configuration.ENDPOINT_FILE), name=name)
            target = self._asking
            if target.find_endpoint(name) is not None:
                raise mlflow_error(
                    f"endpoint {name!r} exists already: choose another name, or update it.", "RESOURCE_CONFLICT"
                )
            with progress(f"endpoint {name!r}") as show:
                target.put_endpoint(wanted, progress=show, deadline=Deadline.after(target.timeout))
        return self.get_endpoint(name)

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Change an endpoint, such as its ``traffic``; fields that ``config`` does not name stay as they are."""
        with _mlflow_errors():
            fields = _fields(config, configuration.ENDPOINT_FILE)
            given = _configured_endpoint(fields, name=endpoint)
            target = self._asking
            found = target.find_endpoint(endpoint)
            if found is None:
                raise _missing(f"endpoint {endpoint!r}")
            configuration.set_fields(found, fields, given)
            with progress(f"endpoint {endpoint!r}") as show:
                target.put_endpoint(found, progress=show, deadline=Deadline.after(target.timeout))
        return self.get_endpoint(endpoint)

    def delete_endpoint(self, endpoint: str) -> None:
        """Delete an endpoint with its deployments; one that is gone is no error."""
        with _mlflow_errors():
            self._asking.delete(endpoint)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Return the workspace's online endpoints, each as `get_endpoint`."""
        return self._asked("the endpoints of the workspace", self._rest.list_endpoints)

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Return an endpoint as Azure's REST API describes it: ``name``, and ``properties`` such as ``scoringUri``."""
        return self._asked(f"endpoint {endpoint!r}", lambda: self._rest.get_endpoint(endpoint))

    @cached_property
    def _rest(self) -> MirDeploymentClient:
        """The part of azureml-mlflow that gives its client's dicts their shape."""
        from azureml.mlflow.deploy._mir.mir_deployment_client import MirDeploymentClient

        address = WorkspaceAddress.find(self.target_uri)
        assert address is not None
        return MirDeploymentClient(connect(address))

    @cached_property
    def _asking(self) -> ConfiguredEndpoints:
        """What is asked for endpoints that are there; it remembers their addresses and keys between predictions."""
        longest = ManagedOnline.longest_request
        return ConfiguredEndpoints(self.workspace, ManagedOnline(request_timeout=longest, poll=self.poll))

    def _deploying(self, configured: OnlineDeployment) -> ConfiguredEndpoints:
        options = ManagedOnline(
            instance_type=configured.instance_type or ManagedOnline().instance_type,
            instance_count=configured.instance_count or 1,
            poll=self.poll,
        )
        return ConfiguredEndpoints(self.workspace, options, configured=configured)

    def _registered(self, model_uri: str, deployment: str, target: ConfiguredEndpoints) -> Deployable:
        """The model, in the Azure ML registry."""
        found = find_model(model_uri, self.workspace)
        with _mlflow_errors("INVALID_PARAMETER_VALUE"):
            check_servable(found, accept_slow=False)
        if found.azureml is None and found.databricks is None:
            return register_unnamed(found, f"{deployment}-model", self.workspace)
        return register_where_missing(found, model_uri, target, self.workspace)

    def _asked(self, what: str, ask: Callable[[], _Answer]) -> _Answer:
        from azure.core.exceptions import AzureError

        with _mlflow_errors():
            try:
                return ask()
            except AzureError as error:
                if is_missing(error):
                    raise _missing(what) from None
                with explaining_errors(what):
                    raise


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Deploy a model on this machine, where it stays until `adbazureml.deployment.find_endpoint` deletes it.

    Parameters
    ----------
    config : mapping, optional
        ``port``: its port; without, a free one.
    """
    _check_flavor(flavor)
    with _mlflow_errors():
        deploy(model_uri, name=name, target=Local(port=int((config or {}).get("port", 0)), keep=True))


def target_help() -> str:
    """Return what ``mlflow deployments help -t azureml`` shows."""
    return (
        "target: the tracking URI of an Azure ML workspace, as AzureMLWorkspace.get(…).tracking_uri has it.\n"
        "config of create and update: fields of Azure ML's managed online deployments, such as -C"
        " instance_type=Standard_DS3_v2, or -C deploy-config-file=FILE with a file of them in YAML or JSON.\n"
        "config of create-endpoint and update-endpoint: fields of Azure ML's online endpoints, such as -C"
        " auth_mode=key, or -C endpoint-config-file=FILE.\n"
        "config of run-local: -C port=8080."
    )


@contextmanager
def _mlflow_errors(code: Code | None = None) -> Iterator[None]:
    """Raise our errors as MLflow's, which callers of its API expect; without a code, with that of their cause."""
    try:
        yield
    except AdbAzureMLError as error:
        status = status_of(error.__cause__) if error.__cause__ else None
        raise mlflow_error(str(error), code or (code_of(status) if status else "INTERNAL_ERROR")) from error


def _missing(what: str) -> MlflowException:
    return mlflow_error(f"The workspace has no {what}: create it, or check the name.", "RESOURCE_DOES_NOT_EXIST")


def _check_flavor(flavor: str | None) -> None:
    if flavor not in (None, _FLAVOR):
        raise mlflow_error(f"flavor {flavor!r}: {_FLAVOR!r} is served; leave it out.", "INVALID_PARAMETER_VALUE")


def _check_free(before: EndpointState | None, name: str, endpoint: str | None) -> None:
    """Refuse a deployment that is there, and an endpoint that is missing or not for it."""
    where = endpoint or name
    if before is None:
        if endpoint:
            raise _missing(f"endpoint {endpoint!r}")
        return
    if before.kind != "azureml":
        raise mlflow_error(
            f"endpoint {where!r} is one of a Kubernetes cluster: use adbazureml.deploy(…, target=Kubernetes(…)).",
            "INVALID_PARAMETER_VALUE",
        )
    there = before.deployment(name)
    if there and there.state != "failed":
        raise mlflow_error(
            f"deployment {name!r} of endpoint {where!r} exists already: update it, or choose another name.",
            "RESOURCE_CONFLICT",
        )
    if not endpoint and before.traffic:
        raise mlflow_error(
            f"endpoint {where!r} serves {', '.join(map(repr, before.traffic))}: give endpoint={where!r} to deploy"
            " beside it, or choose another name.",
            "RESOURCE_CONFLICT",
        )


def _fields(config: Mapping[str, Any] | None, file_key: str) -> dict[str, Any]:
    with _mlflow_errors("INVALID_PARAMETER_VALUE"):
        return configuration.read_fields(config, file_key)


def _configured(fields: Mapping[str, Any], *, name: str, endpoint: str) -> OnlineDeployment:
    with _mlflow_errors("INVALID_PARAMETER_VALUE"):
        return configuration.deployment_of(fields, name=name, endpoint=endpoint)


def _configured_endpoint(fields: Mapping[str, Any], *, name: str) -> OnlineEndpoint:
    with _mlflow_errors("INVALID_PARAMETER_VALUE"):
        return configuration.endpoint_of(fields, name=name)


def _payload(rows: Any) -> dict[str, Any]:
    """Rows or tensors as both our scoring script and Microsoft's own take them."""
    import pandas as pd

    if not isinstance(rows, pd.DataFrame):
        return request_of({"input_data": rows})
    split = request_of(rows)["dataframe_split"]
    return {"input_data": {**split, "index": list(range(len(rows)))}}
