"""What can be chosen of an online endpoint of Azure ML, on managed machines or a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from adbazureml.deployment.target import Auth, Kind
from adbazureml.deployment.target_options import OptionsWithEnvironment, azureml_workspace

if TYPE_CHECKING:
    from adbazureml.deployment.target import Target
    from adbazureml.workspaces import AzureMLWorkspace

# Smaller machines are too small for endpoints, says Microsoft.
_INSTANCE_TYPE = "Standard_DS3_v2"


@dataclass(frozen=True, kw_only=True)
class OnlineOptions(OptionsWithEnvironment):
    """What managed machines and a cluster have in common; see `ManagedOnline`."""

    set_by: ClassVar[Mapping[str, str]] = {"instance_type": "instance_type"}
    of_deployment: ClassVar[tuple[str, ...]] = ("instance_type", "instance_count", "collect", "request_timeout")
    auths: ClassVar[tuple[Auth, ...]]

    instance_type: str = ""
    instance_count: int = 1
    auth: Auth = "key"
    collect: bool = False
    poll: float = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auth not in self.auths:
            raise self.wrong("auth", f"expected one of {', '.join(map(repr, self.auths))}", example="key")
        if self.instance_count < 1:
            raise self.wrong("instance_count", "expected 1 or more", example=1)


@dataclass(frozen=True, kw_only=True)
class ManagedOnline(OnlineOptions):
    """A managed online endpoint of Azure ML.

    Attributes
    ----------
    instance_type : str
        Size of the virtual machines.
    instance_count : int
        How many.
    auth : {"key", "token", "aad"}
        How callers sign in: "aad" by Microsoft Entra.
    collect : bool
        Keep inputs and outputs, for monitoring.
    environment : mapping of str to str
        Environment variables that the model gets beside those that its server needs; who may read the deployment in
        Azure ML reads them too.
    request_timeout : float
        Seconds in which one request must be answered, up to 180.
    poll : float
        Seconds between two looks at something that takes minutes.
    """

    kind: ClassVar[Kind] = "azureml"
    # Microsoft's limit of one request: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
    longest_request: ClassVar[float] = 180
    auths: ClassVar[tuple[Auth, ...]] = ("key", "token", "aad")

    instance_type: str = _INSTANCE_TYPE
    auth: Literal["key", "token", "aad"] = "key"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.instance_type:
            raise self.wrong("instance_type", "name a size of virtual machines", example=_INSTANCE_TYPE)

    def connect(self, workspace: AzureMLWorkspace | None) -> Target:
        """Return the target; see `TargetOptions.connect`."""
        from adbazureml.deployment.targets.managed_online.endpoints import OnlineEndpoints

        return OnlineEndpoints(azureml_workspace(workspace, self.kind), self)
