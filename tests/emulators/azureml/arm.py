"""Azure Resource Manager, and the description of this cloud."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .identity import Identity
from .messages import Answer, Call, Problem, Service, json_answer
from .operations import Operations
from .resources import GROUPS, INSIGHTS, LOGS, STORAGE, VAULTS, Resources
from .workspace import STORAGE_SUFFIX, Workspace

_OPERATION = re.compile(r"/subscriptions/[^/]+/providers/[^/]+/locations/[^/]+/(operation\w+)/(.+)", re.IGNORECASE)
_LIST = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)(?:/resourceGroups/(?P<group>[^/]+))?"
    r"/(?:resources|providers/(?P<type>[^/]+/[^/]+))",
    re.IGNORECASE,
)
_GROUP = re.compile(r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups(?:/(?P<group>[^/]+))?/?", re.IGNORECASE)
_RESOURCE = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/(?P<type>[^/]+/[^/]+)/[^/]+",
    re.IGNORECASE,
)
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


class CloudMetadata(Service):
    """What ARM_CLOUD_METADATA_URL answers: the addresses of this cloud, which needs no token."""

    name = "metadata"

    def __init__(self, cloud: str, url: str) -> None:
        self.cloud = cloud
        self.url = url
        self.others: list[CloudMetadata] = []

    def answer(self, _: Call) -> Answer:
        return json_answer([cloud.description for cloud in (self, *self.others)])

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
    """One subscription: its resource groups and what is in them; and what is in the Azure ML workspace.

    ``inside`` answer the calls for what is in the workspace, given the call and its path there; ``operations`` those
    for how far something there is. Either answers None to a call that is not for it.

    Attributes:
        resources: what there is.
        operations: how long long-running operations take, and how they end.
        page_size: how many resources a page of a list has.
    """

    name = "arm"

    def __init__(
        self,
        workspace: Workspace,
        identity: Identity,
        *,
        inside: Sequence[Callable[[Call, str], Answer | None]],
        operations: Callable[[Call], Answer | None],
    ) -> None:
        self.workspace = workspace
        self.identity = identity
        self._inside = inside
        self._operations = operations
        self.resources = Resources(workspace)
        self.operations = Operations(f"https://{workspace.address}")
        self.page_size = 100
        self._denied: list[tuple[str, re.Pattern[str]]] = []

    def deny(self, method: str, path: str) -> None:
        """From now on the caller may not do this; ``path`` is a regular expression."""
        self._denied.append((method, re.compile(path, re.IGNORECASE)))

    def answer(self, call: Call) -> Answer:
        self.identity.check(call.headers)
        if "api-version" not in call.query:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise Problem(400, "MissingApiVersionParameter", message)
        for method, path in self._denied:
            if method == call.method and path.search(call.path):
                raise self._not_authorized(call.method, call.path)
        if match := _OPERATION.fullmatch(call.path):
            status = match[1].lower() == "operationstatuses"
            return self.operations.status(match[2]) if status else self.operations.result(match[2])
        if (answer := self._operations(call) or self._answer_inside(call)) is not None:
            return answer
        return self._answer(call)

    def _answer_inside(self, call: Call) -> Answer | None:
        if not call.path.lower().startswith(f"{self.workspace.scope}/".lower()):
            return None
        rest = self.workspace.within(call.path, "")
        return next((told for one in self._inside if (told := one(call, rest)) is not None), None)

    def refusal(self, problem: Problem) -> Answer:
        if problem.code == "Forbidden":
            problem = self._not_authorized("GET", self.workspace.scope)
        return _refusal(problem)

    def _answer(self, call: Call) -> Answer:
        path = call.path.rstrip("/")
        self._check_subscription(path)
        if call.method == "GET" and path.count("/") <= 2:
            return self._subscriptions(path)
        if call.method == "GET" and (match := _LIST.fullmatch(path)):
            if match["group"]:
                self.resources.group(match["group"])
            found = self.resources.within(group=match["group"] or "", resource_type=match["type"] or "")
            return self._page(list(found), call)
        if match := _GROUP.fullmatch(path):
            return self._group(call, match["group"])
        if match := _RESOURCE.fullmatch(path):
            return self._resource(call, path, match["type"])
        raise Problem(404, "NotFound", f"No resource is known at {call.path}.")

    def _check_subscription(self, path: str) -> None:
        subscription = path.split("/")[2] if path.count("/") >= 2 else ""
        if subscription and not _same(subscription, self.workspace.subscription_id):
            message = f"The subscription '{subscription}' could not be found."
            raise Problem(404, "SubscriptionNotFound", message)

    def _subscriptions(self, path: str) -> Answer:
        ours = self.workspace
        found = {"id": f"/subscriptions/{ours.subscription_id}", "subscriptionId": ours.subscription_id}
        described = {**found, "displayName": "Emulated", "state": "Enabled", "tenantId": ours.tenant_id}
        return json_answer(described if path.count("/") == 2 else {"value": [described]})

    def _page(self, found: list[dict[str, Any]], call: Call) -> Answer:
        start = int(call.query.get("$skiptoken", 0))
        page: dict[str, Any] = {"value": found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            rest = f"api-version={call.query['api-version']}&$skiptoken={start + self.page_size}"
            page["nextLink"] = f"https://{self.workspace.address}{call.path}?{rest}"
        return json_answer(page)

    def _group(self, call: Call, name: str | None) -> Answer:
        if name is None:
            return self._page([self._shown(one.name) for one in self.resources.groups.values()], call)
        if call.method == "PUT":
            new = name.lower() not in self.resources.groups
            group = self.resources.add_group(name, call.body["location"])
            group.tags = call.body.get("tags") or {}
            return json_answer(self._shown(name), 201 if new else 200)
        if call.method == "GET":
            self.operations.look_at(call.path)
        group = self.resources.group(name)
        if call.method == "DELETE":
            if group.locked:
                message = (
                    f"The scope '{self._shown(name)['id']}' cannot perform delete operation because following scope(s) "
                    f"are locked: '{self._shown(name)['id']}'. Please remove the lock and try again."
                )
                raise Problem(409, "ScopeLocked", message)
            group.state = "Deleting"
            operation = self.operations.start(GROUPS, call.path, lambda: self.resources.drop_group(name))
            return Answer(202, headers=self._headers(operation, GROUPS, "Location"))
        return json_answer(self._shown(name)) if call.method == "GET" else Answer(204)

    def _shown(self, name: str) -> dict[str, Any]:
        group = self.resources.group(name)
        return {
            "id": f"/subscriptions/{self.workspace.subscription_id}/resourceGroups/{group.name}",
            "name": group.name,
            "type": GROUPS,
            "location": group.location,
            "tags": group.tags,
            "properties": {"provisioningState": group.state},
        }

    def _resource(self, call: Call, path: str, resource_type: str) -> Answer:
        if call.method == "PUT":
            return self._put(path, call.body)
        if call.method == "GET":
            self.operations.look_at(path)
        document = self.resources.find(path)
        if call.method == "DELETE":
            operation = self.operations.start(resource_type, path, lambda: self.resources.remove(path))
            return Answer(202, headers=self._headers(operation, resource_type, "Azure-AsyncOperation"))
        return json_answer(document)

    def _put(self, path: str, body: dict[str, Any]) -> Answer:
        document, new = self.resources.checked(path, body)
        resource_type = document["type"]
        if resource_type in (LOGS, INSIGHTS, VAULTS):
            # Done at once.
            self.resources.keep(document)
            return json_answer(document, 201 if new else 200)
        before = document if new else self.resources.find(path)
        if before["properties"]["provisioningState"] in ("Creating", "Updating"):
            raise Problem(409, "Conflict", "Another operation on this resource is in progress.")
        shown = _in_state(before, "Creating" if new else "Updating")
        self.resources.keep(shown)
        operation = self.operations.start(resource_type, path, lambda: self.resources.keep(document))
        if operation.problem:
            self.resources.keep(_in_state(document, "Failed") if new else before)
        if resource_type == STORAGE:
            return Answer(202, headers=self._headers(operation, resource_type, "Location"))
        return json_answer(shown, 201, self._headers(operation, resource_type, "Azure-AsyncOperation"))

    def _headers(self, operation: Any, resource_type: str, kind: str) -> dict[str, str]:
        provider = resource_type.split("/", maxsplit=1)[0]
        return self.operations.headers(operation, self.workspace.subscription_id, provider, kind)

    def _not_authorized(self, method: str, path: str) -> Problem:
        resource_type = GROUPS
        if "/providers/" in path:
            resource_type = "/".join(path.rsplit("/providers/", maxsplit=1)[-1].split("/")[:2])
        message = (
            f"The client '{self.identity.client_id}' with object id '{self.identity.client_id}' does not have "
            f"authorization to perform action '{resource_type}/{_VERBS.get(method, 'action')}' over scope '{path}' or "
            "the scope is invalid. If access was recently granted, please refresh your credentials."
        )
        return Problem(403, "AuthorizationFailed", message)


def _refusal(problem: Problem) -> Answer:
    headers = {"x-ms-failure-cause": "gateway", **problem.headers}
    return json_answer({"error": {"code": problem.code, "message": problem.message}}, problem.status, headers)


def _in_state(document: dict[str, Any], state: str) -> dict[str, Any]:
    return {**document, "properties": {**document["properties"], "provisioningState": state}}


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()
