"""Azure itself: signing in, the clouds, Resource Manager, waiting for long operations, and what a refusal means.

It imports `runtime` and what is below, and knows neither MLflow nor any one service. Start reading at `credential`,
then `refusals`. Names are loaded when first used: MLflow loads this room in the middle of its own import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbazureml.lazy_names import lazy_names

if TYPE_CHECKING:
    from adbazureml.azure.clouds import Cloud, current_cloud
    from adbazureml.azure.credential import Credential, credential_for, sign_in_by
    from adbazureml.azure.long_operations import wait_for
    from adbazureml.azure.refusals import RefusedError, explaining_errors
    from adbazureml.azure.resource_manager import read_resource
    from adbazureml.azure.workspace_address import WorkspaceAddress

_FILE_OF = {
    "Cloud": "clouds",
    "Credential": "credential",
    "RefusedError": "refusals",
    "WorkspaceAddress": "workspace_address",
    "credential_for": "credential",
    "current_cloud": "clouds",
    "explaining_errors": "refusals",
    "read_resource": "resource_manager",
    "sign_in_by": "credential",
    "wait_for": "long_operations",
}

__all__ = [
    "Cloud",
    "Credential",
    "RefusedError",
    "WorkspaceAddress",
    "credential_for",
    "current_cloud",
    "explaining_errors",
    "read_resource",
    "sign_in_by",
    "wait_for",
]

__getattr__ = lazy_names(__name__, _FILE_OF)
