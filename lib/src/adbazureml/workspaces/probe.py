"""Whether an Azure ML workspace's tracking server and registry answer, asked once and with an end."""

from __future__ import annotations

import time

import requests

from adbazureml.azure.azureml_refusals import NEEDED_ROLE
from adbazureml.azure.clouds import cloud_of
from adbazureml.azure.credential import Credential, credential_for
from adbazureml.azure.outages import outage, within
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.errors import WorkspaceError
from adbazureml.text import first_line, is_page
from adbazureml.workspaces.base import Workspace

CONNECT_SECONDS, READ_SECONDS = 5.0, 8.0
TRACKING, REGISTRY = "experiments/search", "registered-models/search"


def probe_service(workspace: Workspace, service: str = TRACKING) -> str:
    """Ask an Azure ML workspace for one experiment or registered model; say in how many seconds it answered.

    MLflow's own client waits two minutes for each answer, and tries seven times.

    Parameters
    ----------
    service : str
        `TRACKING` or `REGISTRY`.

    Raises
    ------
    CredentialError
        There is no identity to sign in with.
    WorkspaceError
        No answer came, or it is a refusal.
    """
    address = WorkspaceAddress.find(workspace.tracking_uri)
    assert address is not None, workspace
    cloud = cloud_of(address.host)
    url = f"https://{address.host}/mlflow/v2.0{address.arm_id}/api/2.0/mlflow/{service}"
    what = f"The {'registry' if service == REGISTRY else 'tracking server'} of Azure ML workspace {workspace.name!r}"
    started = time.monotonic()
    try:
        answer = within(CONNECT_SECONDS + READ_SECONDS, lambda: _ask(url, service, credential_for(cloud)))
    except (requests.RequestException, TimeoutError) as error:
        why = outage(error) or first_line(error)
        raise WorkspaceError(
            f"{what} at {address.host} can't be reached: {why}. Check the network and the proxy from here."
        ) from error
    if is_page(answer.text):
        raise WorkspaceError(
            f"{what} at {address.host} answers {answer.status_code} with an HTML page, not JSON: a proxy is between."
        )
    if answer.status_code in (401, 403):
        raise WorkspaceError(f"{what} refuses this identity ({answer.status_code}). Give this identity {NEEDED_ROLE}.")
    if not answer.ok:
        raise WorkspaceError(f"{what} at {address.host} answers {answer.status_code}: {first_line(answer.text)}.")
    return f"{time.monotonic() - started:.1f} s"


def _ask(url: str, service: str, credential: Credential) -> requests.Response:
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {credential.get_token(credential.cloud.scope).token}"
        return request

    timeout, amount = (CONNECT_SECONDS, READ_SECONDS), {"max_results": 1}
    if service == REGISTRY:
        return requests.get(url, params=amount, auth=sign, timeout=timeout)
    return requests.post(url, json=amount, auth=sign, timeout=timeout)
