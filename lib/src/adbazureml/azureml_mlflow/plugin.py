"""Makes ``azureml://`` URIs lead to this package.

azureml-mlflow and this wheel both name builders for the scheme ``azureml`` in MLflow's plug-in points, and MLflow keeps
whichever it happens to find last. MLflow imports run-context providers after all its stores' registries are filled, so
this one, which has no context to give, settles it when it is imported. The registries are the one private means here,
the same in 3.0 and 3.8 (pinned by a test).
"""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

from mlflow.deployments.interface import plugin_store as deployments
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.tracking._model_registry import utils as model_registry
from mlflow.tracking._tracking_service import utils as tracking
from mlflow.tracking.context.abstract_context import RunContextProvider

# Notes what the environment holds before anybody can set an experiment.
import adbazureml.azureml_mlflow.inherited_variables  # noqa: F401

_SCHEME = "azureml"


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:  # noqa: ARG001 (MLflow's signature)
    """Build the tracking store of an Azure ML workspace."""
    from adbazureml.azure.workspace_address import WorkspaceAddress
    from adbazureml.azureml_mlflow.tracking_store import AzureMLStore

    address = WorkspaceAddress.find(store_uri)
    if address is None:
        from azureml.mlflow.entry_point_loaders import azureml_store_builder

        return azureml_store_builder(store_uri)
    return AzureMLStore(address)


def registry_store(store_uri: str, **_: Any) -> Any:
    """Build the model registry of an Azure ML workspace; that of an Azure ML registry is azureml-mlflow's own."""
    from adbazureml.azure.workspace_address import WorkspaceAddress
    from adbazureml.azureml_mlflow.connection import connect
    from adbazureml.azureml_mlflow.model_registry import AzureMLModelRegistry

    address = WorkspaceAddress.find(store_uri)
    if address is None:
        from azureml.mlflow.entry_point_loaders import azureml_model_registry_builder

        return azureml_model_registry_builder(store_uri)
    return AzureMLModelRegistry(connect(address), store_uri)


def artifacts(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """Build the repository of an ``azureml://`` artifact URI; that of an Azure ML registry is azureml-mlflow's own."""
    if "/registries/" in artifact_uri:
        from azureml.mlflow.entry_point_loaders import azureml_artifacts_builder

        return azureml_artifacts_builder(artifact_uri, tracking_uri, registry_uri)
    from adbazureml.azureml_mlflow.artifact_repository import AzureMLArtifactRepository

    return AzureMLArtifactRepository(artifact_uri, tracking_uri, registry_uri)


def run_artifacts(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """Build the repository of a ``runs:/`` URI."""
    from adbazureml.azureml_mlflow.artifact_repository import AzureMLRunsArtifactRepository

    # MLflow 3.0 takes the first alone, and gives no other.
    given = {"tracking_uri": tracking_uri, "registry_uri": registry_uri}
    return AzureMLRunsArtifactRepository(artifact_uri, **{name: uri for name, uri in given.items() if uri})


class AzureMLPlugin(RunContextProvider):
    """Gives no tags: it is here to be imported."""

    def in_context(self) -> bool:
        """Never: there are no tags to give."""
        return False

    def tags(self) -> dict[str, str]:
        """None."""
        return {}


tracking._tracking_store_registry.register(_SCHEME, tracking_store)
model_registry._get_store_registry().register(_SCHEME, registry_store)
_repositories: dict[str, Any] = get_registered_artifact_repositories()
_repositories.update({_SCHEME: artifacts, "runs": run_artifacts})
for _ours in distribution("adbazureml").entry_points.select(group=deployments.group_name, name=_SCHEME):
    # By its name in the wheel: the client is in a room above this one.
    deployments.register(_SCHEME, _ours.value)
