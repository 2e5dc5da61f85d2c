"""The artifact services: what runs and local uploads have, and where its bytes are.

A run's artifacts are reached by two addresses: that of its run (run history), and that of its container
``ExperimentRun/dcid.<run id>`` (artifact service).
"""

from __future__ import annotations

import datetime
import re
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .backend import Backend
from .blobs import READ, WRITE, Blobs
from .identity import Identity
from .limits import Limits
from .messages import Answer, Call, Problem, Service, json_answer
from .workspace import Workspace

EXPERIMENT_RUN = "ExperimentRun"
_RUN_ROUTE = re.compile(r"/experiment(?:s|ids)/(?P<experiment>[^/]+)/runs/(?P<run>[^/]+)/artifacts(?:/(?P<verb>.+))?")
_CONTAINER_ROUTE = re.compile(r"/artifacts/(?P<origin>[^/]+)/(?P<container>[^/]+)(?:/(?P<verb>.+))?")


@dataclass(frozen=True)
class Artifact:
    """An artifact's place; its bytes may be missing, as they are written after it."""

    origin: str
    container: str
    path: str
    etag: str = field(default_factory=lambda: secrets.token_hex(8))
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))

    @property
    def artifact_id(self) -> str:
        """Also the name of its blob."""
        return f"{self.origin}/{self.container}/{self.path}"

    def described(self) -> dict[str, Any]:
        return {
            "artifactId": self.artifact_id,
            "origin": self.origin,
            "container": self.container,
            "path": self.path,
            "etag": f'"{self.etag}"',
            "createdTime": self.created.isoformat(),
            "dataPath": {"dataStoreName": "workspaceartifactstore", "relativePath": self.artifact_id},
            "tags": {},
        }


Container = dict[str, Artifact]


