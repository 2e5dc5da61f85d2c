"""What can be chosen of an online endpoint on a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from adbazureml.deployment.target import Auth, Kind
from adbazureml.deployment.target_options import azureml_workspace
from adbazureml.deployment.targets.managed_online.options import OnlineOptions

if TYPE_CHECKING:
    from adbazureml.deployment.target import Target
    from adbazureml.workspaces import AzureMLWorkspace


@dataclass(frozen=True, kw_only=True)
class Kubernetes(OnlineOptions):
    """An online endpoint of Azure ML on a Kubernetes cluster that is attached to the workspace, such as AKS.

    Attributes
    ----------
    compute : str
        Name of the cluster as it is attached to the workspace.
    instance_type : str
        An instance type of the cluster; empty: its default.
    instance_count : int
        How many.
    auth : {"key", "token"}
        How callers sign in.
    collect : bool
        Keep inputs and outputs, for monitoring.
    environment : mapping of str to str
        Environment variables that the model gets beside those that its server needs; who may read the deployment in
        Azure ML reads them too.
    request_timeout : float
        Seconds in which one request must be answered, up to 300.
    poll : float
        Seconds between two looks at something that takes minutes.
    """

    kind: ClassVar[Kind] = "aks"
    set_by: ClassVar[Mapping[str, str]] = {**OnlineOptions.set_by, "compute": "compute"}
    # See `ManagedOnline`.
    longest_request: ClassVar[float] = 300
    auths: ClassVar[tuple[Auth, ...]] = ("key", "token")

    compute: str
    auth: Literal["key", "token"] = "key"

    def connect(self, workspace: AzureMLWorkspace | None) -> Target:
        """Return the target; see `TargetOptions.connect`."""
        from adbazureml.deployment.targets.kubernetes.endpoints import KubernetesEndpoints

        return KubernetesEndpoints(azureml_workspace(workspace, self.kind), self)
