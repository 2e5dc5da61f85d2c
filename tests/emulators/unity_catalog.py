"""The registry that MLflow's own client has in Unity Catalog, in an emulated Databricks workspace."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.emulators.databricks import TOKEN
from tests.emulators.databricks_mlflow import Answer, DatabricksMLflow

_API = "/api/2.0/mlflow/unity-catalog"
_FILES, _DIRECTORIES = "/api/2.0/fs/files/Models", "/api/2.0/fs/directories/Models"
_WORKSPACE_ID = "6789012345"
# Letters, digits and most signs, but none of these.
_PART = re.compile(r"[^\s./\x00-\x1f]{1,255}")


class _RefusedError(Exception):
    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.answer = _json({"error_code": error_code, "message": message}, status)


@dataclass
class Model:
    """A registered model; versions are numbered on, whatever was deleted."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    last: int = 0
    deployment_job_id: str = ""


class UnityCatalogMLflow(DatabricksMLflow):
    """A Databricks workspace with Unity Catalog, listening while its ``with`` block runs.

    Attributes
    ----------
    schemas : set of str
        The schemas that exist, each as ``catalog.schema``.
    may_create : bool
        Whether this user may create models in them.
    models : dict
        The registered models by name, in small letters.
    """

    def __init__(self, mlflow_url: str, folder: Path) -> None:
        super().__init__(mlflow_url, folder / "tracking")
        self._files = folder / "models"
        self._faults: list[tuple[str, int | None]] = []
        self.schemas = {"main.houses"}
        self.may_create = True
        self.models: dict[str, Model] = {}
        self._routes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GET registered-models:is-databricks-sdk-models-artifact-repository-enabled": self._by_files_api,
            "POST registered-models/create": self._create_model,
            "GET registered-models/get": lambda asked: {"registered_model": self._shown(self._model(asked))},
            "PATCH registered-models/update": self._update_model,
            "GET registered-models/search": self._search_models,
            "POST registered-models/set-tag": self._set_model_tag,
            "POST registered-models/alias": self._set_alias,
            "GET registered-models/alias": self._by_alias,
            "DELETE registered-models/alias": self._delete_alias,
            "DELETE registered-models/delete": self._delete_model,
            "POST model-versions/create": self._create_version,
            "POST model-versions/finalize": self._finalize,
            "GET model-versions/get": lambda asked: {"model_version": self._with_aliases(asked)},
            "GET model-versions/search": self._search_versions,
            "GET model-versions/get-download-uri": lambda asked: {"artifact_uri": self._version(asked)["source"]},
            "POST model-versions/set-tag": self._set_version_tag,
            "DELETE model-versions/delete-tag": self._delete_version_tag,
            "PATCH model-versions/update": self._update_version,
            "DELETE model-versions/delete": self._delete_version,
            "POST model-versions/emit-lineage": lambda _: {},
        }

    def fail_next(self, count: int, path: str, status: int) -> None:
        """Answer the next requests whose path ends so by an error: 403, 429, 500, 503."""
        self._faults += [(path, status)] * count

    def lose_answer(self, count: int, path: str) -> None:
        """Do what is asked, and then answer 503 as a gateway does that lost the answer."""
        self._faults += [(path, None)] * count

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        url = urlsplit(target)
        path = unquote(url.path)
        answer = self._faulty(path, lambda: self._answer(method, target, path, headers, body))
        # By it MLflow's client tells the workspace of a run.
        return Answer(answer.status, answer.content, {**answer.headers, "X-Databricks-Org-Id": _WORKSPACE_ID})

    def _faulty(self, path: str, answer: Callable[[], Answer]) -> Answer:
        fault = next((fault for fault in self._faults if path.endswith(fault[0])), None)
        if fault is None:
            return answer()
        self._faults.remove(fault)
        if fault[1] is None:
            answer()
        status = fault[1] or 503
        codes = {403: "PERMISSION_DENIED", 429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR"}
        code = codes.get(status, "TEMPORARILY_UNAVAILABLE")
        return _json({"error_code": code, "message": "The emulator was told to fail here."}, status)

    def _answer(self, method: str, target: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        ours = path.startswith((_API, _FILES, _DIRECTORIES, "/api/2.0/preview/scim/"))
        if not ours:
            return super().answer(method, target, headers, body)
        self.requests.append(f"{method} {path}")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return _json({"error_code": "PERMISSION_DENIED", "message": "Invalid access token."}, 403)
        if path.startswith((_FILES, _DIRECTORIES)):
            return self._model_file(method, path, body)
        if path.endswith("/scim/v2/Me"):
            return _json({"id": "1", "userName": "someone@example.com", "active": True})
        return self._registry_answer(method, path, {**dict(parse_qsl(urlsplit(target).query)), **_object(body)})

    def _registry_answer(self, method: str, path: str, asked: dict[str, Any]) -> Answer:
        route = self._routes.get(f"{method} {path.removeprefix(_API).strip('/')}")
        if route is None:
            return _json({"error_code": "ENDPOINT_NOT_FOUND", "message": f"No API found for '{method} {path}'"}, 404)
        try:
            return _json(route(asked))
        except _RefusedError as refused:
            return refused.answer

    def _by_files_api(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"is_databricks_sdk_models_artifact_repository_enabled": True}

    # Registered models

    def _create_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = _checked_name(asked.get("name") or "")
        catalog, schema, _ = name.split(".")
        if catalog not in {one.split(".")[0] for one in self.schemas}:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Catalog '{catalog}' does not exist.")
        if f"{catalog}.{schema}" not in self.schemas:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Schema '{catalog}.{schema}' does not exist.")
        if not self.may_create:
            said = f"User does not have CREATE MODEL on Schema '{catalog}.{schema}'."
            raise _RefusedError(403, "PERMISSION_DENIED", said)
        if name in self.models:
            raise _RefusedError(409, "RESOURCE_ALREADY_EXISTS", f"Function or Model '{name}' already exists")
        job_id = _checked_job(asked.get("deployment_job_id") or "")
        self.models[name] = Model(name, _checked_tags(asked.get("tags") or []), deployment_job_id=job_id)
        return {"registered_model": self._shown(self.models[name])}

    def _update_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        model = self._model(asked)
        if "deployment_job_id" in asked:
            job_id = _checked_job(asked["deployment_job_id"])
            if job_id and model.deployment_job_id not in ("", job_id):
                said = f"'{model.name}' is connected to job {model.deployment_job_id}: disconnect it first."
                raise _RefusedError(400, "INVALID_PARAMETER_VALUE", said)
            model.deployment_job_id = job_id
        return {"registered_model": self._shown(model)}

    def _search_models(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"registered_models": [{"name": model.name} for model in self.models.values()]}

    def _set_model_tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._model(asked).tags.update(_checked_tags([asked]))
        return {}

    def _set_alias(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        self._model(asked).aliases[asked["alias"]] = version["version"]
        return {}

    def _by_alias(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._model(asked).aliases.get(asked["alias"])
        if version is None:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Alias '{asked['alias']}' does not exist.")
        return {"model_version": self._with_aliases({**asked, "version": version})}

    def _delete_alias(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._model(asked).aliases.pop(asked["alias"], None)
        return {}

    def _with_aliases(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        aliases = [alias for alias, named in self._model(asked).aliases.items() if named == version["version"]]
        return {**version, "aliases": [{"alias": alias, "version": version["version"]} for alias in aliases]}

    def _delete_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        del self.models[self._model(asked).name]
        return {}

    def _model(self, asked: dict[str, Any]) -> Model:
        name = _checked_name(asked.get("name") or "")
        if name not in self.models:
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", f"Routine or Model '{name}' does not exist.")
        return self.models[name]

    def _shown(self, model: Model) -> dict[str, Any]:
        tags = [{"key": key, "value": value} for key, value in model.tags.items()]
        aliases = [{"alias": alias, "version": version} for alias, version in model.aliases.items()]
        return {
            "name": model.name,
            "tags": tags,
            "aliases": aliases,
            "deployment_job_id": model.deployment_job_id,
        }

    # Versions

    def _create_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        model = self._model(asked)
        tags = _checked_tags(asked.get("tags") or [])
        model.last += 1
        kept = ("source", "run_id", "run_tracking_server_id", "description", "model_id")
        now = int(time.time() * 1000)
        version = {
            **{name: asked[name] for name in kept if name in asked},
            "name": model.name,
            "version": str(model.last),
            "creation_timestamp": now,
            "last_updated_timestamp": now,
            "user_id": "someone@example.com",
            "status": "PENDING_REGISTRATION",
            "storage_location": f"abfss://unity@storage.dfs.core.windows.net/models/{model.name}/{model.last}",
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        model.versions[version["version"]] = version
        return {"model_version": version}

    def _finalize(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        if not (self._place(version) / "MLmodel").is_file():
            raise _RefusedError(400, "INVALID_PARAMETER_VALUE", "The model version has no MLmodel file.")
        version["status"] = "READY"
        return {"model_version": version}

    def _search_versions(self, asked: dict[str, Any]) -> dict[str, Any]:
        """By the name only, or by the run; without tags and aliases, as the service does."""
        by_name = re.fullmatch(r"\s*name\s*=\s*'([^']+)'\s*", asked.get("filter") or "")
        by_run = re.fullmatch(r"\s*run_id\s*=\s*'([^']+)'\s*", asked.get("filter") or "")
        if by_name:
            found = list(self._model({"name": by_name[1]}).versions.values())
        elif by_run:
            every = (version for model in self.models.values() for version in model.versions.values())
            found = [version for version in every if version.get("run_id") == by_run[1]]
        else:
            said = "Unsupported filter query: only name = '…' or run_id = '…'"
            raise _RefusedError(400, "INVALID_PARAMETER_VALUE", said)
        newest_first = sorted(found, key=lambda version: -int(version["version"]))
        bare = [{key: value for key, value in version.items() if key != "tags"} for version in newest_first]
        return {"model_versions": bare}

    def _set_version_tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        tags = {tag["key"]: tag["value"] for tag in version["tags"]} | _checked_tags([asked])
        version["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        return {}

    def _delete_version_tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        version["tags"] = [tag for tag in version["tags"] if tag["key"] != asked["key"]]
        return {}

    def _update_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        version["description"] = asked.get("description", "")
        return {"model_version": version}

    def _delete_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self._version(asked)
        shutil.rmtree(self._place(version), ignore_errors=True)
        model = self._model(asked)
        del model.versions[version["version"]]
        model.aliases = {alias: named for alias, named in model.aliases.items() if named != version["version"]}
        return {}

    def _version(self, asked: dict[str, Any]) -> dict[str, Any]:
        model = self._model(asked)
        if (version := model.versions.get(str(asked.get("version")))) is None:
            said = f"Model Version '{asked.get('version')}' of '{model.name}' does not exist."
            raise _RefusedError(404, "RESOURCE_DOES_NOT_EXIST", said)
        return version

    # Files

    def _place(self, version: Mapping[str, Any]) -> Path:
        return self._files.joinpath(*version["name"].split("."), version["version"])

    def _model_file(self, method: str, path: str, body: bytes) -> Answer:
        inside = path.removeprefix(_FILES).removeprefix(_DIRECTORIES).strip("/")
        # Names are found in any case.
        *names, rest = inside.split("/", 3)
        place = self._files.joinpath(*(name.lower() for name in names), rest)
        if path.startswith(_DIRECTORIES):
            if not place.is_dir():
                return _json({"error_code": "NOT_FOUND", "message": f"The directory {path} is not found."}, 404)
            entries = [
                {"path": f"/Models/{one.relative_to(self._files)}", "name": one.name, "is_directory": one.is_dir()}
                | ({} if one.is_dir() else {"file_size": one.stat().st_size})
                for one in sorted(place.iterdir())
            ]
            return Answer(200, b"", {}) if method == "HEAD" else _json({"contents": entries})
        if method == "PUT":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            return Answer(204, b"", {})
        if not place.is_file():
            return _json({"error_code": "NOT_FOUND", "message": f"The file {path} is not found."}, 404)
        return Answer(200, place.read_bytes(), {"Content-Type": "application/octet-stream"})


def _checked_name(name: str) -> str:
    """The name in small letters, in which alone Unity Catalog keeps it."""
    parts = name.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        said = f"'{name}' is not a valid name for a model of Unity Catalog: <catalog>.<schema>.<model>"
        raise _RefusedError(400, "INVALID_PARAMETER_VALUE", said)
    return name.lower()


def _checked_job(job_id: str) -> str:
    if job_id and not job_id.isdigit():
        raise _RefusedError(400, "INVALID_PARAMETER_VALUE", f"'{job_id}' is not the id of a job.")
    return job_id


def _checked_tags(tags: list[dict[str, Any]]) -> dict[str, str]:
    """Keys and lengths as https://learn.microsoft.com/azure/databricks/database-objects/tags has them."""
    checked = {}
    for tag in tags:
        key, value = tag["key"], tag.get("value", "")
        if re.search(r"[.,\-=/:]", key) or not 0 < len(key) <= 255:
            raise _RefusedError(400, "INVALID_PARAMETER_VALUE", f"Tag key '{key}' is not valid.")
        if len(value) > 1000:
            raise _RefusedError(400, "INVALID_PARAMETER_VALUE", f"The value of tag '{key}' is longer than 1000.")
        checked[key] = value
    return checked


def _object(body: bytes) -> dict[str, Any]:
    return dict(json.loads(body)) if body else {}


def _json(content: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})
