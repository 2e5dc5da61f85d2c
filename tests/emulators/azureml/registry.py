"""The model registry of an Azure ML workspace, by MLflow's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import limits
from .artifacts import Artifacts
from .backend import Backend
from .limits import Limits

# Registered models can't be renamed, and have no aliases.
_VERBS = {
    "registered-models": (
        *("create", "get", "search", "update", "delete", "get-latest-versions"),
        *("set-tag", "delete-tag"),
    ),
    "model-versions": (
        *("create", "get", "search", "update", "delete", "transition-stage", "get-download-uri"),
        *("set-tag", "delete-tag"),
    ),
}
REGISTRY_ROUTES = frozenset(f"mlflow/{noun}/{verb}" for noun, verbs in _VERBS.items() for verb in verbs)
_RUN_SOURCE = re.compile(
    r"azureml://[^/]+(?P<path>/.+)/experiments/[^/]+/runs/(?P<run_id>[^/]+)/artifacts/(?P<prefix>.+)"
)
_ARTIFACT_SOURCE = re.compile(r"azureml://artifacts/(?P<origin>[^/]+)/(?P<container>[^/]+)/(?P<prefix>.+)")


class Registry:
    """Models and versions, whose files must be among the artifacts of this workspace."""

    def __init__(self, backend: Backend, artifacts: Artifacts) -> None:
        self._backend = backend
        self._artifacts = artifacts

    def ask(self, method: str, route: str, asked: Mapping[str, Any], accepted: Limits) -> dict[str, Any]:
        """What a client is told; raises `Problem`."""
        verb = route.removeprefix("mlflow/")
        if verb == "registered-models/create":
            limits.check_model_name(asked.get("name") or "", accepted)
        tags = [asked] if verb.endswith("/set-tag") else asked.get("tags") or []
        limits.check_tags(tags, longest_key=accepted.run_tag_key, limits=accepted)
        if verb == "model-versions/create":
            self._check_source(asked.get("source") or "", asked.get("run_id") or "")
        return self._backend.ask_registry(method, route, asked)

    def _check_source(self, source: str, run_id: str) -> None:
        if run_id:
            self._backend.find_run(run_id)
        origin, container, prefix = self.locate(source)
        if not self._artifacts.holds(origin, container, prefix):
            raise limits.invalid(f"No artifacts were found at the model source. Provided model source: {source}")

    def locate(self, source: str) -> tuple[str, str, str]:
        """Origin, container and prefix of the artifacts at a source; raises `Problem` 400."""
        of_run, of_artifacts = _RUN_SOURCE.fullmatch(source), _ARTIFACT_SOURCE.fullmatch(source)
        if of_run:
            self._backend.workspace.within(of_run["path"], r"/mlflow/v[12]\.0")
            return "ExperimentRun", f"dcid.{of_run['run_id']}", of_run["prefix"]
        if of_artifacts:
            return of_artifacts["origin"], of_artifacts["container"], of_artifacts["prefix"]
        # The wording of mlflow issue 15329.
        raise limits.invalid(
            "Model source from file must be in the following format: "
            f"azureml://artifacts/<origin>/<container>/<artifact_prefix>. Provided model source: {source}"
        )
