"""The two workspaces: their names, ids, tracking stores and links. Without a cloud, stand-ins in a local folder."""

from adbazureml.workspace.azureml import AzureMLWorkspace
from adbazureml.workspace.creation import create_workspace
from adbazureml.workspace.databricks import DatabricksWorkspace
from adbazureml.workspace.leaks import LeakedVariables, inherited_from, leaked_variables
from adbazureml.workspace.stand_in import quiet_migrations, stand_in_artifacts
from adbazureml.workspace.workspace import Workspace

__all__ = [
    "AzureMLWorkspace",
    "DatabricksWorkspace",
    "LeakedVariables",
    "Workspace",
    "create_workspace",
    "inherited_from",
    "leaked_variables",
    "quiet_migrations",
    "stand_in_artifacts",
]
