"""Make an Azure ML workspace, with the storage account, key vault and insights that it keeps its things in."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import Credential, credential_for, sign_in_by
from adbazureml.azure.long_operations import FAILED, resource_client, wait_for, wait_until_terminal
from adbazureml.azure.refusals import RefusedError, explaining_errors
from adbazureml.azure.resource_manager import read_resource
from adbazureml.azure.workspace_address import arm_id
from adbazureml.errors import WorkspaceError
from adbazureml.workspaces.azureml import AzureMLWorkspace

if TYPE_CHECKING:
    from azure.mgmt.resource.resources import ResourceManagementClient

_SUBSCRIPTION_API, _GROUP_API = "2022-12-01", "2021-04-01"
TAGS = {"created-by": "adbazureml"}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One resource to make, as a PUT describes it."""

    what: str
    resource_id: str
    api_version: str
    properties: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


def create_workspace(
    *,
    name: str,
    subscription_id: str,
    resource_group: str,
    location: str = "",
    storage_account: str = "",
    key_vault: str = "",
    application_insights: str = "",
    cloud: str = "",
    secret_scope: str = "",
    service_credential: str = "",
    timeout: float = 900,
) -> AzureMLWorkspace:
    """Make an Azure ML workspace in an existing resource group; one that is there already is returned as it is.

    What the workspace needs is made where it is missing, under names that follow from the workspace's, so that a call
    that died half-way is repeated with no second copy of anything. All gets the tag ``created-by: adbazureml``.

    Parameters
    ----------
    name, subscription_id, resource_group : str
        The workspace.
    location : str
        Region, such as ``westeurope``; empty: the resource group's.
    storage_account, key_vault, application_insights : str
        Name in the resource group, or resource id of one that exists anywhere; empty: made by a name of its own.
    cloud, secret_scope, service_credential : str
        As in `AzureMLWorkspace.get`.
    timeout : float
        Seconds for all of it.

    Raises
    ------
    CredentialError
        There is no identity to sign in with, or it was refused.
    WorkspaceError
        The resource group or subscription is unknown; this identity may not make resources there; a name is invalid or
        taken; making one failed; or time ran out.

    References
    ----------
    What the workspace needs of each resource is taken from Microsoft's template in azure-ai-ml.
    """
    sign_in_by(service_credential=service_credential, secret_scope=secret_scope)
    chosen = current_cloud(cloud)
    credential = credential_for(chosen)
    end = time.monotonic() + timeout
    client = resource_client(credential, subscription_id)
    with suppress(RefusedError):
        # Azure's own client waits minutes for a host that is silent; what is refused, it says below.
        group_id = f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
        read_resource(group_id, api_version=_GROUP_API, credential=credential)
    names = {"name": name, "resource_group": resource_group, "subscription_id": subscription_id}
    with explaining_errors(_REFUSALS, credential, what=f"name {name!r}", **names):
        group = client.resource_groups.get(resource_group)
        workspace_id = arm_id(subscription_id, resource_group, name)
        if _is_there(client, f"Azure ML workspace {name}", workspace_id, "2024-04-01", end):
            print(f"  Azure ML workspace {name}: there already")
        else:
            parts = _parts(
                name,
                str(group.id),
                _tenant(credential, subscription_id),
                {"storage": storage_account, "vault": key_vault, "insights": application_insights},
            )
            for part in parts:
                with explaining_errors(_REFUSALS, credential, what=part.what, **names):
                    _make(client, part, location or group.location, end)
    return AzureMLWorkspace.get(
        name=name, subscription_id=subscription_id, resource_group=resource_group, cloud=chosen.name
    )


def _parts(name: str, group_id: str, tenant_id: str, given: dict[str, str]) -> Iterator[_Part]:
    workspace_id = f"{group_id}/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    # Storage accounts and vaults share their names with all of Azure.
    unique = hashlib.sha256(workspace_id.lower().encode()).hexdigest()[:8]
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    vault_start = re.sub(r"[^a-zA-Z0-9]+", "-", name)[:14].strip("-") or "ml"
    defaults = {
        "storage": f"{letters[:16] or 'ml'}{unique}",
        "vault": f"{vault_start if vault_start[0].isalpha() else 'ml'}-{unique}",
        "insights": f"{name}-insights",
    }
    kinds = {
        "storage": "Microsoft.Storage/storageAccounts",
        "vault": "Microsoft.KeyVault/vaults",
        "insights": "Microsoft.Insights/components",
    }
    ids = {
        key: given[key]
        if given[key].startswith("/")
        else f"{group_id}/providers/{kinds[key]}/{given[key] or defaults[key]}"
        for key in kinds
    }
    logs_id = f"{group_id}/providers/Microsoft.OperationalInsights/workspaces/{name}-logs"
    if not given["insights"].startswith("/"):
        yield _Part(
            what=f"log workspace {name}-logs",
            resource_id=logs_id,
            api_version="2020-08-01",
            properties={"sku": {"name": "PerGB2018"}},
        )
        yield _Part(
            what=f"application insights {_last(ids['insights'])}",
            resource_id=ids["insights"],
            api_version="2020-02-02",
            properties={"Application_Type": "web", "WorkspaceResourceId": logs_id},
            more={"kind": "web"},
        )
    if not given["storage"].startswith("/"):
        yield _Part(
            what=f"storage account {_last(ids['storage'])}",
            resource_id=ids["storage"],
            api_version="2023-04-01",
            properties={
                "supportsHttpsTrafficOnly": True,
                "allowBlobPublicAccess": False,
                "minimumTlsVersion": "TLS1_2",
                "encryption": {
                    "services": {"blob": {"enabled": True}, "file": {"enabled": True}},
                    "keySource": "Microsoft.Storage",
                },
            },
            more={"kind": "StorageV2", "sku": {"name": "Standard_LRS"}},
        )
    if not given["vault"].startswith("/"):
        yield _Part(
            what=f"key vault {_last(ids['vault'])}",
            resource_id=ids["vault"],
            api_version="2023-07-01",
            properties={
                "tenantId": tenant_id,
                "sku": {"name": "standard", "family": "A"},
                "accessPolicies": [],
                "enableRbacAuthorization": True,
            },
        )
    yield _Part(
        what=f"Azure ML workspace {name}",
        resource_id=workspace_id,
        api_version="2024-04-01",
        properties={
            "friendlyName": name,
            "storageAccount": ids["storage"],
            "keyVault": ids["vault"],
            "applicationInsights": ids["insights"],
        },
        more={"identity": {"type": "SystemAssigned"}},
    )


