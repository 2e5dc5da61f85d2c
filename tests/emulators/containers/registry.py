"""A container registry as Azure Resource Manager shows it, and its quick tasks, which build images."""

from __future__ import annotations

import datetime
import itertools
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..azureml.blobs import READ, WRITE, Blobs
from ..azureml.identity import Identity
from ..azureml.messages import Answer, Call, Problem, json_answer
from ..azureml.workspace import Workspace
from .images import BuildError, Image, build
from .provider import Provider, Resource

RUNNING = ("Queued", "Started", "Running")


@dataclass
class Run:
    """A build: what was asked, how far it is, what it printed."""

    run_id: str
    asked: dict[str, Any]
    status: str = "Queued"
    log: list[str] = field(default_factory=list)
    image: Image | None = None
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))


class Registry(Provider):
    """One registry, its images, and its builds.

    Attributes:
        admin: whether the admin user is enabled.
        tasks_allowed: whether the subscription may run tasks; free ones may not.
        seconds: how long a build takes at least.
        hanging: builds wait for this to be set.
        images: what it holds, by ``repository:tag``.
        runs: all builds, in order.
        broken: name of a file that the next builds take for their Dockerfile in vain; empty: they go well.
    """

    name = "registry"
    namespace = "Microsoft.ContainerRegistry"

    def __init__(self, workspace: Workspace, identity: Identity, folder: Path, blobs: Blobs) -> None:
        super().__init__(workspace, identity)
        self.registry_name = "mlregistry"
        self.login_server = "mlregistry.azurecr.test"
        self.hanging = threading.Event()
        self.images: dict[str, Image] = {}
        self.runs: list[Run] = []
        self.passwords = [secrets.token_urlsafe(30), secrets.token_urlsafe(30)]
        self.blobs = blobs
        self._folder = folder
        self._folder.mkdir()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Refuse nothing any more; images and builds stay."""
        self.admin = True
        self.tasks_allowed = True
        self.forbidden = False
        self.seconds = 0.0
        self.broken = ""
        self.hanging.set()

    def forget_builds(self) -> None:
        """Have no image, and no build of one."""
        self.images.clear()
        for run in self.runs:
            run.asked = {**run.asked, "imageNames": []}

    @property
    def arm_id(self) -> str:
        return f"{self.prefix}/registries/{self.registry_name}"

    def pull(self, reference: str, username: str | None, password: str | None, identity: str | None) -> Image | None:
        """An image by its full name; None where there is none or the caller may not have it."""
        server, _, name = reference.partition("/")
        known = (username, password) in [(self.registry_name, one) for one in self.passwords] and self.admin
        return self.images.get(name) if server == self.login_server and (known or identity) else None

    def act(self, call: Call, path: str) -> Answer:  # noqa: PLR0911 - a line a route
        kind, name, *rest = path.split("/")
        if kind != "registries" or name.lower() != self.registry_name:
            raise self.not_found(kind, name)
        match call.method, rest:
            case "GET", []:
                return json_answer(self._described())
            case "POST", ["listCredentials"]:
                return json_answer(self._credentials())
            case "POST", ["listBuildSourceUploadUrl"]:
                relative = f"tasks-source/202611250000/{uuid.uuid4()}.tar.gz"
                return json_answer({"uploadUrl": self.blobs.sign(relative, WRITE), "relativePath": relative})
            case "POST", ["scheduleRun"]:
                return json_answer(self._run_resource(self._schedule(call.body)))
            case "GET", ["runs"]:
                newest = reversed(self.runs)
                return json_answer(
                    {"value": [self._run_resource(run) for run in newest][: int(call.query.get("$top", 100))]}
                )
            case "GET", ["runs", run_id]:
                return json_answer(self._run_resource(self._find(run_id)))
            case "POST", ["runs", run_id, "listLogSasUrl"]:
                return json_answer({"logLink": self.blobs.sign(f"logs/{self._find(run_id).run_id}/rawtext.log", READ)})
        raise Problem(404, "NotFound", f"No resource is known at {call.path}.")

    def _described(self) -> Resource:
        return {
            "id": self.arm_id,
            "name": self.registry_name,
            "type": f"{self.namespace}/registries",
            "location": self.workspace.location,
            "tags": {},
            "sku": {"name": "Basic", "tier": "Basic"},
            "properties": {
                "loginServer": self.login_server,
                "creationDate": "2026-06-01T08:00:00Z",
                "provisioningState": "Succeeded",
                "adminUserEnabled": self.admin,
                "publicNetworkAccess": "Enabled",
            },
        }

    def _credentials(self) -> Resource:
        if not self.admin:
            message = f"Cannot list credentials for the registry {self.arm_id} with admin user disabled."
            raise Problem(400, "UnAuthorizedForCredentialOperations", message)
        names = ("password", "password2")
        passwords = [{"name": name, "value": value} for name, value in zip(names, self.passwords, strict=True)]
        return {"username": self.registry_name, "passwords": passwords}

    def _schedule(self, asked: dict[str, Any]) -> Run:
        if not self.tasks_allowed:
            message = (
                f"ACR Tasks requests for the registry {self.registry_name} and {uuid.uuid4()} are not permitted. "
                "Please file an Azure support request at http://aka.ms/azuresupport for assistance."
            )
            raise Problem(403, "TasksOperationsNotAllowed", message)
        if asked.get("type") != "DockerBuildRequest" or "platform" not in asked or "dockerFilePath" not in asked:
            raise Problem(400, "InvalidParameter", "The run request is not valid.")
        if self.blobs.content(asked.get("sourceLocation", "")) is None:
            raise Problem(400, "InvalidParameter", f"The source location '{asked.get('sourceLocation')}' is not valid.")
        run = Run(f"c{next(self._numbers)}", asked)
        with self._lock:
            self.runs.append(run)
        threading.Thread(target=self._work, args=(run,), daemon=True).start()
        return run

    def _work(self, run: Run) -> None:
        run.status = "Running"
        self.hanging.wait()
        time.sleep(self.seconds)
        archive = self._folder / f"{run.run_id}.tar.gz"
        dockerfile = self.broken or run.asked["dockerFilePath"]
        archive.write_bytes(self.blobs.content(run.asked["sourceLocation"]) or b"")
        try:
            run.image = build(archive, dockerfile, self._folder / run.run_id, run.log.append)
            for name in run.asked.get("imageNames", ()):
                self.images[name] = run.image
            status = "Succeeded"
        except BuildError as error:
            run.log += [*str(error).splitlines(), "failed to run step ID: build: exit status 1"]
            status = "Failed"
        self.blobs.store(f"logs/{run.run_id}/rawtext.log", "\n".join((*run.log, "")).encode())
        run.status = status

    def _find(self, run_id: str) -> Run:
        run = next((run for run in self.runs if run.run_id == run_id), None)
        if run is None:
            raise Problem(404, "RunNotFound", f"The run {run_id} was not found.")
        return run

    def _run_resource(self, run: Run) -> Resource:
        state = {"Succeeded": "Succeeded", "Failed": "Failed"}.get(run.status, "Creating")
        properties: dict[str, Any] = {
            "runId": run.run_id,
            "status": run.status,
            "runType": "QuickBuild",
            "createTime": run.created.isoformat(),
            "platform": run.asked["platform"],
            "provisioningState": state,
            "isArchiveEnabled": False,
        }
        if run.image and run.status == "Succeeded":
            properties["outputImages"] = [
                {"registry": self.login_server, "repository": repository, "tag": tag, "digest": run.image.digest}
                for repository, tag in (name.split(":") for name in run.asked.get("imageNames", ()))
            ]
        return {
            "id": f"{self.arm_id}/runs/{run.run_id}",
            "name": run.run_id,
            "type": f"{self.namespace}/registries/runs",
            "properties": properties,
        }
