"""Azure ML registries, which workspaces of several regions share: found by name, then asked in their own region."""

from __future__ import annotations

import re
from typing import Any

from .assets import SYSTEM_DATA, Assets, Properties
from .identity import Identity
from .messages import Answer, Call, Problem, Service, json_answer
from .operations import Operations
from .workspace import PROVIDER, Workspace

ROUTES = r"/(?:registrymanagement|mferp)/"
_GROUP = "registries"
_DISCOVERY = re.compile(r"/registrymanagement/v1\.0/registries/(?P<registry>[^/]+)/discovery")
_INSIDE = re.compile(
    rf"/mferp/managementfrontend/subscriptions/[^/]+/resourceGroups/{_GROUP}/providers/{re.escape(PROVIDER)}"
    r"/registries/(?P<registry>[^/]+)"
    r"/(?P<rest>import|(?:models|tempdatarefs)/(?P<name>[^/]+)/versions(?:/(?P<version>[^/]+))?)"
)
_OPERATION = re.compile(rf"/mferp/managementfrontend/subscriptions/[^/]+/providers/{re.escape(PROVIDER)}/.+/(?P<id>.+)")
_SOURCE = re.compile(
    r"azureml://locations/(?P<location>[^/]+)/workspaces/(?P<workspace>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
# Of an asset, what may change.
_MUTABLE = ("tags", "description", "stage", "isArchived")


class SharedRegistries(Service):
    """The registries, and the models in them.

    Attributes:
        models: of each registry, the properties of each model's version, by name and version, the oldest first.
    """

    name = "registries"

    def __init__(self, workspace: Workspace, identity: Identity, assets: Assets) -> None:
        self.models: dict[str, dict[tuple[str, str], Properties]] = {}
        self._workspace = workspace
        self._identity = identity
        self._assets = assets
        self._operations = Operations(f"https://{workspace.address}/mferp/managementfrontend")
        self._operations.looks = 1

    def answer(self, call: Call) -> Answer:
        self._identity.check(call.headers)
        if match := _DISCOVERY.fullmatch(call.path):
            return self._discovered(match["registry"])
        if match := _OPERATION.fullmatch(call.path):
            return self._operations.result(match["id"])
        match = _INSIDE.fullmatch(call.path)
        if match is None or match["registry"] not in self.models:
            raise Problem(404, "NotFound", f"There is nothing at {call.path}.")
        registry, name, version = match["registry"], match["name"], match["version"]
        if match["rest"] == "import":
            return self._import(registry, call.body["properties"])
        if match["rest"].startswith("tempdatarefs"):
            # It gives a place to upload to, which nobody needs whose files are there.
            raise _exists(name, version, registry)
        if version is None:
            newest = [self._shown(registry, *key) for key in reversed(self.models[registry]) if key[0] == name]
            return json_answer({"value": newest[: int(call.query.get("$top", len(newest)))]})
        if call.method == "PUT":
            return self._update(registry, name, version, call.body["properties"])
        return json_answer(self._shown(registry, name, version))

    def refusal(self, problem: Problem) -> Answer:
        return json_answer({"error": {"code": problem.code, "message": problem.message}}, problem.status)

    def _discovered(self, registry: str) -> Answer:
        if registry not in self.models:
            raise Problem(404, "UserError", f"Registry {registry} was not found.")
        ours = self._workspace
        return json_answer(
            {
                "registryName": registry,
                "tenantId": ours.tenant_id,
                "primaryRegion": ours.location,
                "regions": [ours.location],
                "subscriptionId": ours.subscription_id,
                "resourceGroup": _GROUP,
                "primaryRegionResourceProviderUri": f"https://{ours.address}/",
            }
        )

    def _import(self, registry: str, asked: dict[str, str]) -> Answer:
        match = _SOURCE.fullmatch(asked["sourceAssetId"])
        ours = (self._workspace.location, self._workspace.workspace_id)
        if match is None or asked["referenceType"] != "Id" or (match["location"], match["workspace"]) != ours:
            raise Problem(400, "UserError", f"Source asset {asked['sourceAssetId']} is not valid.")
        key = (asked["destinationName"], asked["destinationVersion"])
        if key in self.models[registry]:
            raise _exists(*key, registry)
        found = self._assets.find("models", match["name"], match["version"])
        path = f"azureml://registries/{registry}/models/{key[0]}/versions/{key[1]}"
        copy = {**found, "tags": dict(found["tags"]), "modelUri": path, "provisioningState": "Succeeded"}
        operation = self._operations.start("import", path, lambda: self.models[registry].setdefault(key, copy))
        subscription = self._workspace.subscription_id
        return Answer(202, headers=self._operations.headers(operation, subscription, PROVIDER, "Location"))

    def _update(self, registry: str, name: str, version: str, properties: Properties) -> Answer:
        before = self._shown(registry, name, version)["properties"]
        if properties.get("modelUri") != before["modelUri"]:
            raise _exists(name, version, registry)
        changed = {one: properties[one] for one in _MUTABLE if one in properties}
        self.models[registry][name, version] = {**before, **changed}
        return json_answer(self._shown(registry, name, version))

    def _shown(self, registry: str, name: str, version: str) -> dict[str, Any]:
        properties = self.models[registry].get((name, version))
        if properties is None:
            raise Problem(404, "UserError", f"Model {name}:{version} was not found in registry {registry}.")
        asset_id = f"azureml://registries/{registry}/models/{name}/versions/{version}"
        return {
            "id": asset_id,
            "name": version,
            "type": "versions",
            "systemData": SYSTEM_DATA,
            "properties": properties,
        }


def _exists(name: str, version: str, registry: str) -> Problem:
    return Problem(409, "UserError", f"Asset {name}:{version} already exists in registry {registry}.")
