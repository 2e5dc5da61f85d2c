"""What can be chosen of an endpoint of Databricks Model Serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from adbazureml.deployment.target import Kind
from adbazureml.deployment.target_options import OptionsWithEnvironment

if TYPE_CHECKING:
    from adbazureml.deployment.target import Target
    from adbazureml.workspaces import AzureMLWorkspace

_SIZES = ("Small", "Medium", "Large")


@dataclass(frozen=True, kw_only=True)
class ModelServing(OptionsWithEnvironment):
    """An endpoint of Databricks Model Serving; callers sign in with the workspace's tokens.

    Attributes
    ----------
    instance_type : {"Small", "Medium", "Large"}
        Size of the workload.
    environment : mapping of str to str
        Environment variables that the model gets beside those that its server needs; ``{{secrets/<scope>/<key>}}``
        stands for a secret of the workspace.
    request_timeout : float
        Seconds in which one request must be answered.
    poll : float
        Seconds between two looks at something that takes minutes.
    """

    kind: ClassVar[Kind] = "databricks"
    set_by: ClassVar[Mapping[str, str]] = {"instance_type": "instance_type"}
    of_deployment: ClassVar[tuple[str, ...]] = ("instance_type",)

    instance_type: str = "Small"
    poll: float = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.instance_type not in _SIZES:
            expected = f"target 'databricks' knows {', '.join(map(repr, _SIZES))}"
            raise self.wrong("instance_type", expected, example="Small")

    def connect(self, workspace: AzureMLWorkspace | None) -> Target:  # noqa: ARG002
        """Return the target, in the workspace that databricks-sdk signs in to; see `TargetOptions.connect`."""
        from adbazureml.deployment.targets.model_serving.endpoints import DatabricksServing

        return DatabricksServing(self)
