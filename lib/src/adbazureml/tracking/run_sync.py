"""Bring one run's changes to its counterpart."""

from __future__ import annotations

from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.counterpart_run import CounterpartLostError, CounterpartRun
from adbazureml.tracking.pending_changes import PendingChanges
from adbazureml.tracking.reconciler import Heard, Reconciler, ReconcileResult
from adbazureml.tracking.run_sync_state import RunSyncState
from adbazureml.tracking.snapshot_diff import dataset_key
from adbazureml.tracking.sync_record import has_ended

_logger = logger(__name__)


class RunSync:
    """Writes changes to counterparts, and compares."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._pair = reconciler.pair

    def write(self, sync_state: RunSyncState, changes: PendingChanges) -> bool:
        """Write changes; tell whether the counterpart is still the one they belong to.

        Returns
        -------
        bool
            False when the counterpart was lost, so that the run is to be compared.
        """
        try:
            counterpart = self._counterpart_run(sync_state, changes)
            if counterpart is not None:
                if changes.datasets:
                    self._take_from_primary(sync_state.run_id, changes)
                self._write(counterpart, changes)
        except CounterpartLostError:
            sync_state.counterpart, sync_state.is_known = None, False
            changes.is_all = False
            return False
        return True

    def reconcile(self, sync_state: RunSyncState, changes: PendingChanges, *, files: bool) -> ReconcileResult:
        """Compare the run with its counterpart, or make one, and write what lacks."""
        is_new, sync_state.created = sync_state.created is not None, None
        points = [*changes.metrics, *changes.unsure] if is_new else []
        return self._reconciler.reconcile(
            sync_state.run_id,
            counterpart=sync_state.counterpart,
            is_known=sync_state.is_known,
            is_new=is_new,
            heard=Heard(points=points, has_models=sync_state.has_models) if changes.is_all else None,
            files=files,
        )

    def is_left_over(self, sync_state: RunSyncState) -> bool:
        """Whether the run has ended, perhaps by another process: this one is to reconcile what it wrote late."""
        run = self._pair.primary.get_run(sync_state.run_id)
        if run_tags.own_out_of_sync_tag() not in run.data.tags:
            sync_state.tag_value = ""
        return has_ended(run)

    def experiment_changed(self, experiment_id: str) -> None:
        """Look at the tags of an experiment again when one of its runs is replicated next."""
        self._reconciler.lookup.experiment_changed(experiment_id)

    def tag_out_of_sync(self, sync_state: RunSyncState) -> None:
        """Tag a run as out of sync on the primary, where that is possible."""
        from mlflow.entities import RunTag

        try:
            self._pair.primary.set_tag(sync_state.run_id, RunTag(run_tags.own_out_of_sync_tag(), sync_state.tag_value))
        except Exception:
            _logger.debug("Run %s could not be tagged as out of sync.", sync_state.run_id, exc_info=True)

    def _counterpart_run(self, sync_state: RunSyncState, changes: PendingChanges) -> CounterpartRun | None:
        """The run's counterpart, made when there is none; None where the run was deleted before it had one."""
        if sync_state.counterpart is None:
            run = sync_state.created or self._pair.primary.get_run(sync_state.run_id)
            if (
                sync_state.created is None
                and run.info.lifecycle_stage == "deleted"
                and not self._reconciler.lookup.find(run)
            ):
                return None
            is_new = sync_state.created is not None
            if is_new:
                # Another process that writes to it may have made the counterpart.
                run = self._pair.primary.get_run(sync_state.run_id)
            sync_state.counterpart, made = self._reconciler.counterpart_run(run, is_new=is_new, link=True)
            sync_state.is_known, sync_state.created = made is not None, None
            if sync_state.is_known:
                # These are in it from the start.
                for key, value in run.data.tags.items():
                    if key.startswith("mlflow.") and changes.tags.get(key) == value:
                        del changes.tags[key]
        return sync_state.counterpart

    def _take_from_primary(self, run_id: str, changes: PendingChanges) -> None:
        """Give the dataset inputs the contexts that they have in the primary: MLflow keeps those that came first."""
        keys = {dataset_key(dataset) for dataset in changes.datasets}
        inputs = self._pair.primary.get_run(run_id).inputs
        changes.datasets = [dataset for dataset in inputs.dataset_inputs if dataset_key(dataset) in keys]

    def _write(self, counterpart: CounterpartRun, changes: PendingChanges) -> None:
        from mlflow.entities import Param, RunStatus, RunTag

        store = self._pair.replica
        if changes.lifecycle == "active":
            store.restore_run(counterpart.run_id)
        tags = {run_tags.azureml_tag_key(key): value for key, value in changes.tags.items()}
        counterpart.write(
            metrics=changes.metrics + counterpart.missing_points(changes.unsure),
            params=[Param(*item) for item in changes.params.items()],
            tags=[
                RunTag(run_tags.azureml_tag_key(key), value) for key, value in changes.tags.items() if value is not None
            ],
        )
        for key in (key for key, value in tags.items() if value is None):
            counterpart.delete_tag(key)
        counterpart.log_datasets(changes.datasets)
        if (info := changes.info) is not None:
            status = RunStatus.from_string(info.status)
            store.update_run_info(counterpart.run_id, status, info.end_time, info.run_name)
        if changes.lifecycle == "deleted":
            store.delete_run(counterpart.run_id)
