"""Microsoft's client of Azure ML: built when needed, signed in as everything here is, quiet, and waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from adbazureml.deployment.azureml.refusals import is_conflict, is_passing
from adbazureml.errors import DeploymentError
from adbazureml.workspace.address import Address
from adbazureml.workspace.clouds import current_cloud
from adbazureml.workspace.credential import credential_for

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.polling import LROPoller

    from adbazureml.deployment.target import Deadline, Progress
    from adbazureml.workspace import AzureMLWorkspace

CONNECT_SECONDS, READ_SECONDS, RETRIES = 10.0, 30.0, 4


def client_of(workspace: AzureMLWorkspace, *, poll: float) -> MLClient:
    """Return a client of the workspace that signs in as everything else here does.

    Parameters
    ----------
    workspace : AzureMLWorkspace
        The workspace.
    poll : float
        Seconds between two looks at an operation, where Azure asks for no other pause.

    Raises
    ------
    DeploymentError
        azure-ai-ml is not installed.
    """
    try:
        from azure.ai.ml import MLClient
    except ImportError as error:
        raise DeploymentError(
            f"deploy_target needs the package azure-ai-ml ({error}): pip install 'adbazureml[deploy]'."
        ) from error
    _silence()
    address = Address.find(workspace.tracking_uri)
    assert address is not None, workspace
    cloud = current_cloud()
    return MLClient(
        credential_for(cloud),
        address.subscription_id,
        address.resource_group,
        address.name,
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


def carry_out(
    begin: Callable[[], LROPoller[Any]], what: str, *, progress: Progress, deadline: Deadline, poll: float
) -> bool:
    """Begin an operation and wait for its end; False when another one is in progress, so that it was refused.

    Where Azure stops answering on the way, the operation goes on there: True is returned, and the caller looks again.

    Raises
    ------
    HttpResponseError
        It was refused, or it failed.
    DeploymentError
        The deadline has passed.
    """
    from azure.core.exceptions import AzureError

    try:
        poller = begin()
    except AzureError as error:
        if is_conflict(error):
            return False
        raise
    for waited in deadline.polls(poll):
        if poller.done():
            break
        progress(f"{what}, {waited:.0f} s")
    else:
        raise deadline.missed(f"{what}: not finished")
    try:
        poller.result()
    except AzureError as error:
        if not is_passing(error):
            raise
        progress(f"{what}: Azure does not answer, looking again")
    return True
