"""The tracking and registry API of Azure ML: MLflow 2's, in front of a real MLflow server."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from . import limits
from .backend import Backend
from .identity import Identity
from .limits import Limits
from .messages import Answer, Call, Problem, Service, json_answer
from .registry import REGISTRY_ROUTES, Registry
from .workspace import Workspace

_VERBS = {
    "experiments": (
        *("create", "search", "get", "get-by-name", "delete", "restore", "update"),
        *("set-experiment-tag",),
    ),
    "runs": (
        *("create", "update", "delete", "restore", "get", "search"),
        *("log-metric", "log-parameter", "log-batch", "log-model", "log-inputs", "set-tag", "delete-tag"),
        *("log-batch-async", "get-run-data-status"),
    ),
    "metrics": ("get-history",),
}
TRACKING_ROUTES = frozenset(f"mlflow/{noun}/{verb}" for noun, verbs in _VERBS.items() for verb in verbs)
_PREFIX = r"/mlflow/v[12]\.0"
_API = re.compile(r"/api/2\.0/(?:preview/)?(?P<route>mlflow/.+)")


class Tracking(Service):
    """Experiments, runs and metrics; what asks for models goes to the `Registry`.

    Attributes:
        limits: what the service accepts; a test or benchmark may set others.
    """

    name = "tracking"

    def __init__(self, workspace: Workspace, identity: Identity, backend: Backend, registry: Registry) -> None:
        self.workspace = workspace
        self.identity = identity
        self.limits = Limits()
        self._backend = backend
        self._registry = registry

    def answer(self, call: Call) -> Answer:
        self.identity.check(call.headers)
        match = _API.fullmatch(self.workspace.within(call.path, _PREFIX))
        route = match["route"] if match else ""
        asked = call.lists if call.method == "GET" else call.body or {}
        if route in REGISTRY_ROUTES:
            return json_answer(self._registry.ask(call.method, route, asked, self.limits))
        if route in TRACKING_ROUTES:
            return json_answer(self.ask(call.method, route, asked))
        # No body: azure-sdk-for-python issue 44896.
        return Answer(404)

    def refusal(self, problem: Problem) -> Answer:
        codes = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST"}
        codes |= {429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
        error_code = problem.code if problem.code.isupper() else codes.get(problem.status, "BAD_REQUEST")
        kind = "ValidationError" if error_code == "INVALID_PARAMETER_VALUE" else "UserError"
        body = {
            "Error": {
                "Code": kind if problem.status < 500 else "ServiceError",
                "Severity": None,
                "Message": problem.message,
                "MessageFormat": None,
                "MessageParameters": None,
                "ReferenceCode": None,
                "DetailsUri": None,
                "Target": None,
                "Details": [],
                "InnerError": None,
                "DebugInfo": None,
                "AdditionalInfo": None,
            },
            "Correlation": {"operation": secrets.token_hex(16), "request": secrets.token_hex(8)},
            "Environment": self.workspace.location,
            "Location": self.workspace.location,
            "Time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "ComponentName": "mlflow",
            "statusCode": problem.status,
            "error_code": error_code,
        }
        return json_answer(body, problem.status, problem.headers)

    def ask(self, method: str, route: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What a client is told; raises `Problem`."""
        self._check(route, asked)
        if route == "mlflow/runs/log-batch-async":
            self._backend.ask("POST", "mlflow/runs/log-batch", asked)
            # Without metrics there is nothing to wait for.
            return {"batch_tracking_id": secrets.token_hex(16) if asked.get("metrics") else ""}
        if route == "mlflow/runs/get-run-data-status":
            self._backend.ask("GET", "mlflow/runs/get", {"run_id": asked["run_id"]})
            return {"is_complete": True}
        told = self._backend.ask(method, route, asked)
        if route == "mlflow/experiments/search":
            told["experiments"] = [one for one in told.get("experiments", ()) if "/" not in one["name"]]
        return told

    def _check(self, route: str, asked: Mapping[str, Any]) -> None:
        verb = route.removeprefix("mlflow/")
        if verb in ("experiments/create", "experiments/update"):
            limits.check_experiment_name(asked.get("name") or asked.get("new_name") or "", self.limits)
        if verb == "experiments/get-by-name" and "/" in asked.get("experiment_name", [""])[0]:
            raise Problem(404, "RESOURCE_DOES_NOT_EXIST", f"Could not find experiment {asked['experiment_name'][0]}")
        if verb in ("experiments/create", "experiments/set-experiment-tag"):
            tags = asked.get("tags") or ([asked] if verb.endswith("tag") else [])
            limits.check_tags(tags, longest_key=self.limits.experiment_tag_key, limits=self.limits)
        if verb in ("runs/create", "runs/set-tag", "runs/log-batch", "runs/log-batch-async"):
            self._check_run_tags(asked, [asked] if verb == "runs/set-tag" else asked.get("tags") or [])
        if verb in ("runs/log-parameter", "runs/log-batch", "runs/log-batch-async"):
            self._check_params(asked, [asked] if verb == "runs/log-parameter" else asked.get("params") or [])
        if verb in ("runs/log-metric", "runs/log-batch", "runs/log-batch-async"):
            limits.check_metrics([asked] if verb == "runs/log-metric" else asked.get("metrics") or [], self.limits)

    def _check_run_tags(self, asked: Mapping[str, Any], tags: list[Mapping[str, Any]]) -> None:
        limits.check_tags(tags, longest_key=self.limits.run_tag_key, limits=self.limits)
        if tags:
            limits.check_tag_count([*self._keys_of(asked, "tags"), *(tag["key"] for tag in tags)], self.limits)

    def _check_params(self, asked: Mapping[str, Any], params: list[Mapping[str, Any]]) -> None:
        limits.check_params(params, self.limits)
        if params:
            limits.check_param_count([*self._keys_of(asked, "params"), *(one["key"] for one in params)], self.limits)

    def _keys_of(self, asked: Mapping[str, Any], kind: str) -> Iterable[str]:
        run_id = asked.get("run_id") or asked.get("run_uuid")
        return [one["key"] for one in self._backend.find_run(run_id)["data"].get(kind, ())] if run_id else []
