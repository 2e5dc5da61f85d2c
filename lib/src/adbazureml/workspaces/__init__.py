"""The two workspaces: their names, ids, tracking stores and links. Without a cloud, stand-ins in a local folder."""

from adbazureml.workspaces.azureml import AzureMLWorkspace
from adbazureml.workspaces.creation import create_workspace
from adbazureml.workspaces.databricks import DatabricksWorkspace
from adbazureml.azureml_mlflow.inherited_variables import LeakedVariables, inherited_from, find_inherited_variables
from adbazureml.workspaces.local_backend import quiet_migrations, local_artifact_folder
from adbazureml.workspaces.base import Workspace

__all__ = [
    "AzureMLWorkspace",
    "DatabricksWorkspace",
    "LeakedVariables",
    "Workspace",
    "create_workspace",
    "inherited_from",
    "find_inherited_variables",
    "quiet_migrations",
    "local_artifact_folder",
]
