"""Online endpoints and their deployments, by Azure Resource Manager."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .assets import SYSTEM_DATA, Assets
from .containers import Container
from .identity import Identity
from .messages import Answer, Call, Problem, json_answer
from .online_operations import OnlineOperations
from .workspace import PROVIDER, Workspace

_ROUTE = re.compile(
    r"/onlineEndpoints(?:/(?P<endpoint>[^/]+)(?:/(?P<verb>listKeys|token)"
    r"|/deployments(?:/(?P<deployment>[^/]+)(?P<logs>/getLogs)?)?(?P<deployments>))?)?"
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,31}")
_CORES = {"Standard_DS2_v2": 2, "Standard_DS3_v2": 4, "Standard_F4s_v2": 4, "Standard_DS5_v2": 16}
MANAGED, KUBERNETES = "Managed", "Kubernetes"


@dataclass
class Deployment:
    """One deployment; ``container`` is there once it was healthy, ``failed`` the last that was not."""

    name: str
    body: dict[str, Any]
    state: str = "Creating"
    container: Container | None = None
    failed: Container | None = None

    @property
    def properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = self.body["properties"]
        return properties

    @property
    def timeout(self) -> float:
        """Seconds that an answer may take."""
        said = (self.properties.get("requestSettings") or {}).get("requestTimeout") or "PT5S"
        return float(
            re.sub(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", lambda m: str(60 * int(m[1] or 0) + float(m[2] or 0)), said)
        )


@dataclass
class Endpoint:
    """One endpoint."""

    name: str
    body: dict[str, Any]
    state: str = "Creating"
    keys: tuple[str, str] = field(default_factory=lambda: (secrets.token_urlsafe(24), secrets.token_urlsafe(24)))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    deployments: dict[str, Deployment] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = self.body["properties"]
        return properties

    @property
    def kind(self) -> str:
        return KUBERNETES if self.properties.get("compute") else MANAGED

    @property
    def traffic(self) -> dict[str, int]:
        return dict(self.properties.get("traffic") or {})

    @property
    def busy(self) -> str:
        """What is under way here; empty when nothing is."""
        everything: list[Endpoint | Deployment] = [self, *self.deployments.values()]
        for one in everything:
            if one.state not in ("Succeeded", "Failed"):
                return f"{type(one).__name__} {one.name} is in state {one.state}"
        return ""


class OnlineEndpoints:
    """All endpoints of the workspace.

    Attributes:
        endpoints: them, by name.
        quota: cores that deployments may take.
        taken: names that other workspaces of the region have.
        build_error: what every image fails to be built with; empty: they are built.
        healthy_within: seconds in which a container has to become healthy; Azure's own probes allow 310.
        forbidden: whether this identity may read only.
        hanging: deployments wait for this to be set before they are built.
    """

    def __init__(self, workspace: Workspace, identity: Identity, assets: Assets, folder: Path) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.quota = 24
        self.taken: set[str] = set()
        self.build_error = ""
        self.healthy_within = 310.0
        self.forbidden = False
        self.hanging = threading.Event()
        self.hanging.set()
        self.operations = OnlineOperations(workspace)
        self._workspace = workspace
        self._identity = identity
        self._assets = assets
        self._folder = folder
        self._lock = threading.Lock()
        self._containers: list[Container] = []
        # Starting one takes seconds: those that are the same in all they can see are one, which runs to the end.
        self._sound: dict[tuple[object, ...], Container] = {}

    def close(self) -> None:
        for container in self._containers:
            container.stop()

    def answer(self, call: Call, rest: str) -> Answer | None:
        """The answer to a call for an endpoint; None for any other path."""
        match = _ROUTE.fullmatch(rest)
        if match is None:
            return None
        if self.forbidden and (call.method in ("PUT", "DELETE") or match["verb"]):
            raise Problem(403, "Forbidden", "")
        if match["endpoint"] is None:
            return json_answer({"value": [self._described(one) for one in self.endpoints.values()]})
        of_deployments = match["deployments"] is not None
        return self._of_deployments(match, call) if of_deployments else self._of_endpoint(match, call)

    def _of_endpoint(self, match: re.Match[str], call: Call) -> Answer:
        if call.method == "PUT":
            return self._put(match["endpoint"], call.body)
        endpoint = self._find(match["endpoint"])
        if match["verb"]:
            return json_answer(self._credentials(endpoint, match["verb"]))
        return self._delete(endpoint) if call.method == "DELETE" else json_answer(self._described(endpoint))

    def _of_deployments(self, match: re.Match[str], call: Call) -> Answer:
        endpoint, name = self._find(match["endpoint"]), match["deployment"]
        if name is None:
            return json_answer({"value": [self._shown(endpoint, one) for one in endpoint.deployments.values()]})
        if call.method == "PUT":
            return self._deploy(endpoint, name, call.body)
        found = endpoint.deployments.get(name)
        if found is None:
            raise Problem(404, "ResourceNotFound", f"Deployment {name} of {endpoint.name} was not found.")
        if match["logs"]:
            return json_answer({"content": self._log(found, int(call.body.get("tail") or 100))})
        return self._remove(endpoint, found) if call.method == "DELETE" else json_answer(self._shown(endpoint, found))

    def _find(self, name: str) -> Endpoint:
        found = self.endpoints.get(name)
        if found is None:
            message = (
                f"The Resource '{PROVIDER}/workspaces/{self._workspace.name}/onlineEndpoints/{name}' under resource "
                f"group '{self._workspace.resource_group}' was not found."
            )
            raise Problem(404, "ResourceNotFound", message)
        return found

    def _put(self, name: str, body: dict[str, Any]) -> Answer:
        if not _NAME.fullmatch(name) or name.endswith("-"):
            raise Problem(400, "UserError", f"Endpoint name {name} is invalid.")
        if name in self.taken:
            raise Problem(
                400, "UserError", f"An endpoint with name {name} already exists in region {self._workspace.location}."
            )
        compute = body["properties"].get("compute")
        if compute:
            self._check_compute(compute)
        with self._lock:
            known = self.endpoints.get(name)
            if known:
                self._claim(known, known, "Updating")
            endpoint = known or Endpoint(name, {**body, "properties": {**body["properties"], "traffic": {}}})
            self.endpoints[name] = endpoint
            self._identity.given_out.update((*endpoint.keys, endpoint.token))
        if known:
            self._check_traffic(endpoint, body["properties"].get("traffic") or {})

        def work() -> None:
            endpoint.body = body

        return self._accepted(endpoint, endpoint, work, self._described(endpoint), created=known is None)

    def _deploy(self, endpoint: Endpoint, name: str, body: dict[str, Any]) -> Answer:
        properties = body["properties"]
        if not _NAME.fullmatch(name) or name.endswith("-"):
            raise Problem(400, "UserError", f"Deployment name {name} is invalid.")
        if properties.get("endpointComputeType") != endpoint.kind:
            raise _invalid(f"Endpoint {endpoint.name} takes deployments of type {endpoint.kind} only.")
        self._assets.by_id(properties["model"], "models")
        self._assets.by_id(properties["environmentId"], "environments")
        self._assets.by_id(properties["codeConfiguration"]["codeId"], "codes")
        with self._lock:
            known = endpoint.deployments.get(name)
            if endpoint.kind == MANAGED:
                self._check_quota(name, body)
            self._claim(endpoint, known, "Updating")
            deployment = known or Deployment(name, body)
            endpoint.deployments[name] = deployment
        shown = self._shown(endpoint, deployment)
        return self._accepted(endpoint, deployment, partial(self._run, deployment, body), shown, created=known is None)

    def _run(self, deployment: Deployment, body: dict[str, Any]) -> None:
        """Build, start, and put the new container into the place of the old."""
        properties = body["properties"]
        deployment.failed = None
        if deployment.container is None:
            deployment.body = body
        self.hanging.wait()
        if self.build_error:
            raise Problem(400, "ImageBuildFailure", f"Image build failed: {self.build_error}.")
        seen = (properties["model"], properties["codeConfiguration"]["codeId"], properties["environmentId"])
        key = (*seen, *sorted((properties.get("environmentVariables") or {}).items()))
        container = self._sound.get(key) or self._start(properties)
        try:
            container.wait(self.healthy_within)
        except Problem:
            if key not in self._sound:
                container.stop()
            deployment.failed = container
            raise
        self._sound[key] = deployment.container = container
        deployment.body = body

    def _start(self, properties: dict[str, Any]) -> Container:
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=self._folder))
        code = self._assets.mount_code(properties["codeConfiguration"]["codeId"], folder)
        model = self._assets.mount_model(properties["model"], folder)
        script = code / properties["codeConfiguration"]["scoringScript"]
        conda = self._assets.conda(properties["environmentId"])
        container = Container(conda, script, model, properties.get("environmentVariables") or {})
        self._containers.append(container)
        return container

    def _delete(self, endpoint: Endpoint) -> Answer:
        with self._lock:
            self._claim(endpoint, endpoint, "Deleting")

        def work() -> None:
            del self.endpoints[endpoint.name]

        return self._accepted(endpoint, endpoint, work, None)

    def _remove(self, endpoint: Endpoint, deployment: Deployment) -> Answer:
        if endpoint.traffic.get(deployment.name):
            raise _invalid(f"Deployment {deployment.name} has live traffic; set it to 0 before deleting.")
        with self._lock:
            self._claim(endpoint, deployment, "Deleting")

        def work() -> None:
            del endpoint.deployments[deployment.name]

        return self._accepted(endpoint, deployment, work, None)

    def _claim(self, endpoint: Endpoint, changed: Endpoint | Deployment | None, state: str) -> None:
        """Raises `Problem` 409 while another operation is under way at the endpoint, as Microsoft documents it."""
        if endpoint.busy:
            raise Problem(409, "Conflict", f"Another operation is in progress: {endpoint.busy}.")
        if changed:
            changed.state = state

    def _accepted(
        self,
        endpoint: Endpoint,
        changed: Endpoint | Deployment,
        work: Callable[[], None],
        shown: dict[str, Any] | None,
        *,
        created: bool = False,
    ) -> Answer:
        def end(problem: Problem | None) -> None:
            changed.state = "Failed" if problem else "Succeeded"

        headers = self.operations.start(work, end)
        if shown is None:
            # Clients take whole seconds only here; without, they ask as often as they like.
            del headers["Retry-After"]
            return Answer(202, headers=headers)
        return json_answer(shown, 201 if created else 200, headers)

    def _check_compute(self, compute: str) -> None:
        name = compute.rpartition("/computes/")[2]
        if self._assets.computes.get(name) != KUBERNETES:
            raise _invalid(f"Compute {name} is no attached Kubernetes cluster.")

    def _check_traffic(self, endpoint: Endpoint, traffic: dict[str, int]) -> None:
        try:
            if sum(traffic.values()) not in (0, 100):
                raise _invalid("The sum of traffic must be 0 or 100.")
            for name, share in traffic.items():
                found = endpoint.deployments.get(name)
                if share and (found is None or found.container is None):
                    raise _invalid(f"Traffic names deployment {name}, which is not there or not healthy.")
        except Problem:
            endpoint.state = "Succeeded"
            raise

    def _check_quota(self, name: str, body: dict[str, Any]) -> None:
        kind = body["properties"].get("instanceType")
        if kind not in _CORES:
            raise _invalid(f"Instance type {kind} is not supported.")
        others = [one for endpoint in self.endpoints.values() for one in endpoint.deployments.values()]
        used = sum(_cores(one.body) for one in others if one.name != name)
        needed = _cores(body)
        if used + needed > self.quota:
            why = (
                f"Not enough quota available for {kind} in SubscriptionId {self._workspace.subscription_id}. Current "
                f"usage/limit: {used}/{self.quota}. Additional needed: {needed} Please see troubleshooting guide, "
                "available here: https://aka.ms/oe-tsg#error-outofquota"
            )
            detail = json.dumps({"errors": {"VmSize": [why]}, "status": 400})
            message = f"The request is invalid. InferencingClient HttpRequest error, error detail: {detail}"
            raise Problem(400, "BadRequest", message)

    def _credentials(self, endpoint: Endpoint, verb: str) -> dict[str, Any]:
        mode = {"listKeys": "Key", "token": "AMLToken"}[verb]
        if endpoint.properties["authMode"] != mode:
            raise _invalid(f"Endpoint {endpoint.name} has authMode {endpoint.properties['authMode']}.")
        if verb == "listKeys":
            return {"primaryKey": endpoint.keys[0], "secondaryKey": endpoint.keys[1]}
        now = int(time.time())
        return {
            "accessToken": endpoint.token,
            "expiryTimeUtc": now + 3600,
            "refreshAfterTimeUtc": now + 1800,
            "tokenType": "Bearer",
        }

    def _log(self, deployment: Deployment, lines: int) -> str:
        container = deployment.failed or deployment.container
        return container.log(lines) if container else ""

    def scoring_path(self, endpoint: Endpoint) -> str:
        """Where it answers: managed endpoints have a host of their own at Azure, Kubernetes clusters this path."""
        if endpoint.kind == KUBERNETES:
            return f"/api/v1/endpoint/{endpoint.name}/score"
        return f"/{endpoint.name}.{self._workspace.location}.inference/score"

    def _described(self, endpoint: Endpoint) -> dict[str, Any]:
        path = f"https://{self._workspace.address}{self.scoring_path(endpoint)}"
        properties = {
            "properties": {},
            **endpoint.properties,
            "provisioningState": endpoint.state,
            "scoringUri": path,
            "swaggerUri": path.replace("/score", "/swagger.json"),
        }
        return {**self._common(endpoint, f"onlineEndpoints/{endpoint.name}"), "properties": properties}

    def _shown(self, endpoint: Endpoint, deployment: Deployment) -> dict[str, Any]:
        path = f"onlineEndpoints/{endpoint.name}/deployments/{deployment.name}"
        defaults: dict[str, Any] = {"properties": {}, "scaleSettings": {"scaleType": "Default"}}
        if endpoint.kind == KUBERNETES:
            container = {"cpu": "100m", "memory": "500Mi"}
            defaults["containerResourceRequirements"] = {"containerResourceRequests": container}
        properties = {**defaults, **deployment.properties, "provisioningState": deployment.state}
        return {**self._common(deployment, path), "sku": deployment.body.get("sku"), "properties": properties}

    def _common(self, one: Endpoint | Deployment, path: str) -> dict[str, Any]:
        kinds = "/".join(path.split("/")[::2])
        return {
            "id": f"{self._workspace.scope}/{path}",
            "name": one.name,
            "type": f"{PROVIDER}/workspaces/{kinds}",
            "location": self._workspace.location,
            "tags": one.body.get("tags") or {},
            "identity": one.body.get("identity"),
            "systemData": SYSTEM_DATA,
        }


def _cores(body: dict[str, Any]) -> int:
    """Cores of a deployment's machines, and a fifth more, which Azure ML keeps for upgrades."""
    cores: int = _CORES.get(body["properties"].get("instanceType"), 0) * body["sku"]["capacity"]
    return -(-cores * 6 // 5)


def _invalid(message: str) -> Problem:
    return Problem(400, "BadRequest", f"The request is invalid. {message}")