class Artifacts(Service):
    """Run history's and the artifact service's share of artifacts.

    Attributes:
        page_size: artifacts in one page of a list.
    """

    name = "artifacts"

    def __init__(self, workspace: Workspace, identity: Identity, backend: Backend, blobs: Blobs) -> None:
        self.workspace = workspace
        self.identity = identity
        self.page_size = 500
        self._backend = backend
        self._blobs = blobs
        self._containers: dict[tuple[str, str], Container] = {}
        self._runs: dict[str, str] = {}
        self._lock = threading.Lock()

    def stored(self, origin: str, container: str) -> dict[str, bytes | None]:
        """What each path holds; None where the bytes never came."""
        found = sorted(self._containers.get((origin, container), {}).values(), key=lambda artifact: artifact.path)
        return {artifact.path: self._blobs.content(artifact.artifact_id) for artifact in found}

    def holds(self, origin: str, container: str, prefix: str) -> bool:
        """Whether there is an artifact at the path or below it."""
        path = prefix.rstrip("/")
        return any(one == path or one.startswith(f"{path}/") for one in self._containers.get((origin, container), {}))

    def answer(self, call: Call) -> Answer:
        self.identity.check(call.headers)
        if call.path.startswith("/history/"):
            match = _RUN_ROUTE.fullmatch(self.workspace.within(call.path, r"/history/v1\.0"))
            if match is None:
                raise Problem(404, "NotFound", f"There is no service at {call.path}.")
            self._check_run(match["experiment"], match["run"])
            place = (EXPERIMENT_RUN, f"dcid.{match['run']}")
        else:
            match = _CONTAINER_ROUTE.fullmatch(self.workspace.within(call.path, r"/artifact/v2\.0"))
            if match is None:
                raise Problem(404, "NotFound", f"There is no service at {call.path}.")
            place = (match["origin"], match["container"])
        verbs: dict[tuple[str, str], Callable[[tuple[str, str], Call], Any]] = {
            ("GET", ""): self._list,
            ("GET", "path"): self._list,
            ("GET", "metadata"): self._get,
            ("GET", "contentinfo"): self._content_information,
            ("GET", "prefix/contentinfo"): self._content_information_by_prefix,
            ("GET", "artifacturi"): self._read_address,
            ("GET", "write"): self._write_address,
            ("POST", "batch/metadata"): self._create_batch,
            ("POST", "content"): self._upload,
            ("DELETE", "metadata"): self._delete,
            ("POST", "batch/metadata:delete"): self._delete_batch,
        }
        verb = verbs.get((call.method, match["verb"] or ""))
        if verb is None:
            raise Problem(404, "NotFound", f"There is no service at {call.path}.")
        return json_answer(verb(place, call))

    def refusal(self, problem: Problem) -> Answer:
        reason = problem.message if problem.status == 400 else None
        answer = json_answer(_error(problem.code, problem.message), problem.status, problem.headers)
        return Answer(answer.status, answer.content, answer.headers, reason)

    def _check_run(self, experiment: str, run_id: str) -> None:
        experiment_id = self._runs.get(run_id)
        if experiment_id is None:
            experiment_id = self._runs[run_id] = self._backend.find_run(run_id)["info"]["experiment_id"]
        if experiment != experiment_id and self._backend.find_experiment(experiment)["experiment_id"] != experiment_id:
            raise Problem(404, "UserError", f"Run {run_id} was not found in experiment {experiment}.")

    def _list(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        found = self._below(place, call.query.get("path", ""))
        return self._page(call, [artifact.described() for artifact in found])

    def _content_information_by_prefix(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        found = self._below(place, call.query.get("path", ""))
        return self._page(call, [self._address(artifact, READ) for artifact in found])

    def _get(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        return self._find(place, call).described()

    def _content_information(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        return self._address(self._find(place, call), READ)

    def _read_address(self, place: tuple[str, str], call: Call) -> str:
        return self._blobs.sign(self._find(place, call).artifact_id, READ)

    def _write_address(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        return self._address(self._find(place, call), WRITE)

    def _create_batch(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        paths = [one["path"] for one in call.body["paths"]]
        limit = Limits.artifacts_in_a_batch
        if len(paths) > limit:
            raise Problem(400, "UserError", f"Artifact batch size exceeded the limit of {limit}")
        created: dict[str, Artifact] = {}
        errors: dict[str, Any] = {}
        for path in paths:
            try:
                created[path] = self._create(place, path)
            except Problem as problem:
                errors[path] = _error(problem.code, problem.message)
        return {
            "artifacts": {path: artifact.described() for path, artifact in created.items()},
            "artifactContentInformation": {path: self._address(one, WRITE) for path, one in created.items()},
            "errors": errors,
        }

    def _upload(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        path = call.query.get("path", "")
        overwrites = call.query.get("allowOverwrite", "").lower() == "true"
        artifact = self._containers.get(place, {}).get(path) if overwrites else None
        artifact = artifact or self._create(place, path)
        self._blobs.put(artifact.artifact_id, call)
        return artifact.described()

    def _delete(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        self._remove([self._find(place, call)], call)
        return {}

    def _delete_batch(self, place: tuple[str, str], call: Call) -> dict[str, Any]:
        known = self._containers.get(place, {})
        self._remove([known[one["path"]] for one in call.body["paths"] if one["path"] in known], call)
        return {}

    def _remove(self, artifacts: Iterable[Artifact], call: Call) -> None:
        for artifact in artifacts:
            with self._lock:
                self._containers[artifact.origin, artifact.container].pop(artifact.path, None)
            # A soft delete leaves the bytes where they are: the path is free, its blob is not.
            if call.query.get("hardDelete", "").lower() == "true":
                self._blobs.delete(artifact.artifact_id)

    def _create(self, place: tuple[str, str], path: str) -> Artifact:
        if not path or path.startswith("/") or ".." in path.split("/") or len(path) > Limits.artifact_path:
            raise Problem(400, "UserError", f"The artifact path {path!r} is invalid.")
        artifact = Artifact(*place, path)
        with self._lock:
            known = self._containers.setdefault(place, {})
            if path in known:
                message = f"Resource Conflict: ArtifactId {artifact.artifact_id} already exists."
                raise Problem(409, "UserError", message)
            known[path] = artifact
        return artifact

    def _find(self, place: tuple[str, str], call: Call) -> Artifact:
        path = call.query.get("path", "")
        artifact = self._containers.get(place, {}).get(path)
        if artifact is None:
            raise Problem(404, "UserError", f"Artifact {'/'.join((*place, path))} was not found.")
        return artifact

    def _below(self, place: tuple[str, str], prefix: str) -> list[Artifact]:
        with self._lock:
            known = sorted(self._containers.get(place, {}).items())
        return [artifact for path, artifact in known if path.startswith(prefix)]

    def _page(self, call: Call, found: list[dict[str, Any]]) -> dict[str, Any]:
        start = int(call.query.get("continuationToken") or 0)
        end = start + self.page_size
        page: dict[str, Any] = {"value": found[start:end], "continuationToken": None, "nextLink": None}
        if end < len(found):
            query = f"path={quote(call.query.get('path', ''))}&continuationToken={end}"
            page["continuationToken"] = str(end)
            page["nextLink"] = f"https://{self.workspace.address}{quote(call.path)}?{query}"
        return page

    def _address(self, artifact: Artifact, permissions: str) -> dict[str, Any]:
        return {
            "contentUri": self._blobs.sign(artifact.artifact_id, permissions),
            "origin": artifact.origin,
            "container": artifact.container,
            "path": artifact.path,
            "tags": {},
        }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": []}}
