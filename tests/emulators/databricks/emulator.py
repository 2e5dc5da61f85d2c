"""The workspace's address, who is signed in, and the services behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email import message_from_bytes
from typing import Any

from tests.emulators.azureml.faults import CODES
from tests.emulators.azureml.messages import Answer, Call, Problem, Service, json_answer
from tests.emulators.azureml.service import Emulator, HttpService

from .catalog import UnityCatalog
from .compute import Cluster, Compute
from .jobs import Jobs
from .objects import Objects
from .routes import Asked, Routes
from .secrets import Secrets

TOKEN = "dapi-emulated"
ORG_ID = 1234567890123456
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class DatabricksEmulator(Emulator):
    """A workspace that listens while its ``with`` block runs.

    >>> with DatabricksEmulator() as databricks:
    ...     databricks.clusters["0101-one"] = Cluster()
    ...     WorkspaceClient(host=databricks.host, token=TOKEN).clusters.get("0101-one")

    Another service of the workspace is plugged in by its routes:

    >>> databricks.add({("GET", "/api/2.0/serving-endpoints/(?P<name>[^/]+)"): lambda asked: {"name": asked["name"]}})

    Attributes:
        compute, objects, secrets, jobs, catalog: the services, for what a test wants to set or look at.
    """

    def __init__(self) -> None:
        self._service = HttpService()
        self.user_name = "someone@example.com"
        self.compute = Compute(self)
        self.objects = Objects(self)
        self.secrets = Secrets()
        self.jobs = Jobs(self)
        self.catalog = UnityCatalog(self)
        self._api = _Api()
        self.add({("GET", "/api/2.0/preview/scim/v2/Me"): self._me})
        for service in (self.compute, self.objects, self.secrets, self.jobs, self.catalog):
            self.add(service.routes())

    def __enter__(self) -> DatabricksEmulator:
        self._service.serve([(r"/", self._api)])
        return self

    def __exit__(self, *_: object) -> None:
        self._service.close()

    def add(self, routes: Routes) -> None:
        """Plug a service in; a later route wins over an earlier one."""
        self._api.add(routes)

    @property
    def host(self) -> str:
        return self._service.url

    @property
    def clusters(self) -> dict[str, Cluster]:
        return self.compute.clusters

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process use this workspace."""
        return {"DATABRICKS_HOST": self.host, "DATABRICKS_TOKEN": TOKEN}

    def _me(self, _: Asked) -> dict[str, Any]:
        return {"id": "1", "userName": self.user_name, "active": True}


class _Api(Service):
    """The REST API: one token, one route an answer."""

    name = "databricks"

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Any]] = []

    def add(self, routes: Routes) -> None:
        new = [(method, re.compile(path), answer) for (method, path), answer in routes.items()]
        self._routes = new + self._routes

    def answer(self, call: Call) -> Answer:
        if call.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Problem(403, "PERMISSION_DENIED", "Invalid access token.")
        for method, path, answer in self._routes:
            match = path.fullmatch(call.path)
            if match and method == call.method:
                told = answer({**call.query, **_body(call), **match.groupdict()})
                headers = {"X-Databricks-Org-Id": str(ORG_ID)}
                return told if isinstance(told, Answer) else json_answer(told, headers=headers)
        raise Problem(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call.method} {call.path}'")

    def refusal(self, problem: Problem) -> Answer:
        # A fault has another service's word for its status.
        code = _CODES.get(problem.status, problem.code) if problem.code in CODES.values() else problem.code
        return json_answer({"error_code": code, "message": problem.message}, problem.status, problem.headers)


def _body(call: Call) -> Mapping[str, Any]:
    kind = call.headers.get("Content-Type") or ""
    if kind.startswith("multipart/form-data"):
        parts = message_from_bytes(f"Content-Type: {kind}\n\n".encode() + call.content).get_payload()
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            if part.get_filename()
            else part.get_payload()
            for part in parts  # type: ignore[union-attr]
        }
    return json.loads(call.content) if call.length else {}
