"""What can be chosen of an endpoint in Azure Container Instances."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from adbazureml.deployment.target import Kind
from adbazureml.deployment.target_options import TargetOptions, azureml_workspace
from adbazureml.deployment.targets.container_instances.group_plan import Size

if TYPE_CHECKING:
    from adbazureml.deployment.target import Target
    from adbazureml.errors import DeploymentError
    from adbazureml.workspaces import AzureMLWorkspace

_SIZE = re.compile(r"(?P<cores>\d+(?:\.\d+)?)x(?P<memory>\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class ContainerInstances(TargetOptions):
    """A container in Azure Container Instances, in the resource group of the Azure ML workspace; callers have a key.

    Attributes
    ----------
    instance_type : str
        Cores and memory of the container: ``<cores>x<GB>``.
    registry : str
        Container registry whose tasks build the image, by its name or resource id; empty: the workspace's own.
    request_timeout : float
        Seconds in which one request must be answered.
    poll : float
        Seconds between two looks at something that takes minutes.
    """

    kind: ClassVar[Kind] = "aci"
    set_by: ClassVar[Mapping[str, str]] = {"instance_type": "instance_type", "registry": "container_registry"}
    of_deployment: ClassVar[tuple[str, ...]] = ("instance_type", "request_timeout")

    instance_type: str = "1x2"
    registry: str = ""
    poll: float = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.size.cores and self.size.memory):
            raise self._wrong_size()

    @property
    def size(self) -> Size:
        """Cores and memory, as numbers."""
        match = _SIZE.fullmatch(self.instance_type)
        if match is None:
            raise self._wrong_size()
        return Size(cores=float(match["cores"]), memory=float(match["memory"]))

    def connect(self, workspace: AzureMLWorkspace | None) -> Target:
        """Return the target; see `TargetOptions.connect`."""
        from adbazureml.deployment.targets.container_instances.endpoints import ContainerEndpoints

        return ContainerEndpoints(azureml_workspace(workspace, self.kind), self)

    def _wrong_size(self) -> DeploymentError:
        return self.wrong("instance_type", "for target 'aci' give <cores>x<GB>", example="2x4")
