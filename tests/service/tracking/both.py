"""The two sides of a replicated experiment, compared as somebody without this package would."""

from __future__ import annotations

import filecmp
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run, ViewType
from tests.emulators.mlflow_server import MLflowServer
from tests.emulators.proxy import Proxy

from adbazureml import AzureMLWorkspace
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.tracking import flush


@dataclass(frozen=True)
class Both:
    experiment: str
    workspace: AzureMLWorkspace
    proxy: Proxy
    server: MLflowServer
    primary: mlflow.MlflowClient
    replica: mlflow.MlflowClient

    def runs(self) -> list[Run]:
        """Runs of the primary that were not deleted."""
        found = self.primary.get_experiment_by_name(self.experiment)
        return list(self.primary.search_runs([found.experiment_id]))

    def counterparts(self, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        found = self.replica.get_experiment_by_name(azureml_experiment_name(self.experiment))
        return list(self.replica.search_runs([found.experiment_id], run_view_type=view)) if found else []

    def counterpart_of(self, run_id: str, view: int = ViewType.ACTIVE_ONLY) -> Run:
        """The only counterpart of a run, once this process has brought over what it logged."""
        flush()
        wanted = {"adbazureml.databricks.run_id": run_id}
        found = [one for one in self.counterparts(view) if wanted.items() <= one.data.tags.items()]
        found = [one for one in found if "adbazureml.duplicate_of" not in one.data.tags]
        assert len(found) == 1, f"{len(found)} counterparts of {run_id}"
        return found[0]

    def assert_equal(self, folder: Path) -> None:
        """Assert that each run stands in the replica once, with all that it has: nothing lost, nothing doubled."""
        # The end of a run does not wait for its counterpart.
        eventually(flush, 60.0)
        runs = self.runs()
        counterpart = Counter(run.data.tags.get("adbazureml.databricks.run_id") for run in self.counterparts())
        wanted = Counter(run.info.run_id for run in runs)
        assert counterpart == wanted, f"doubled or deleted: {counterpart - wanted}, lost: {wanted - counterpart}"
        for number, run in enumerate(runs):
            self.assert_run_equal(run.info.run_id, folder / str(number))

    def assert_run_equal(self, run_id: str, folder: Path) -> None:
        run = self.primary.get_run(run_id)
        counterpart = self.replica.get_run(self.counterpart_of(run_id).info.run_id)
        wanted, found = self._look(run), self._look(counterpart)
        assert found == wanted, {key: (wanted[key], found[key]) for key in wanted if found[key] != wanted[key]}
        for key in run.data.metrics:
            assert points(self.replica, counterpart, key) == points(self.primary, run, key)
        parent = run.data.tags.get("mlflow.parentRunId")
        if parent:
            assert counterpart.data.tags["mlflow.parentRunId"] == self.counterpart_of(parent, ViewType.ALL).info.run_id
        ours, theirs = files(run, self.primary, folder / "ours"), files(counterpart, self.replica, folder / "theirs")
        for model in self.models(run):
            folders = [
                value
                for key, value in counterpart.data.tags.items()
                if key == f"adbazureml.copied_model.{model.model_id}"
            ]
            assert len(folders) == 1
            local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model.artifact_location))
            ours |= {f"{folders[0]}/{path}": local / path for path in tree_files(local)}
        assert sorted(theirs) == sorted(ours), set(theirs) ^ set(ours)
        assert [path for path in ours if not filecmp.cmp(ours[path], theirs[path], shallow=False)] == []

    def models(self, run: Run) -> list[Any]:
        found = self.primary.search_logged_models([run.info.experiment_id])
        return [model for model in found if model.source_run_id == run.info.run_id]

    @staticmethod
    def _look(run: Run) -> dict[str, Any]:
        return {
            "status": run.info.status,
            "start": run.info.start_time,
            "end": run.info.end_time,
            "name": run.info.run_name,
            "params": run.data.params,
            "tags": {
                # A description ends in a link to the other side.
                key: value.partition("\n\n[This run in ")[0]
                for key, value in run.data.tags.items()
                if not value.startswith("[This run in ")
                and not key.startswith("adbazureml.")
                and key != "mlflow.parentRunId"
            },
            "metrics": sorted((key, repr(value)) for key, value in run.data.metrics.items()),
            "datasets": sorted((one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs),
        }


def points(client: mlflow.MlflowClient, run: Run, key: str) -> list[tuple[int, int, str]]:
    history = client.get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.timestamp, repr(point.value)) for point in history)


def files(run: Run, client: mlflow.MlflowClient, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True)
    # One by one: MLflow's download of a folder that holds nothing fails on some repositories.
    found: dict[str, Path] = {}

    def walk(path: str) -> None:
        for entry in client.list_artifacts(run.info.run_id, path):
            if entry.is_dir:
                walk(entry.path)
            else:
                found[entry.path] = Path(client.download_artifacts(run.info.run_id, entry.path, str(folder)))

    walk("")
    return found


def tree_files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def eventually(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until a condition holds, and return what it gave."""
    until = time.monotonic() + seconds
    pause = 0.05
    while not (given := condition()):
        assert time.monotonic() < until, "it never held"
        time.sleep(pause)
        # Most conditions ask both stores, which takes as much of the machine as what is waited for.
        pause = min(1.5 * pause, 0.3)
    return given
