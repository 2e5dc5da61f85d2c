"""A Databricks workspace on loopback, as far as the real databricks-sdk can tell.

A route is a method and a path; what it answers is a method of `DatabricksEmulator`. To cover another service, add its
state in ``__init__`` and its routes to ``_routes``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "dapi-emulated"
# What a library goes through on a running cluster; each look at it takes it one step on.
STEPS = ("PENDING", "RESOLVING", "INSTALLING")


class ServiceError(Exception):
    """What the service answers instead of a result."""

    def __init__(self, status: int, error_code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.body = {"error_code": error_code, "message": message}
        self.headers = dict(headers or {})


@dataclass
class Library:
    """One library on a cluster: how far it is, and how it ends."""

    package: str
    looks: int = 0

    def step(self) -> str | None:
        return STEPS[self.looks] if self.looks < len(STEPS) else None


@dataclass
class Cluster:
    """A cluster, what is on it, and what its user may do.

    ``broken`` holds the packages that fail to install, each with the service's message.
    """

    state: str = "RUNNING"
    may_manage: bool = True
    broken: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, Library] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    body: dict[str, Any]


@dataclass
class Fault:
    """An answer to the next requests whose path ends so, in place of the real one."""

    path: str
    error: ServiceError
    left: int


class DatabricksEmulator:
    """A workspace that listens while its ``with`` block runs.

    >>> with DatabricksEmulator() as databricks:
    ...     databricks.clusters["0101-one"] = Cluster()
    ...     WorkspaceClient(host=databricks.host, token=TOKEN).clusters.get("0101-one")
    """

    def __init__(self) -> None:
        self.user_name = "someone@example.com"
        self.clusters: dict[str, Cluster] = {}
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
            ("GET", "/api/2.0/preview/scim/v2/Me"): self._me,
            ("GET", "/api/2.1/clusters/get"): self._cluster,
            ("GET", "/api/2.0/libraries/cluster-status"): self._library_status,
            ("POST", "/api/2.0/libraries/install"): self._install,
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> DatabricksEmulator:
        # The server looks every so often whether it shall stop; half a second, its default, is long for a test.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail_next(self, count: int, path: str, status: int, *, retry_after: int | None = None) -> None:
        """Answer the next requests whose path ends with ``path`` by an error: 429, 500, 503."""
        codes = {429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        error = ServiceError(status, codes[status], HTTPStatus(status).phrase, headers)
        self._faults.append(Fault(path, error, count))

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.endswith(path)]

    def answer(self, request: Request, query: dict[str, Any], authorization: str | None) -> dict[str, Any]:
        """What the service answers; raises `ServiceError`."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.left and request.path.endswith(fault.path):
                    fault.left -= 1
                    raise fault.error
            if authorization != f"Bearer {TOKEN}":
                raise ServiceError(403, "PERMISSION_DENIED", "Invalid access token.")
            route = self._routes.get((request.method, request.path))
            if route is None:
                raise ServiceError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {request.path}'")
            return route({**query, **request.body})

    def _me(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"id": "1", "userName": self.user_name, "active": True}

    def _cluster(self, asked: dict[str, Any]) -> dict[str, Any]:
        cluster = self._find_cluster(asked)
        return {"cluster_id": asked["cluster_id"], "state": cluster.state, "spark_version": "18.x-cpu-ml-scala2.13"}

    def _install(self, asked: dict[str, Any]) -> dict[str, Any]:
        cluster = self._find_cluster(asked)
        if not cluster.may_manage:
            raise ServiceError(
                403,
                "PERMISSION_DENIED",
                f"{self.user_name} does not have Manage permissions on {asked['cluster_id']}.",
            )
        for library in asked.get("libraries", []):
            package = library["pypi"]["package"]
            cluster.libraries.setdefault(package, Library(package))
        return {}

    def _library_status(self, asked: dict[str, Any]) -> dict[str, Any]:
        cluster = self._find_cluster(asked)
        statuses = [_status(library, cluster) for library in cluster.libraries.values()]
        return {"cluster_id": asked["cluster_id"], **({"library_statuses": statuses} if statuses else {})}

    def _find_cluster(self, asked: dict[str, Any]) -> Cluster:
        cluster_id = asked.get("cluster_id")
        if not cluster_id:
            raise ServiceError(400, "INVALID_PARAMETER_VALUE", "Missing required field: cluster_id")
        if cluster_id not in self.clusters:
            raise ServiceError(400, "INVALID_PARAMETER_VALUE", f"Cluster {cluster_id} does not exist")
        return self.clusters[cluster_id]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._respond()

            def do_POST(self) -> None:
                self._respond()

            def _respond(self) -> None:
                url = urlsplit(self.path)
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, url.path, json.loads(sent) if sent else {})
                status, headers = 200, {}
                try:
                    body = emulator.answer(request, dict(parse_qsl(url.query)), self.headers.get("Authorization"))
                except ServiceError as error:
                    status, headers, body = error.status, error.headers, error.body
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Tests look at `requests`; nothing goes to the screen."""

        return Handler


def _status(library: Library, cluster: Cluster) -> dict[str, Any]:
    status: dict[str, Any] = {"library": {"pypi": {"package": library.package}}, "is_library_for_all_clusters": False}
    # On a stopped cluster a library waits for its start.
    if cluster.state != "RUNNING":
        return {**status, "status": "PENDING"}
    step = library.step()
    library.looks += 1
    if step:
        return {**status, "status": step}
    if library.package in cluster.broken:
        return {**status, "status": "FAILED", "messages": [cluster.broken[library.package]]}
    return {**status, "status": "INSTALLED"}
