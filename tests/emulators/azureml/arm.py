"""Azure Resource Manager, as far as the workspace goes, and the description of this cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .identity import Identity
from .messages import Answer, Call, Problem, Service, json_answer
from .workspace import PROVIDER, STORAGE_SUFFIX, Workspace

_WORKSPACES = f"/providers/{PROVIDER}/workspaces"
_ROUTE = re.compile(
    r"/subscriptions(?:/(?P<subscription>[^/]+))?(?:/resourceGroups/(?P<group>[^/]+))?"
    rf"(?P<workspaces>{re.escape(_WORKSPACES)}(?:/(?P<workspace>[^/]+))?)?/?",
    re.IGNORECASE,
)


class CloudMetadata(Service):
    """What ARM_CLOUD_METADATA_URL answers: the addresses of this cloud, which needs no token."""

    name = "metadata"

    def __init__(self, cloud: str, url: str) -> None:
        self.cloud = cloud
        self.url = url

    def answer(self, _: Call) -> Answer:
        return json_answer([self.description])

    def refusal(self, problem: Problem) -> Answer:
        return _refusal(problem)

    @property
    def description(self) -> dict[str, Any]:
        return {
            "name": self.cloud,
            "portal": "https://portal.azureml.test",
            "authentication": {
                "loginEndpoint": f"{self.url}/",
                "audiences": [f"{self.url}/"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "resourceManager": self.url,
            "graphAudience": "https://graph.azureml.test/",
            "graph": "https://graph.azureml.test/",
            "microsoftGraphResourceId": "https://graph.azureml.test/",
            "gallery": "https://gallery.azureml.test/",
            "batch": "https://batch.azureml.test/",
            "media": "https://media.azureml.test/",
            "sqlManagement": "https://management.sql.azureml.test/",
            "vmImageAliasDoc": "https://aliases.azureml.test/",
            "activeDirectoryDataLake": "https://datalake.azureml.test/",
            "suffixes": {
                "storage": STORAGE_SUFFIX,
                "keyVaultDns": "vault.azureml.test",
                "sqlServerHostname": "database.azureml.test",
                "acrLoginServer": "azurecr.azureml.test",
                "azureDataLakeStoreFileSystem": "datalakestore.azureml.test",
                "azureDataLakeAnalyticsCatalogAndJob": "datalakeanalytics.azureml.test",
            },
        }


class ResourceManager(Service):
    """Subscriptions, resource groups and workspaces: one of each.

    Attributes:
        container_registry: resource id of the workspace's registry; None before it built its first image.
    """

    name = "arm"

    def __init__(self, workspace: Workspace, identity: Identity) -> None:
        self.workspace = workspace
        self.identity = identity
        self.container_registry: str | None = None

    def answer(self, call: Call) -> Answer:
        self.identity.check(call.headers)
        if "api-version" not in call.query:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise Problem(400, "MissingApiVersionParameter", message)
        match = _ROUTE.fullmatch(call.path)
        if match is None or call.method != "GET":
            raise Problem(404, "NotFound", f"No resource is known at {call.path}.")
        return json_answer(self._find(match.groupdict()))

    def refusal(self, problem: Problem) -> Answer:
        if problem.code == "Forbidden":
            problem = self._not_authorized()
        return _refusal(problem)

    def _find(self, asked: Mapping[str, str | None]) -> dict[str, Any]:
        ours = self.workspace
        subscription, group = asked["subscription"], asked["group"]
        if subscription and not _same(subscription, ours.subscription_id):
            message = f"The subscription '{subscription}' could not be found."
            raise Problem(404, "SubscriptionNotFound", message)
        if group and not _same(group, ours.resource_group):
            raise Problem(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if asked["workspace"]:
            return self._get_workspace(asked["workspace"])
        if asked["workspaces"]:
            return {"value": [self.resource]}
        if group:
            return {"id": ours.resource_group_id, "name": ours.resource_group, "location": ours.location}
        found = {"id": f"/subscriptions/{ours.subscription_id}", "subscriptionId": ours.subscription_id}
        described = {**found, "displayName": "Emulated", "state": "Enabled", "tenantId": ours.tenant_id}
        return described if subscription else {"value": [described]}

    def _get_workspace(self, name: str) -> dict[str, Any]:
        if not _same(name, self.workspace.name):
            message = (
                f"The Resource '{PROVIDER}/workspaces/{name}' under resource group '{self.workspace.resource_group}' "
                "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            )
            raise Problem(404, "ResourceNotFound", message)
        return self.resource

    @property
    def resource(self) -> dict[str, Any]:
        """The workspace as API version 2022-01-01-preview shows it."""
        ours = self.workspace
        group, api = ours.resource_group_id, f"https://{ours.address}"
        return {
            "id": ours.scope,
            "name": ours.name,
            "type": f"{PROVIDER}/workspaces",
            "location": ours.location,
            "tags": {},
            "etag": None,
            "kind": "Default",
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": ours.workspace_id, "tenantId": ours.tenant_id},
            "systemData": {"createdAt": "2026-06-01T08:00:00Z", "createdByType": "User"},
            "properties": {
                "friendlyName": ours.name,
                "description": "",
                "storageAccount": f"{group}/providers/Microsoft.Storage/storageAccounts/{ours.storage_account}",
                "keyVault": f"{group}/providers/Microsoft.KeyVault/vaults/ml-vault",
                "applicationInsights": f"{group}/providers/Microsoft.Insights/components/ml-insights",
                "containerRegistry": self.container_registry,
                "hbiWorkspace": False,
                "tenantId": ours.tenant_id,
                "provisioningState": "Succeeded",
                "creationTime": "2026-06-01T08:00:00Z",
                "v1LegacyMode": False,
                "allowPublicAccessWhenBehindVnet": False,
                "publicNetworkAccess": "Enabled",
                "privateEndpointConnections": [],
                "privateLinkCount": 0,
                "storageHnsEnabled": False,
                "discoveryUrl": f"{api}/discovery",
                "mlFlowTrackingUri": ours.tracking_uri,
                "workspaceId": ours.workspace_id,
            },
        }

    def _not_authorized(self) -> Problem:
        message = (
            f"The client '{self.identity.client_id}' with object id '{self.identity.client_id}' does not have "
            f"authorization to perform action '{PROVIDER}/workspaces/read' over scope '{self.workspace.scope}' or the "
            "scope is invalid. If access was recently granted, please refresh your credentials."
        )
        return Problem(403, "AuthorizationFailed", message)


def _refusal(problem: Problem) -> Answer:
    headers = {"x-ms-failure-cause": "gateway", **problem.headers}
    return json_answer({"error": {"code": problem.code, "message": problem.message}}, problem.status, headers)


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()
