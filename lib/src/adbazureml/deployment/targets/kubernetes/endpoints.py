"""Online endpoints of Azure ML on a Kubernetes cluster that is attached to the workspace, such as AKS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adbazureml.azure.refusals import is_missing
from adbazureml.deployment.live_comparison import Minute
from adbazureml.deployment.target import Kind, Target
from adbazureml.deployment.targets.managed_online.endpoints import OnlineEndpoints
from adbazureml.deployment.targets.managed_online.errors import explaining_errors
from adbazureml.errors import DeploymentError

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

    from adbazureml.deployment.targets.kubernetes.options import Kubernetes


@dataclass(frozen=True, eq=False)
class KubernetesEndpoints(OnlineEndpoints):
    """Online endpoints on a cluster, see `adbazureml.deployment.target.Target`."""

    options: Kubernetes
    kind: Kind = "aks"

    def live(self, name: str, since: datetime) -> Mapping[str, Mapping[datetime, Minute]]:
        """Refuse: what a cluster measures is not in Azure Monitor's metrics of the endpoint."""
        return Target.live(self, name, since)

    def _check_options(self) -> None:
        from azure.core.exceptions import HttpResponseError

        compute = self.options.compute
        if not compute:
            raise DeploymentError(
                "compute is empty: give the name of the Kubernetes cluster as it is attached to the Azure ML workspace"
                " (studio, Compute, Kubernetes clusters), such as Kubernetes(compute='aks')."
            )
        with explaining_errors(f"compute {compute!r}"):
            try:
                kind = str(self._client.compute.get(compute).type).lower()
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                kind = ""
        if kind != "kubernetes":
            raise DeploymentError(
                f"compute {compute!r}: the workspace has no Kubernetes cluster of that name attached"
                f"{f', but one of type {kind!r}' if kind else ''} (studio, Compute, Kubernetes clusters)."
            )

    def _new_endpoint(self, name: str) -> OnlineEndpoint:
        from azure.ai.ml.entities import KubernetesOnlineEndpoint

        return KubernetesOnlineEndpoint(name=name, auth_mode=self._auth_mode, compute=self.options.compute)

    def _new_deployment(self, **properties: Any) -> OnlineDeployment:
        from azure.ai.ml.entities import KubernetesOnlineDeployment

        return KubernetesOnlineDeployment(**properties)
