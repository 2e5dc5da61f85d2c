"""Microsoft's client of Azure ML: built when needed, signed in as everything here is, and quiet."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.azure.credential import credential_for
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.errors import EnvironmentNotReadyError
from adbazureml.runtime.extras import pip_install

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from adbazureml.workspaces.azureml import AzureMLWorkspace

CONNECT_SECONDS, READ_SECONDS, RETRIES = 10.0, 30.0, 4


def ml_client(workspace: AzureMLWorkspace, *, registry: str = "", poll: float = 5.0) -> MLClient:
    """Return a client of the workspace, or of a registry, that signs in as everything else here does.

    Parameters
    ----------
    workspace : AzureMLWorkspace
        The workspace.
    registry : str
        Name of an Azure ML registry in the workspace's cloud, which is looked for at once; empty: the workspace.
    poll : float
        Seconds between two looks at an operation, where Azure asks for no other pause.

    Raises
    ------
    EnvironmentNotReadyError
        azure-ai-ml is not installed.
    """
    try:
        from azure.ai.ml import MLClient
    except ImportError as error:
        raise EnvironmentNotReadyError(
            f"Azure ML's endpoints, monitors and registries need azure-ai-ml ({error}): {pip_install('deploy')}."
        ) from error
    _silence()
    address = WorkspaceAddress.find(workspace.tracking_uri)
    assert address is not None, workspace
    cloud = workspace.cloud
    return MLClient(
        credential_for(cloud),
        address.subscription_id,
        address.resource_group,
        None if registry else address.name,
        registry_name=registry or None,
        cloud=cloud.name,
        enable_telemetry=False,
        # With it off, a failed upload waits for ever for the files that failed.
        show_progress=True,
        polling_interval=poll,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retry_total=RETRIES,
    )


def _silence() -> None:
    """Keep azure-ai-ml from printing: dots, empty lines, bars and notes, for which it has no switch.

    A global of a module goes before the built-in or imported name that the module would use.
    """
    from azure.ai.ml._artifacts import _blob_storage_helper
    from azure.ai.ml._utils import _asset_utils, _azureml_polling
    from tqdm import tqdm

    def nothing(*_: Any, **__: Any) -> None:
        """Print nothing."""

    for module in (_blob_storage_helper, _azureml_polling):
        vars(module)["print"] = nothing
    vars(_asset_utils)["tqdm"] = partial(tqdm, disable=True)
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
