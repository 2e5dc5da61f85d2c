"""Azure's management clients: made for this process's identity and cloud, waited for with a deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from adbazureml.errors import WorkspaceError

if TYPE_CHECKING:
    from azure.core.polling import LROPoller
    from azure.mgmt.databricks import AzureDatabricksManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient

    from adbazureml.azure.clouds import Cloud
    from adbazureml.azure.credential import Credential

# Seconds between two looks at a long-running operation, where the service does not say.
POLL_SECONDS = 5.0
# The states of a resource in which Azure has nothing under way, and those of them in which it is not whole.
FAILED = ("Failed", "Canceled")
TERMINAL = ("Succeeded", "Created", "Ready", *FAILED)
# A line of progress at least this often, in seconds.
TOLD_EVERY = 30.0
_RETRIES = {"retry_total": 5, "retry_backoff_factor": 0.5, "connection_timeout": 5, "read_timeout": 30}

Result = TypeVar("Result")


def databricks_client(credential: Credential, subscription_id: str) -> AzureDatabricksManagementClient:
    """Return Azure's client of Databricks workspaces as resources."""
    from azure.mgmt.databricks import AzureDatabricksManagementClient

    return AzureDatabricksManagementClient(credential, subscription_id, **_options(credential.cloud))


def resource_client(credential: Credential, subscription_id: str) -> ResourceManagementClient:
    """Return Azure's client of resource groups and of resources of any kind."""
    from azure.mgmt.resource.resources import ResourceManagementClient

    return ResourceManagementClient(credential, subscription_id, **_options(credential.cloud))


def wait_for(poller: LROPoller[Result], *, what: str, timeout: float, if_late: str) -> Result:
    """Wait for a long-running operation, with a line whenever its state changes and every half minute.

    Parameters
    ----------
    poller : azure.core.polling.LROPoller
    what : str
        As the lines call it.
    timeout : float
        Seconds from now.
    if_late : str
        What to do when it has not ended by then, as a sentence.

    Raises
    ------
    WorkspaceError
        It has not ended in time. It goes on in Azure.
    azure.core.exceptions.HttpResponseError
        It failed.
    """
    began = told_at = time.monotonic()
    told = ""
    while True:
        # An operation's first look is at once, its end is seen within a second.
        poller.wait(min(1.0, max(0.05, began + timeout - time.monotonic())))
        ended = poller.done()
        state, now = poller.status(), time.monotonic()
        if state != told or now - told_at > TOLD_EVERY:
            print(f"  {what}: {state} ({now - began:.0f} s)", flush=True)
            told, told_at = state, now
        if ended:
            return poller.result()
        if now - began >= timeout:
            raise WorkspaceError(f"{what}: Azure has not finished within {timeout:g} s (it says {state!r}). {if_late}")


def wait_until_terminal(
    state: str | None, read: Callable[[], str | None], *, what: str, end: float, if_late: str
) -> str | None:
    """Wait while Azure has a change of a resource under way that is not this call's.

    Parameters
    ----------
    state : str or None
        Its provisioning state as last read; None where it is not there.
    read : callable
        Reads it again.
    what : str
        As the lines call the resource.
    end : float
        When to give up, by `time.monotonic`.
    if_late : str
        What to say then; ``{state}`` is filled in.

    Returns
    -------
    str or None
        One of `TERMINAL`, or None where it is not there.

    Raises
    ------
    WorkspaceError
        It has not ended in time.
    """
    while state is not None and state not in TERMINAL:
        if time.monotonic() >= end:
            raise WorkspaceError(if_late.format(state=state))
        print(f"  {what}: {state}; waiting for it", flush=True)
        time.sleep(POLL_SECONDS)
        state = read()
    return state


def _options(cloud: Cloud) -> dict[str, Any]:
    # It would warn, with a traceback, of each refusal that is no JSON; what is raised then says so.
    logging.getLogger("azure.mgmt").setLevel(logging.ERROR)
    options = {"base_url": cloud.resource_manager, "credential_scopes": [cloud.scope]}
    return {**options, "polling_interval": POLL_SECONDS, **_RETRIES}
