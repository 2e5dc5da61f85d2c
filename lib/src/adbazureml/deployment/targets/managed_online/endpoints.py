"""Managed online endpoints of Azure ML, and what they have in common with those on a Kubernetes cluster."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adbazureml.azure.refusals import is_missing
from adbazureml.deployment.live_comparison import Minute
from adbazureml.deployment.load_test import Caller
from adbazureml.deployment.target import (
    Auth,
    Deadline,
    DeploymentState,
    EndpointState,
    Kind,
    Progress,
    State,
    Target,
    with_log,
)
from adbazureml.deployment.targets.managed_online.errors import explaining_errors
from adbazureml.deployment.targets.managed_online.live_requests import read_live_requests
from adbazureml.deployment.targets.managed_online.operations import carry_out
from adbazureml.deployment.targets.managed_online.scoring_client import Scorer
from adbazureml.errors import DeploymentError
from adbazureml.workspaces.ml_client import ml_client

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import DataCollector, OnlineDeployment, OnlineEndpoint
    from azure.core.polling import LROPoller

    from adbazureml.deployment.deployable import Deployable
    from adbazureml.deployment.targets.managed_online.options import OnlineOptions
    from adbazureml.workspaces import AzureMLWorkspace

# The base of Microsoft's own images for the inference server: it starts what a conda environment brings.
IMAGE = "mcr.microsoft.com/azureml/inference-base-2204:latest"
# Workers of the inference server, which answers one request in each; Azure ML lets as many through, 1 by itself, and
# holds the others back. With one, a slow request would keep all others waiting.
_WORKERS = 2
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30}[A-Za-z0-9])")
# Enough to reach over what the inference server notes after an error.
_LOG_LINES = 200
# As the scoring script names them.
_COLLECTED = ("model_inputs", "model_outputs")
_NOTE = re.compile(r"\S+ \S+ I \[\d+\] ")
_AUTH: dict[str, Auth] = {"key": "key", "aml_token": "token", "aad_token": "aad"}
_MODEL_TAG, _FINGERPRINT_TAG = "adbazureml_model", "adbazureml_fingerprint"
_STATES: dict[str, State] = {"Succeeded": "healthy", "Failed": "failed", "Canceled": "failed", "Deleting": "deleting"}


@dataclass(frozen=True, eq=False)
class OnlineEndpoints(Target):
    """Managed online endpoints of an Azure ML workspace, see `adbazureml.deployment.target.Target`."""

    workspace: AzureMLWorkspace
    options: OnlineOptions
    kind: Kind = "azureml"
    registry: Literal["azureml"] = "azureml"
    splits_traffic: bool = True
    # An image takes up to 20 minutes, machines some more.
    timeout: float = 3600

    @cached_property
    def _client(self) -> MLClient:
        return ml_client(self.workspace, poll=self.options.poll)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self._client, timeout=self.options.request_timeout)

    # What the api asks

    def check(self, name: str, model: Deployable) -> None:
        """Raise for names, parameters, a model or an endpoint that can't be used; see `Target.check`."""
        if not _NAME.fullmatch(name):
            raise DeploymentError(
                f"name {name!r} is refused by Azure ML: use 3 to 32 letters, digits and '-', a letter first"
                " and no '-' last."
            )
        self._check_options()
        if model.azureml is None:
            raise DeploymentError(
                f"{model.uri} is not registered in Azure ML, where target {self.kind!r} takes it from: register"
                " it there first."
            )
        with explaining_errors(f"model {':'.join(model.azureml)}"):
            self._client.models.get(*model.azureml)
        found = self.find(name)
        if found and found.kind != self.kind:
            raise DeploymentError(
                f"name {name!r} is an endpoint of target {found.kind!r}: choose another name, or target {found.kind!r}."
            )
        if found and found.auth != self.options.auth:
            raise DeploymentError(
                f"auth {self.options.auth!r}: endpoint {name!r} has {found.auth!r}, which can't be changed. Set auth to"
                " it, or choose another name."
            )

    def find(self, name: str) -> EndpointState | None:
        """Return what the endpoint is now; see `Target.find`."""
        with explaining_errors(f"endpoint {name!r}"):
            endpoint = self._endpoint(name)
            return None if endpoint is None else self._described(endpoint)

    def create(self, name: str, deployment: str, model: Deployable, *, progress: Progress, deadline: Deadline) -> None:
        """Make endpoint and deployment, and wait for its health; see `Target.create`."""
        if not _NAME.fullmatch(deployment):
            raise DeploymentError(f"The deployment name {deployment!r} is refused by Azure ML.")
        instances = f"{self.options.instance_count} x {self.options.instance_type or 'the default'}"
        with explaining_errors(f"endpoint {name!r}"):
            self._create_endpoint(name, progress, deadline)
        try:
            with explaining_errors(f"deployment {deployment!r} of endpoint {name!r}", instances=instances):
                self._create_deployment(name, deployment, model, progress, deadline)
        except DeploymentError as error:
            raise with_log(str(error), self._log_if_any(name, deployment), source="the deployment's log") from None

    def score(self, name: str, payload: Mapping[str, Any], *, deployment: str | None = None) -> Any:
        """Ask for predictions; see `Target.score`."""
        with explaining_errors(f"endpoint {name!r}"):
            return self._scorer.score(name, payload, deployment=deployment)

    def caller(self, name: str) -> Caller:
        """Return a connection as callers have it; see `Target.caller`."""
        with explaining_errors(f"endpoint {name!r}"):
            return self._scorer.caller(name)

    def shift(self, name: str, traffic: Mapping[str, int], *, progress: Progress, deadline: Deadline) -> None:
        """Share the traffic; see `Target.shift`."""
        wanted = {deployment: share for deployment, share in traffic.items() if share}
        shares = ", ".join(f"{deployment} {share} %" for deployment, share in wanted.items())
        with explaining_errors(f"traffic of endpoint {name!r}"):
            for waited in deadline.polls(self.options.poll):
                endpoint = self._client.online_endpoints.get(name)
                if {one: share for one, share in endpoint.traffic.items() if share} == wanted:
                    return
                endpoint.traffic = dict(wanted)
                begin = partial(self._client.online_endpoints.begin_create_or_update, endpoint)
                if not self._carry_out(begin, f"traffic of {name}: {shares}", progress, deadline):
                    progress(f"waiting to shift traffic of {name}, {waited:.0f} s")
        raise deadline.missed(f"traffic of endpoint {name!r} was not shifted")

    def live(self, name: str, since: datetime) -> Mapping[str, Mapping[datetime, Minute]]:
        """Return the requests of callers, as Azure Monitor counts them; see `Target.live`."""
        return read_live_requests(self.workspace, name, since)

    def logs(self, name: str, deployment: str, lines: int) -> str:
        """Return the end of a deployment's log; see `Target.logs`."""
        with explaining_errors(f"log of deployment {deployment!r} of endpoint {name!r}"):
            return str(self._client.online_deployments.get_logs(deployment, name, lines=lines))

    def remove(self, name: str, deployment: str) -> None:
        """Delete a deployment; see `Target.remove`."""
        with explaining_errors(f"deployment {deployment!r} of endpoint {name!r}"):
            self._remove(name, deployment, _no_progress, Deadline.after(self.timeout))

    def delete(self, name: str) -> None:
        """Delete an endpoint with its deployments; see `Target.delete`."""
        deadline = Deadline.after(self.timeout)
        with explaining_errors(f"endpoint {name!r}"):
            for _ in deadline.polls(self.options.poll):
                if self._endpoint(name) is None:
                    return
                begin = partial(self._client.online_endpoints.begin_delete, name)
                self._carry_out(begin, f"deleting endpoint {name}", _no_progress, deadline)
        raise deadline.missed(f"endpoint {name!r} is still there")

    def list(self) -> list[EndpointState]:
        """Return the endpoints of this package; see `Target.list`."""
        with explaining_errors("the endpoints of the workspace"):
            found = [self._described(one) for one in self._client.online_endpoints.list() if self._is_ours(one)]
        mine = [one for one in found if any(each.fingerprint for each in one.deployments)]
        return sorted(mine, key=lambda one: one.name)

    # What differs on Kubernetes

    def _check_options(self) -> None:
        """Raise for options that only the workspace can judge."""

    def _new_endpoint(self, name: str) -> OnlineEndpoint:
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        return ManagedOnlineEndpoint(name=name, auth_mode=self._auth_mode)

    def _new_deployment(self, **properties: Any) -> OnlineDeployment:
        from azure.ai.ml.entities import ManagedOnlineDeployment

        return ManagedOnlineDeployment(**properties)

    # How it is done

    @property
    def _auth_mode(self) -> str:
        return next(mode for mode, auth in _AUTH.items() if auth == self.options.auth)

    def _endpoint(self, name: str) -> OnlineEndpoint | None:
        from azure.core.exceptions import HttpResponseError

        try:
            found: OnlineEndpoint = self._client.online_endpoints.get(name)
        except HttpResponseError as error:
            if is_missing(error):
                return None
            raise
        return found

    def _deployment(self, name: str, deployment: str) -> OnlineDeployment | None:
        from azure.core.exceptions import HttpResponseError

        try:
            found: OnlineDeployment = self._client.online_deployments.get(deployment, name)
        except HttpResponseError as error:
            if is_missing(error):
                return None
            raise
        return found

    def _is_ours(self, endpoint: OnlineEndpoint) -> bool:
        return _kind(endpoint) == self.kind

    def _described(self, endpoint: OnlineEndpoint) -> EndpointState:
        traffic = endpoint.traffic or {}
        name = str(endpoint.name)
        deployments = [
            _deployment_state(one, int(traffic.get(one.name, 0))) for one in self._client.online_deployments.list(name)
        ]
        return EndpointState(
            name=name,
            kind=_kind(endpoint),
            url=endpoint.scoring_uri or "",
            auth=_AUTH[str(endpoint.auth_mode).lower()],
            deployments=tuple(sorted(deployments, key=lambda one: one.made.timestamp() if one.made else 0.0)),
            page=self.workspace.endpoint_url(name),
        )

    def _create_endpoint(self, name: str, progress: Progress, deadline: Deadline) -> None:
        for waited in deadline.polls(self.options.poll):
            endpoint = self._endpoint(name)
            state = None if endpoint is None else state_of(endpoint)
            if state == "healthy":
                return
            if state in (None, "failed"):
                # One that failed is put again as it is: what serves on it goes on.
                wanted = endpoint or self._new_endpoint(name)
                begin = partial(self._client.online_endpoints.begin_create_or_update, wanted)
                if self._carry_out(begin, f"creating endpoint {name}", progress, deadline):
                    continue
            progress(f"waiting for endpoint {name}, {waited:.0f} s")
        raise deadline.missed(f"endpoint {name!r} is not ready")

    def _create_deployment(
        self, name: str, deployment: str, model: Deployable, progress: Progress, deadline: Deadline
    ) -> None:
        began = False
        for waited in deadline.polls(self.options.poll):
            found = self._deployment(name, deployment)
            state = None if found is None else state_of(found)
            if found is not None and state == "healthy" and _fingerprint(found) == model.fingerprint:
                return
            if state == "failed" and began:
                raise DeploymentError(f"Deployment {deployment!r} of endpoint {name!r} failed.")
            if state == "failed":
                # It failed in an earlier run, for reasons that may have gone.
                self._remove(name, deployment, progress, deadline)
            if state in (None, "failed", "healthy"):
                began = self._begin_deployment(name, deployment, model, progress, deadline)
                if began:
                    continue
            progress(f"waiting for deployment {deployment}, {waited:.0f} s")
        raise deadline.missed(f"deployment {deployment!r} of endpoint {name!r} is not healthy")

    def _begin_deployment(
        self, name: str, deployment: str, model: Deployable, progress: Progress, deadline: Deadline
    ) -> bool:
        from azure.ai.ml.entities import CodeConfiguration, OnlineRequestSettings

        assert model.azureml is not None
        progress(f"environment and code of {deployment}")
        environment = self._environment(model)
        with tempfile.TemporaryDirectory() as folder:
            # A folder of its own: beside a script that was run there are compiled files, and Azure ML tells one upload
            # from another by all that is there.
            code = Path(folder) / "adbazureml"
            code.mkdir()
            shutil.copy(model.folder.code / model.folder.script, code)
            wanted = self._new_deployment(
                name=deployment,
                endpoint_name=name,
                model=f"azureml:{':'.join(model.azureml)}",
                environment=environment,
                code_configuration=CodeConfiguration(code=str(code), scoring_script=model.folder.script),
                instance_type=self.options.instance_type,
                instance_count=self.options.instance_count,
                # MLflow opens its store as a model is loaded, by default in a folder that can't be written there.
                environment_variables={
                    "MLFLOW_TRACKING_URI": "file:///tmp/mlruns",
                    "WORKER_COUNT": str(_WORKERS),
                    **self.options.environment,
                },
                request_settings=OnlineRequestSettings(
                    request_timeout_ms=round(self.options.request_timeout * 1000),
                    max_concurrent_requests_per_instance=_WORKERS,
                ),
                data_collector=self._data_collector(),
                tags={_MODEL_TAG: model.uri, _FINGERPRINT_TAG: model.fingerprint},
            )
            begin = partial(self._client.online_deployments.begin_create_or_update, wanted)
            return self._carry_out(begin, f"creating deployment {deployment}", progress, deadline)

    def _data_collector(self) -> DataCollector | None:
        """Have Azure ML keep what the scoring script collects, each collection as a data asset."""
        from azure.ai.ml.entities import DataCollector, DeploymentCollection

        if not self.options.collect:
            return None
        return DataCollector({name: DeploymentCollection(enabled="true") for name in _COLLECTED})

    def _environment(self, model: Deployable) -> str:
        """Id of the environment, which is named by what it holds: the same for the same pins."""
        from azure.ai.ml.entities import Environment

        conda = model.folder.conda
        digest = hashlib.sha256(f"{IMAGE}\n{conda.read_text(encoding='utf-8')}".encode()).hexdigest()[:16]
        environment = Environment(name=f"adbazureml-{digest}", version="1", image=IMAGE, conda_file=str(conda))
        return str(self._client.environments.create_or_update(environment).id)

    def _remove(self, name: str, deployment: str, progress: Progress, deadline: Deadline) -> None:
        for waited in deadline.polls(self.options.poll):
            if self._deployment(name, deployment) is None:
                return
            begin = partial(self._client.online_deployments.begin_delete, deployment, name)
            if not self._carry_out(begin, f"deleting deployment {deployment}", progress, deadline):
                progress(f"waiting to delete deployment {deployment}, {waited:.0f} s")
        raise deadline.missed(f"deployment {deployment!r} of endpoint {name!r} is still there")

    def _carry_out(
        self, begin: Callable[[], LROPoller[Any]], what: str, progress: Progress, deadline: Deadline
    ) -> bool:
        return carry_out(begin, what, progress=progress, deadline=deadline, poll=self.options.poll)

    def _log_if_any(self, name: str, deployment: str) -> str:
        """What went wrong, as far as the log tells: without the server's notes, such as its list of the files."""
        try:
            log = self.logs(name, deployment, _LOG_LINES)
        except DeploymentError:
            return ""
        return "\n".join(line for line in log.splitlines() if not _NOTE.match(line)) or log


def state_of(one: OnlineEndpoint | OnlineDeployment) -> State:
    """Say what Azure ML's state of an endpoint or a deployment means."""
    return _STATES.get(one.provisioning_state or "", "creating")


def _fingerprint(deployment: OnlineDeployment) -> str:
    return str((deployment.tags or {}).get(_FINGERPRINT_TAG, ""))


def _kind(endpoint: OnlineEndpoint) -> Kind:
    return "aks" if getattr(endpoint, "compute", None) else "azureml"


def _deployment_state(deployment: OnlineDeployment, traffic: int) -> DeploymentState:
    created = getattr(deployment, "creation_context", None)
    return DeploymentState(
        name=str(deployment.name),
        model=str((deployment.tags or {}).get(_MODEL_TAG, "")),
        fingerprint=_fingerprint(deployment),
        state=state_of(deployment),
        traffic=traffic,
        made=getattr(created, "created_at", None),
    )


def _no_progress(_: str) -> None:
    """Tell nobody."""
