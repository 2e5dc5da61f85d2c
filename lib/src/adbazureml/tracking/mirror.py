"""Make a run of the primary tracking store stand in the secondary one, equal in all that MLflow tracks.

The primary store is the source of truth: `Mirror.settle` compares the two runs, writes what the secondary lacks, and
compares again. So it may be called any number of times, from any machine; a second call changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbazureml.tracking import names
from adbazureml.tracking.artifacts import copy_missing_artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# Limits of one log-batch request (MLflow REST API): 1,000 metrics, 100 params, 100 tags.
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How far a run and its mirror are equal.

    Attributes
    ----------
    run_id, run_name : str
        The run in the primary store.
    mirrored_run_id : str
        Its mirror; empty when there is none yet.
    written : int
        How many params, metric points, tags, dataset inputs and files this call wrote.
    settled : bool
        Whether the two are equal.
    reason : str
        Why not.
    """

    run_id: str
    run_name: str = ""
    mirrored_run_id: str = ""
    written: int = 0
    settled: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A primary tracking store and the secondary that follows it, each by its URI and the address of its pages."""

    primary_uri: str
    primary_url: str
    secondary_uri: str
    secondary_url: str

    def settle(self, run_id: str) -> Settled:
        """Make the mirror of a run equal to it.

        Parameters
        ----------
        run_id : str
            A run of the primary store.

        Returns
        -------
        Settled
            Never raises for what a store answers: the reason is in the outcome.
        """
        try:
            return self._settle(run_id)
        except Exception as error:
            return Settled(run_id=run_id, reason=f"{type(error).__name__}: {error}".splitlines()[0])

    def _settle(self, run_id: str) -> Settled:
        primary, secondary = self._clients()
        run = primary.get_run(run_id)
        mirrored_run_id = self._mirrored_run(primary, secondary, run)
        written = _write_missing(primary, secondary, run, mirrored_run_id)
        written += copy_missing_artifacts(primary, run, secondary.get_run(mirrored_run_id))
        left = _write_missing(primary, secondary, run, mirrored_run_id)
        if left:
            reason = f"{left} items were written and not found again"
            return Settled(run_id=run_id, mirrored_run_id=mirrored_run_id, written=written, reason=reason)
        self._finish(primary, secondary, run, mirrored_run_id, changed=written > 0)
        name = run.info.run_name or ""
        return Settled(run_id=run_id, run_name=name, mirrored_run_id=mirrored_run_id, written=written, settled=True)

    def _clients(self) -> tuple[MlflowClient, MlflowClient]:
        from mlflow import MlflowClient

        return (
            MlflowClient(tracking_uri=self.primary_uri, registry_uri=self.primary_uri),
            MlflowClient(tracking_uri=self.secondary_uri, registry_uri=self.secondary_uri),
        )

    def _mirrored_run(self, primary: MlflowClient, secondary: MlflowClient, run: Run) -> str:
        """Find the run's mirror by the id that it carries, or make it."""
        from mlflow.entities import ViewType

        experiment_id = _mirrored_experiment(secondary, primary.get_experiment(run.info.experiment_id).name)
        found = secondary.search_runs(
            [experiment_id],
            filter_string=f"tags.`{names.DATABRICKS_RUN_ID}` = '{run.info.run_id}'",
            run_view_type=ViewType.ALL,
            max_results=1,
        )
        if found:
            return str(found[0].info.run_id)
        tags = {
            names.DATABRICKS_RUN_ID: run.info.run_id,
            names.DATABRICKS_RUN_URL: _run_url(self.primary_url, run),
            **_plain_tags(run),
        }
        if parent_id := run.data.tags.get("mlflow.parentRunId"):
            tags["mlflow.parentRunId"] = self._mirrored_run(primary, secondary, primary.get_run(parent_id))
        created = secondary.create_run(
            experiment_id, start_time=run.info.start_time, tags=tags, run_name=run.info.run_name
        )
        return str(created.info.run_id)

    def _finish(
        self, primary: MlflowClient, secondary: MlflowClient, run: Run, mirrored_run_id: str, *, changed: bool
    ) -> None:
        """Give the mirror the run's status, and each side the way to the other."""
        mirrored = secondary.get_run(mirrored_run_id)
        if (mirrored.info.status, mirrored.info.end_time) != (run.info.status, run.info.end_time):
            if run.info.end_time is None:
                secondary.update_run(mirrored_run_id, status=run.info.status)
            else:
                secondary.set_terminated(mirrored_run_id, run.info.status, run.info.end_time)
        if mirrored.info.run_name != run.info.run_name:
            secondary.update_run(mirrored_run_id, name=run.info.run_name)
        links = {
            names.AZUREML_RUN_ID: mirrored_run_id,
            names.AZUREML_TRACKING_URI: self.secondary_uri,
            names.AZUREML_RUN_URL: _run_url(self.secondary_url, mirrored),
        }
        for key, value in links.items():
            if run.data.tags.get(key) != value:
                primary.set_tag(run.info.run_id, key, value)
        if changed or names.SETTLED_AT not in mirrored.data.tags:
            secondary.set_tag(mirrored_run_id, names.SETTLED_AT, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _run_url(workspace_url: str, run: Run) -> str:
    return f"{workspace_url}/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _mirrored_experiment(secondary: MlflowClient, databricks_name: str) -> str:
    name = names.azureml_experiment_name(databricks_name)
    experiment = secondary.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    return str(secondary.create_experiment(name, tags={names.DATABRICKS_EXPERIMENT: databricks_name}))


def _plain_tags(run: Run) -> dict[str, str]:
    """Tags that mean the same on both sides: not the ways from one to the other, not the parent's id."""
    return {
        key: value
        for key, value in run.data.tags.items()
        if not key.startswith(names.PREFIX) and key != "mlflow.parentRunId"
    }


def _write_missing(primary: MlflowClient, secondary: MlflowClient, run: Run, mirrored_run_id: str) -> int:
    """Write the params, tags, metric points and dataset inputs that the mirror lacks; return how many."""
    from mlflow.entities import Param, RunTag

    mirrored = secondary.get_run(mirrored_run_id)
    params = [Param(*item) for item in _lacking(run.data.params, mirrored.data.params)]
    tags = [RunTag(*item) for item in _lacking(_plain_tags(run), mirrored.data.tags)]
    metrics = [
        metric
        for key in run.data.metrics
        for metric in _missing_points(primary, secondary, run.info.run_id, mirrored_run_id, key)
    ]
    batches: tuple[tuple[str, Sequence[Any]], ...] = (("params", params), ("tags", tags), ("metrics", metrics))
    for kind, items in batches:
        for start in range(0, len(items), _BATCH[kind]):
            part: dict[str, Any] = {kind: items[start : start + _BATCH[kind]]}
            secondary.log_batch(mirrored_run_id, **part)
    datasets = _missing_datasets(run, mirrored)
    if datasets:
        secondary.log_inputs(mirrored_run_id, datasets=datasets)
    return len(params) + len(tags) + len(metrics) + len(datasets)


def _lacking(wanted: Mapping[str, str], there: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in wanted.items() if there.get(key) != value)


def _missing_points(
    primary: MlflowClient, secondary: MlflowClient, run_id: str, mirrored_run_id: str, key: str
) -> list[Metric]:
    there = {_point(metric) for metric in secondary.get_metric_history(mirrored_run_id, key)}
    return [metric for metric in primary.get_metric_history(run_id, key) if _point(metric) not in there]


def _point(metric: Metric) -> tuple[int, int, str]:
    # As text: NaN is not equal to itself.
    return metric.step, metric.timestamp, repr(float(metric.value))


def _missing_datasets(run: Run, mirrored: Run) -> list[Any]:
    there = {dataset.dataset.digest for dataset in mirrored.inputs.dataset_inputs} if mirrored.inputs else set()
    wanted = run.inputs.dataset_inputs if run.inputs else []
    return [dataset for dataset in wanted if dataset.dataset.digest not in there]
