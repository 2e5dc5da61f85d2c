"""MLflow 3 on an Azure ML workspace: tracking store, artifacts, logged models and model registry for ``azureml://``.

It imports `azure` and what is below, and knows neither the workspaces' pages nor dual tracking: it would serve by
itself. Start reading at `tracking_store`, then `artifact_repository` and `model_registry`; `plugin` tells MLflow of
them. Names are loaded when first used: MLflow loads this room in the middle of its own import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.lazy_names import lazy_names

if TYPE_CHECKING:
    from adbazureml.azureml_mlflow.artifact_repository import AzureMLArtifactRepository
    from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
    from adbazureml.azureml_mlflow.inherited_variables import find_inherited_variables
    from adbazureml.azureml_mlflow.model_registry import AzureMLModelRegistry
    from adbazureml.azureml_mlflow.tracking_store import AzureMLStore

_FILE_OF = {
    "AzureMLArtifactRepository": "artifact_repository",
    "AzureMLModelRegistry": "model_registry",
    "AzureMLStore": "tracking_store",
    "azureml_experiment_name": "experiment_names",
    "find_inherited_variables": "inherited_variables",
}

__all__ = [
    "AzureMLArtifactRepository",
    "AzureMLModelRegistry",
    "AzureMLStore",
    "azureml_experiment_name",
    "find_inherited_variables",
]

__getattr__ = lazy_names(__name__, _FILE_OF)
