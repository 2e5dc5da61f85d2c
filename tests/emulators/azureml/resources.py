"""The resources of one subscription, and what Azure Resource Manager asks of a new or changed one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .messages import Problem
from .workspace import PROVIDER, Workspace

MACHINE_LEARNING = f"{PROVIDER}/workspaces"
DATABRICKS = "Microsoft.Databricks/workspaces"
STORAGE = "Microsoft.Storage/storageAccounts"
VAULTS = "Microsoft.KeyVault/vaults"
LOGS = "Microsoft.OperationalInsights/workspaces"
INSIGHTS = "Microsoft.Insights/components"
GROUPS = "Microsoft.Resources/resourceGroups"
# Names that all of Azure shares, and the code of a refusal.
_SHARED_NAMES = {STORAGE: "StorageAccountAlreadyTaken", VAULTS: "VaultAlreadyExists"}
_NAME = {STORAGE: r"[a-z0-9]{3,24}", VAULTS: r"[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]"}
_ID = re.compile(
    r"(?P<group_id>/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+))"
    r"/providers/(?P<provider>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)",
    re.IGNORECASE,
)
# What Databricks' resource provider fixes when a workspace is made.
_FIXED = ("managedResourceGroupId", "computeMode")
_FIXED_PARAMETERS = ("storageAccountName", "vnetAddressPrefix", "customVirtualNetworkId")


@dataclass
class Group:
    """A resource group; a locked one is not deleted."""

    name: str
    location: str = "westeurope"
    tags: dict[str, str] = field(default_factory=dict)
    locked: bool = False
    state: str = "Succeeded"


class Resources:
    """What there is in the subscription.

    Attributes:
        groups: the resource groups, by lower-case name.
        taken: names of storage accounts and key vaults that somebody else in Azure has.
        soft_deleted: lower-case ids of Azure ML workspaces that were deleted and can be recovered.
        one_to_one: whether an Azure ML workspace takes the link of one Databricks workspace only.
        unlinks_by: what ends a link: leaving ``amlWorkspaceId`` out, an ``empty`` value, or nothing.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.groups: dict[str, Group] = {}
        self.taken: set[str] = set()
        self.soft_deleted: set[str] = set()
        self.one_to_one = False
        self.unlinks_by = "omission"
        self._documents: dict[str, dict[str, Any]] = {}
        self.add_group(workspace.resource_group, workspace.location)
        self._documents[workspace.scope.lower()] = machine_learning_document(workspace)

    # What a test puts there, or looks at

    def add_group(self, name: str, location: str = "westeurope") -> Group:
        return self.groups.setdefault(name.lower(), Group(name, location))

    def add(self, resource_type: str, name: str, *, group: str = "", **document: Any) -> dict[str, Any]:
        """A resource as it is, whatever its provider would say."""
        group = group or self.workspace.resource_group
        self.add_group(group)
        resource_id = f"{self._group_id(group)}/providers/{resource_type}/{name}"
        described = {"id": resource_id, "name": name, "type": resource_type, "location": self.workspace.location}
        return self._documents.setdefault(resource_id.lower(), {**described, "tags": {}, "properties": {}, **document})

    def add_parts(self) -> None:
        """What the Azure ML workspace keeps its things in."""
        logs = self.add(LOGS, "ml-logs")
        endpoints = {"blob": f"{self.workspace.storage_url}/"}
        self.add(STORAGE, self.workspace.storage_account, properties={"primaryEndpoints": endpoints})
        self.add(VAULTS, "ml-vault")
        self.add(INSIGHTS, "ml-insights", properties={"WorkspaceResourceId": logs["id"]})

    def add_databricks(self, name: str = "databricks", *, url: str = "", **properties: Any) -> dict[str, Any]:
        """A Databricks workspace; ``url`` is its address, as its host name or with scheme and port."""
        number = uuid.uuid4().int % 10**16
        managed = f"{self._group_id(f'managed-{name}')}"
        parameters = {
            "enableNoPublicIp": {"type": "Bool", "value": True},
            "natGatewayName": {"type": "String", "value": "nat-gateway"},
            "prepareEncryption": {"type": "Bool", "value": False},
            "publicIpName": {"type": "String", "value": "nat-gw-public-ip"},
            "requireInfrastructureEncryption": {"type": "Bool", "value": False},
            "resourceTags": {"type": "Object", "value": {"application": "databricks"}},
            "storageAccountName": {"type": "String", "value": f"dbstorage{number % 10**8}"},
            "storageAccountSkuName": {"type": "String", "value": "Standard_GRS"},
            "vnetAddressPrefix": {"type": "String", "value": "10.139"},
        }
        described = {
            "managedResourceGroupId": managed,
            "computeMode": "Hybrid",
            "parameters": parameters,
            "provisioningState": "Succeeded",
            "authorizations": [{"principalId": str(uuid.uuid4()), "roleDefinitionId": str(uuid.uuid4())}],
            "createdBy": {"oid": str(uuid.uuid4()), "puid": "10032000", "applicationId": str(uuid.uuid4())},
            "updatedBy": {"oid": str(uuid.uuid4()), "puid": "10032000", "applicationId": str(uuid.uuid4())},
            "createdDateTime": "2026-06-01T08:00:00.0000000Z",
            "workspaceId": f"{number}",
            "workspaceUrl": url or f"adb-{number}.7.azuredatabricks.net",
            "isUcEnabled": True,
            "publicNetworkAccess": "Enabled",
            "requiredNsgRules": "AllRules",
            **properties,
        }
        sku = {"name": "premium"}
        return self.add(DATABRICKS, name, sku=sku, tags={"team": "ml"}, properties=described)

    def remove(self, resource_id: str) -> None:
        self._documents.pop(resource_id.lower(), None)

    # What callers ask

    def find(self, resource_id: str) -> dict[str, Any]:
        match = self._match(resource_id)
        if resource_id.lower() not in self._documents:
            kind = f"{match['provider']}/{match['kind']}/{match['name']}"
            message = (
                f"The Resource '{kind}' under resource group '{match['group']}' was not found. For more details please "
                "go to https://aka.ms/ARMResourceNotFoundFix"
            )
            raise Problem(404, "ResourceNotFound", message)
        return self._documents[resource_id.lower()]

    def within(self, *, group: str = "", resource_type: str = "") -> Iterator[dict[str, Any]]:
        for document in list(self._documents.values()):
            match = self._match(document["id"])
            if group.lower() in ("", match["group"].lower()) and resource_type.lower() in (
                "",
                document["type"].lower(),
            ):
                yield document

    def group(self, name: str) -> Group:
        if name.lower() not in self.groups:
            raise Problem(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return self.groups[name.lower()]

    def checked(self, resource_id: str, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The document that a PUT asks for, and whether it is new; raises `Problem` for what its provider refuses."""
        match = self._match(resource_id)
        resource_type = f"{match['provider']}/{match['kind']}"
        known = (MACHINE_LEARNING, DATABRICKS, STORAGE, VAULTS, LOGS, INSIGHTS)
        canonical = next((one for one in known if one.lower() == resource_type.lower()), None)
        if canonical is None:
            raise Problem(400, "InvalidResourceType", f"The resource type '{resource_type}' could not be found.")
        if not body.get("location"):
            raise Problem(400, "LocationRequired", "The location property is required for this definition.")
        before = self._documents.get(resource_id.lower())
        if before is None:
            self._check_name(canonical, match["name"], resource_id)
        described = {"id": resource_id, "name": match["name"], "type": canonical}
        document = {**described, **body, "properties": {**body.get("properties", {}), "provisioningState": "Succeeded"}}
        if canonical == DATABRICKS:
            document = self._databricks(resource_id, before, document)
        if canonical == MACHINE_LEARNING:
            document = self._machine_learning(match, document)
        return document, before is None

    def keep(self, document: dict[str, Any]) -> None:
        self._documents[document["id"].lower()] = document

    def drop_group(self, name: str) -> None:
        for document in list(self.within(group=name)):
            self.remove(document["id"])
        self.groups.pop(name.lower(), None)

    def _check_name(self, resource_type: str, name: str, resource_id: str) -> None:
        if not re.fullmatch(_NAME.get(resource_type, r".{1,64}"), name):
            raise Problem(400, "AccountNameInvalid", f"{name} is not a valid name for {resource_type}.")
        if resource_type in _SHARED_NAMES and name in self.taken:
            raise Problem(409, _SHARED_NAMES[resource_type], f"The name '{name}' is already taken.")
        if resource_id.lower() in self.soft_deleted:
            message = f"Soft-deleted workspace {name} exists. Purge or recover it to use the name."
            raise Problem(409, "Conflict", message)

    def _databricks(self, resource_id: str, before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
        if before is None:
            raise Problem(400, "InvalidRequestContent", "This emulator makes no Databricks workspaces.")
        was, properties = before["properties"], after["properties"]
        if was["provisioningState"] not in ("Succeeded", "Failed"):
            message = f"The workspace is in state {was['provisioningState']}; another operation is in progress."
            raise Problem(409, "ApplianceBeingUpdated", message)
        if "computeMode" not in properties:
            raise Problem(400, "InvalidRequestContent", "computeMode is required.")
        parameters = properties.get("parameters") or {}
        if properties["computeMode"] == "Serverless" and parameters:
            raise Problem(
                400, "InvalidParameters", "parameters is not allowed for workspaces of computeMode Serverless."
            )
        changed = [name for name in _FIXED if properties.get(name) != was.get(name)]
        changed += [name for name in _FIXED_PARAMETERS if parameters.get(name, {}).get("value") != _value(was, name)]
        if changed:
            raise Problem(400, "InvalidParameterValue", f"{', '.join(changed)} cannot be changed.")
        self._check_link(resource_id, properties, was)
        # Whatever a caller says of these, the provider knows better; a link is kept as `unlinks_by` has it.
        for name in ("createdBy", "updatedBy", "createdDateTime", "workspaceId", "workspaceUrl", "isUcEnabled"):
            properties[name] = was[name]
        if "parameters" in was and "resourceTags" in was["parameters"]:
            parameters["resourceTags"] = was["parameters"]["resourceTags"]
        return after

    def _check_link(self, resource_id: str, properties: dict[str, Any], was: dict[str, Any]) -> None:
        parameters = properties.get("parameters") or {}
        said = parameters.get("amlWorkspaceId")
        if said and said.get("value"):
            wanted = said["value"]
            if wanted.lower() not in self._documents:
                message = f"The Azure Machine Learning workspace {wanted} was not found."
                raise Problem(400, "InvalidAmlWorkspaceId", message)
            if self.one_to_one and self._holders(wanted) - {resource_id.lower()}:
                raise Problem(409, "Conflict", f"{wanted} is already linked to another Azure Databricks workspace.")
            said["type"] = "String"
            return
        ended = {"omission": True, "empty": said is not None, "nothing": False}[self.unlinks_by]
        before = (was.get("parameters") or {}).get("amlWorkspaceId")
        parameters.pop("amlWorkspaceId", None)
        if before and not ended:
            properties["parameters"] = {**parameters, "amlWorkspaceId": before}

    def _holders(self, linked: str) -> set[str]:
        found = self.within(resource_type=DATABRICKS)
        return {one["id"].lower() for one in found if _value(one["properties"], "amlWorkspaceId") == linked}

    def _machine_learning(self, match: re.Match[str], document: dict[str, Any]) -> dict[str, Any]:
        properties = document["properties"]
        for name in ("storageAccount", "keyVault", "applicationInsights"):
            if str(properties.get(name, "")).lower() not in self._documents:
                raise Problem(400, "ValidationError", f"{name} {properties.get(name)!r} does not exist.")
        made = Workspace(
            self.workspace.address,
            self.workspace.subscription_id,
            self.group(match["group"]).name,
            match["name"],
            document["location"],
            tenant_id=self.workspace.tenant_id,
        )
        described = machine_learning_document(made)
        return {**described, "tags": document.get("tags", {}), "properties": {**described["properties"], **properties}}

    def _match(self, resource_id: str) -> re.Match[str]:
        match = _ID.match(resource_id)
        if match is None:
            raise Problem(404, "NotFound", f"No resource is known at {resource_id}.")
        self.group(match["group"])
        return match

    def _group_id(self, name: str) -> str:
        return f"/subscriptions/{self.workspace.subscription_id}/resourceGroups/{name}"


def _value(properties: dict[str, Any], parameter: str) -> Any:
    return ((properties.get("parameters") or {}).get(parameter) or {}).get("value")


def machine_learning_document(workspace: Workspace) -> dict[str, Any]:
    """An Azure ML workspace as API version 2022-01-01-preview shows it."""
    group, api = workspace.resource_group_id, f"https://{workspace.address}"
    return {
        "id": workspace.scope,
        "name": workspace.name,
        "type": MACHINE_LEARNING,
        "location": workspace.location,
        "tags": {},
        "etag": None,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {
            "type": "SystemAssigned",
            "principalId": workspace.workspace_id,
            "tenantId": workspace.tenant_id,
        },
        "systemData": {"createdAt": "2026-06-01T08:00:00Z", "createdByType": "User"},
        "properties": {
            "friendlyName": workspace.name,
            "description": "",
            "storageAccount": f"{group}/providers/{STORAGE}/{workspace.storage_account}",
            "keyVault": f"{group}/providers/{VAULTS}/ml-vault",
            "applicationInsights": f"{group}/providers/{INSIGHTS}/ml-insights",
            "containerRegistry": None,
            "hbiWorkspace": False,
            "tenantId": workspace.tenant_id,
            "provisioningState": "Succeeded",
            "creationTime": "2026-06-01T08:00:00Z",
            "v1LegacyMode": False,
            "allowPublicAccessWhenBehindVnet": False,
            "publicNetworkAccess": "Enabled",
            "privateEndpointConnections": [],
            "privateLinkCount": 0,
            "storageHnsEnabled": False,
            "discoveryUrl": f"{api}/discovery",
            "mlFlowTrackingUri": workspace.tracking_uri,
            "workspaceId": workspace.workspace_id,
        },
    }
