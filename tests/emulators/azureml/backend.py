"""The MLflow server behind the services, spoken to as Azure ML's clients speak."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .ids import ExperimentIds, run_guid, run_guids_in, server_run_id, server_run_ids_in
from .messages import Problem
from .mlflow_server import MLflowServer
from .workspace import Workspace

_RUN_ID_TERM = re.compile(
    r"(?<![\w.`])(?:(?:attributes?|attr|run)\.)?`?run_id`?\s*(?:=|!=|not\s+in|in|like|ilike)\s*"
    r"""(?:\([^)]*\)|'[^']*'|"[^"]*")""",
    re.IGNORECASE,
)
# What MLflow 3 added to the entities of MLflow 2.
_UNKNOWN_FIELDS = frozenset(
    {
        *("model_id", "dataset_name", "dataset_digest", "models", "model_inputs", "outputs"),
        *("aliases", "model_params", "model_metrics", "deployment_job_id", "deployment_job_state"),
    }
)


class Backend:
    """Translates ids, and keeps from either side what MLflow 2 does not know."""

    def __init__(self, workspace: Workspace, server: MLflowServer) -> None:
        self.workspace = workspace
        self._server = server
        self._experiment_ids = ExperimentIds()

    def ask(self, method: str, route: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the tracking server tells; raises `Problem`."""
        told: dict[str, Any] = self._outward(self._call(method, route, self._inward(asked)))
        return told

    def ask_registry(self, method: str, route: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Likewise the model registry, which keeps the ids of runs as its clients wrote them."""
        told: dict[str, Any] = _without_unknown_fields(self._call(method, route, _without_unknown_fields(asked)))
        return told

    def find_run(self, run_id: str) -> dict[str, Any]:
        """The run, as clients see it; raises `Problem` 404."""
        run: dict[str, Any] = self.ask("GET", "mlflow/runs/get", {"run_id": run_id})["run"]
        return run

    def find_experiment(self, name_or_id: str) -> dict[str, Any]:
        """The experiment, as clients see it; raises `Problem` 404."""
        try:
            told = self.ask("GET", "mlflow/experiments/get", {"experiment_id": name_or_id})
        except Problem:
            told = self.ask("GET", "mlflow/experiments/get-by-name", {"experiment_name": name_or_id})
        experiment: dict[str, Any] = told["experiment"]
        return experiment

    def _call(self, method: str, route: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        status, told = self._server.call(method, route, asked)
        if status != 200:
            raise Problem(status, told.get("error_code", "INTERNAL_ERROR"), run_guids_in(told.get("message", "")))
        return told

    def _inward(self, value: Any, key: str = "") -> Any:
        """The value as the server behind knows it."""
        if isinstance(value, Mapping):
            return {name: self._inward(one, name) for name, one in _known_fields(value).items()}
        if isinstance(value, list):
            return [self._inward(one, key) for one in value]
        if key in ("run_id", "run_uuid"):
            return server_run_id(value)
        if key in ("experiment_id", "experiment_ids"):
            return self._experiment_ids.server_id(value)
        if key == "filter":
            return _RUN_ID_TERM.sub(lambda term: server_run_ids_in(term[0]), value)
        return value

    def _outward(self, value: Any, key: str = "") -> Any:
        """The value as clients know it."""
        if isinstance(value, Mapping):
            shown = {name: self._outward(one, name) for name, one in _known_fields(value).items()}
            if "artifact_uri" in shown:
                shown["artifact_uri"] = self.workspace.artifact_uri(shown["experiment_id"], shown["run_id"])
            return shown
        if isinstance(value, list):
            return [self._outward(one, key) for one in value]
        if key in ("run_id", "run_uuid"):
            return run_guid(value)
        if key == "experiment_id":
            return self._experiment_ids.guid(value)
        return "" if key == "artifact_location" else value


def _known_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name not in _UNKNOWN_FIELDS}


def _without_unknown_fields(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_unknown_fields(one) for name, one in _known_fields(value).items()}
    if isinstance(value, list):
        return [_without_unknown_fields(one) for one in value]
    return value
