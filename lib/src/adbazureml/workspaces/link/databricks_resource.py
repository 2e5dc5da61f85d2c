"""The Databricks workspace as a resource in Azure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adbazureml.errors import WorkspaceError

if TYPE_CHECKING:
    from azure.mgmt.databricks import AzureDatabricksManagementClient
    from azure.mgmt.databricks.models import Workspace as AzureResource

    from adbazureml.azure.credential import Credential

_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.Databricks/workspaces/(?P<name>[^/]+)/?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class DatabricksResource:
    """What Azure knows of a Databricks workspace.

    Attributes
    ----------
    name, resource_group, subscription_id, resource_id : str
    url : str
        Its own address.
    state : str
        Provisioning state, ``Succeeded`` when nothing is under way.
    linked_to : str
        Resource id of the Azure ML workspace that it is linked to; empty for none.
    serverless : bool
        Whether it has no compute of its own in the subscription; such a workspace can't be linked.
    private : bool
        Whether it is reached by a private link.
    """

    name: str
    resource_group: str
    subscription_id: str
    resource_id: str
    url: str
    state: str
    linked_to: str
    serverless: bool
    private: bool

    @classmethod
    def of(cls, resource: AzureResource) -> DatabricksResource:
        """Read it from Azure's answer."""
        match = _ID.fullmatch(resource.id or "")
        if match is None:
            raise WorkspaceError(f"{resource.id!r} is no Databricks workspace.")
        properties = resource.properties
        parameters = properties.parameters
        link = parameters.aml_workspace_id.value if parameters and parameters.aml_workspace_id else ""
        url = properties.workspace_url or ""
        return cls(
            name=resource.name or match["name"],
            resource_group=match["group"],
            subscription_id=match["subscription"],
            resource_id=resource.id or "",
            url=url if "://" in url or not url else f"https://{url}",
            state=str(getattr(properties.provisioning_state, "value", properties.provisioning_state) or ""),
            linked_to=link or "",
            serverless=properties.compute_mode == "Serverless",
            private=properties.public_network_access == "Disabled" or bool(properties.private_endpoint_connections),
        )


def parse_id(databricks: str) -> tuple[str, str, str] | None:
    """Subscription, resource group and name in a resource id; None for anything else."""
    match = _ID.fullmatch(databricks)
    return (match["subscription"], match["group"], match["name"]) if match else None


def find_by_name(
    client: AzureDatabricksManagementClient, *, name: str, subscription_id: str, credential: Credential
) -> DatabricksResource:
    """The one Databricks workspace of this name in the subscription.

    Raises
    ------
    WorkspaceError
        There is none that this identity sees, or more than one.
    """
    seen = [DatabricksResource.of(one) for one in client.workspaces.list_by_subscription()]
    found = [one for one in seen if one.name.lower() == name.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkspaceError(
            f"databricks {name!r}: subscription {subscription_id} has more than one of this name. Give one"
            f" of these resource ids: {', '.join(one.resource_id for one in found)}."
        )
    raise WorkspaceError(_not_seen(f"{name!r}", seen, subscription_id, credential))


def find_by_url(
    client: AzureDatabricksManagementClient, *, host: str, subscription_id: str, credential: Credential
) -> DatabricksResource:
    """The Databricks workspace that has this address.

    Raises
    ------
    WorkspaceError
        There is none that this identity sees.
    """
    seen = [DatabricksResource.of(one) for one in client.workspaces.list_by_subscription()]
    address = urlsplit(host).netloc or host
    for one in seen:
        if urlsplit(one.url).netloc == address:
            return one
    raise WorkspaceError(_not_seen(f"'' (the one at {address})", seen, subscription_id, credential))


def _not_seen(asked: str, seen: list[DatabricksResource], subscription_id: str, credential: Credential) -> str:
    names = ", ".join(sorted(one.name for one in seen)) or "none"
    return (
        f"databricks {asked}: not among the Databricks workspaces of subscription {subscription_id} that this"
        f" identity (signed in by the {credential.identity}) sees: {names}. Give its resource id (in the portal:"
        " Properties), or have the identity given the role 'Reader' on it."
    )