def _make(client: ResourceManagementClient, part: _Part, location: str, end: float) -> None:
    from azure.core.exceptions import ResourceExistsError

    there = (client, part.what, part.resource_id, part.api_version, end)
    # A PUT on what is there would set everything back that its owner has changed.
    if _is_there(*there):
        print(f"  {part.what}: there already", flush=True)
        return
    body = {"location": location, "tags": TAGS, "properties": part.properties, **part.more}
    try:
        poller = client.resources.begin_create_or_update_by_id(part.resource_id, body, api_version=part.api_version)
    except ResourceExistsError:
        # The name is somebody else's; or this very call was heard, and its first answer was lost on its way.
        if not _is_there(*there):
            raise
        return
    wait_for(poller, what=part.what, timeout=max(end - time.monotonic(), 0.0), if_late=_GOES_ON)


def _is_there(client: ResourceManagementClient, what: str, resource_id: str, api_version: str, end: float) -> bool:
    """Whether a resource is there as a whole; what Azure is still making is waited for, what failed is not there."""
    from azure.core.exceptions import ResourceNotFoundError

    def read() -> str | None:
        try:
            found = client.resources.get_by_id(resource_id, api_version=api_version)
        except ResourceNotFoundError:
            return None
        return str((found.properties or {}).get("provisioningState", "Succeeded"))

    late = f"{what}: Azure has not finished in time (it says {{state!r}}). {_GOES_ON}"
    return wait_until_terminal(read(), read, what=what, end=end, if_late=late) not in (None, *FAILED)


def _tenant(credential: Credential, subscription_id: str) -> str:
    """The tenant of a subscription, to which its key vaults belong."""
    try:
        found = read_resource(f"/subscriptions/{subscription_id}", api_version=_SUBSCRIPTION_API, credential=credential)
    except RefusedError as error:
        raise WorkspaceError(f"subscription_id {subscription_id!r}: its tenant can't be read ({error}).") from error
    return str(found.get("tenantId", ""))


def _last(resource_id: str) -> str:
    return resource_id.rpartition("/")[2]


_GOES_ON = "It goes on: run this again to go on from there, or give a longer timeout."
_NO_SUBSCRIPTION = (
    "subscription_id {subscription_id!r}: {cloud} has no such subscription for this identity ({identity}). It is a"
    " GUID, shown in the Azure portal under Subscriptions; the parameter cloud names another cloud."
)
_TAKEN = (
    "{what}: the name is taken, by somebody else in Azure, or by one of yours that was deleted and can still be"
    " recovered ({answer}). Give another name, or recover or purge that one in the portal."
)
_REFUSALS = {
    "SubscriptionNotFound": _NO_SUBSCRIPTION,
    "InvalidSubscriptionId": _NO_SUBSCRIPTION,
    "ResourceGroupNotFound": (
        "resource_group {resource_group!r}: subscription {subscription_id} has no such resource group. Make it first,"
        " in the portal or by `az group create`, or give one that is there."
    ),
    "StorageAccountAlreadyTaken": _TAKEN,
    "VaultAlreadyExists": _TAKEN,
    "Conflict": _TAKEN,
    "403": (
        "{what}: this identity ({identity}) may not make it ({answer}). Have it given the role 'Contributor' on"
        " resource group {resource_group}; it takes minutes until a new role counts."
    ),
    "404": "{what}: resource group {resource_group!r} of subscription {subscription_id} does not have it ({answer}).",
    "400": "{what}: Azure takes it not as it is ({answer}). Check the name and the location.",
    "200": "{what}: making it failed ({answer}). What was made before stays: run this again to go on from there.",
}
