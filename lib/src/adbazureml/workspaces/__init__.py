"""The two workspaces: their names, ids, tracking stores and pages; made, linked, checked, or local backends of them.

It imports `azure` and what is below. Start reading at `base` and `azureml`; `link` holds the link that Azure's portal
offers, `install` what the walk needs of a machine or cluster.
"""

from adbazureml.workspaces.azureml import AzureMLWorkspace
from adbazureml.workspaces.base import Workspace
from adbazureml.workspaces.creation import create_workspace
from adbazureml.workspaces.databricks import DatabricksWorkspace
from adbazureml.workspaces.local_backend import local_artifact_folder, quiet_migrations

__all__ = [
    "AzureMLWorkspace",
    "DatabricksWorkspace",
    "Workspace",
    "create_workspace",
    "local_artifact_folder",
    "quiet_migrations",
]
