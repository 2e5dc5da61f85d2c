"""Assets by Azure Resource Manager: code with its upload, environments, models of the registry, attached computes."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from .artifacts import Artifacts
from .backend import Backend
from .blobs import Blobs
from .messages import Answer, Call, Problem, json_answer
from .registry import Registry
from .workspace import Workspace

_ROUTE = re.compile(
    r"/(?P<kind>codes|environments|models)/(?P<name>[^/]+)/versions(?:/(?P<version>[^/]+)(?P<verb>/startPendingUpload)?)?"
)
_COMPUTE = re.compile(r"/computes/(?P<name>[^/]+)")
_ID = re.compile(r".+/(?P<kind>codes|environments|models)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)")

Properties = dict[str, Any]


class Assets:
    """What a deployment is made of.

    Attributes:
        computes: what is attached to the workspace, its type by its name: ``{"aks": "Kubernetes"}``.
    """

    def __init__(
        self, workspace: Workspace, backend: Backend, registry: Registry, artifacts: Artifacts, blobs: Blobs
    ) -> None:
        self.computes: dict[str, str] = {}
        self._workspace = workspace
        self._backend = backend
        self._registry = registry
        self._artifacts = artifacts
        self._blobs = blobs
        self._versions: dict[tuple[str, str, str], Properties] = {}

    def answer(self, call: Call, rest: str) -> Answer | None:
        """The answer to a call for an asset or a compute; None for any other."""
        if match := _COMPUTE.fullmatch(rest):
            return json_answer(self._compute(match["name"]))
        match = _ROUTE.fullmatch(rest)
        if match is None:
            return None
        kind, name, version = match["kind"], match["name"], match["version"]
        if match["verb"] and call.method == "POST" and kind == "codes":
            return json_answer(self._start_upload())
        if call.method == "GET" and version:
            return json_answer(self._described(kind, name, version, self.find(kind, name, version)))
        if call.method == "GET" and kind == "codes":
            return json_answer({"value": self._codes_like(name, call.query.get("hash", ""))})
        if call.method == "PUT" and version and kind != "models":
            return self._put(kind, name, version, call.body["properties"])
        raise Problem(404, "NotFound", f"{call.method} is not known at {call.path}.")

    def find(self, kind: str, name: str, version: str) -> Properties:
        """The properties of an asset; raises `Problem` 404."""
        if kind == "models":
            return self._model(name, version)
        found = self._versions.get((kind, name, version))
        if found is None:
            raise Problem(404, "UserError", f"Not found component {kind}:{name}:{version}.")
        return found

    def by_id(self, asset_id: str, kind: str) -> tuple[str, str, Properties]:
        """Name, version and properties of the asset with an ARM id; raises `Problem` 400 or 404."""
        match = _ID.fullmatch(asset_id)
        if match is None or match["kind"] != kind:
            raise Problem(400, "BadRequest", f"The request is invalid. {asset_id} is no id of {kind}.")
        return match["name"], match["version"], self.find(kind, match["name"], match["version"])

    def mount_code(self, code_id: str, folder: Path) -> Path:
        """Put the files of a code asset into a folder; the folder of the script is returned."""
        *_, properties = self.by_id(code_id, "codes")
        prefix = properties["codeUri"].removeprefix(f"{self._blobs.url}/").rstrip("/")
        target: Path = folder / prefix.rpartition("/")[2]
        _write(self._blobs.below(f"{prefix}/"), target)
        return target

    def mount_model(self, model_id: str, folder: Path) -> Path:
        """Put the files of a registered model where Azure ML mounts it; its ``AZUREML_MODEL_DIR`` is returned."""
        name, version, properties = self.by_id(model_id, "models")
        origin, container, prefix = self._registry.locate(properties["modelUri"])
        target = folder / "azureml-models" / name / version
        prefix = prefix.rstrip("/")
        _write(self._blobs.below(f"{origin}/{container}/{prefix}/"), target / prefix.rpartition("/")[2])
        return target

    def conda(self, environment_id: str) -> str:
        """The conda file of an environment."""
        *_, properties = self.by_id(environment_id, "environments")
        return str(properties.get("condaFile") or "dependencies: [pip: []]")

    def _model(self, name: str, version: str) -> Properties:
        try:
            found = self._backend.ask_registry("GET", "mlflow/model-versions/get", {"name": name, "version": version})
        except Problem as problem:
            raise Problem(404, "UserError", f"Model with name {name} and version {version} was not found.") from problem
        model = found["model_version"]
        tags = {tag["key"]: tag["value"] for tag in model.get("tags", ())}
        flavors: dict[str, Any] = {"python_function": {"data": {}}}
        return {"modelUri": model["source"], "modelType": "mlflow_model", "flavors": flavors, "tags": tags}

    def _start_upload(self) -> dict[str, Any]:
        address, signed = self._blobs.new_container()
        group, account = self._workspace.resource_group_id, self._workspace.storage_account
        return {
            "pendingUploadId": str(uuid.uuid4()),
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": {
                "blobUri": address,
                "storageAccountArmId": f"{group}/providers/Microsoft.Storage/storageAccounts/{account}",
                "credential": {"credentialType": "SAS", "sasUri": signed},
            },
        }

    def _codes_like(self, name: str, content_hash: str) -> list[dict[str, Any]]:
        return [
            self._described(kind, one, version, properties)
            for (kind, one, version), properties in self._versions.items()
            if kind == "codes" and content_hash and properties.get("properties", {}).get("hash_sha256") == content_hash
        ]

    def _put(self, kind: str, name: str, version: str, properties: Properties) -> Answer:
        key = (kind, name, version)
        before = self._versions.get(key)
        fixed = ("codeUri", "condaFile", "image")
        if before and any(before.get(one) != properties.get(one) for one in fixed):
            message = f"Resource Conflict: a version {version} of {name} exists, and what it is made of cannot change."
            raise Problem(409, "UserError", message)
        self._versions[key] = properties
        return json_answer(self._described(*key, properties), 200 if before else 201)

    def _compute(self, name: str) -> dict[str, Any]:
        kind = self.computes.get(name)
        if kind is None:
            raise Problem(404, "ResourceNotFound", f"Compute {name} was not found.")
        group = self._workspace.resource_group_id
        return {
            "id": f"{self._workspace.scope}/computes/{name}",
            "name": name,
            "type": "Microsoft.MachineLearningServices/workspaces/computes",
            "location": self._workspace.location,
            "properties": {
                "computeType": kind,
                "computeLocation": self._workspace.location,
                "provisioningState": "Succeeded",
                "resourceId": f"{group}/providers/Microsoft.ContainerService/managedClusters/{name}",
                "properties": {"namespace": "default", "defaultInstanceType": "defaultinstancetype"},
            },
        }

    def _described(self, kind: str, name: str, version: str, properties: Properties) -> dict[str, Any]:
        return {
            "id": f"{self._workspace.scope}/{kind}/{name}/versions/{version}",
            "name": version,
            "type": f"Microsoft.MachineLearningServices/workspaces/{kind}/versions",
            "systemData": SYSTEM_DATA,
            "properties": properties,
        }


SYSTEM_DATA = {
    "createdAt": "2026-06-01T08:00:00.000000+00:00",
    "createdBy": "Emulated",
    "createdByType": "Application",
    "lastModifiedAt": "2026-06-01T08:00:00.000000+00:00",
    "lastModifiedBy": "Emulated",
    "lastModifiedByType": "Application",
}


def _write(files: dict[str, Path], folder: Path) -> None:
    if not files:
        raise Problem(400, "BadRequest", f"There are no files for {folder.name}.")
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
