"""MLflow's own tracking store, which also hands what was written to the outbox while mode "both" is on.

Reads, and all that is not named here, are the parent's. A write is first the parent's, and fails as it does; only what
the primary took goes to the replica. While nothing is replicated, a write is the parent's and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from adbazureml.errors import TrackingError
from adbazureml.text import logger
from adbazureml.tracking import run_tags
from adbazureml.tracking.store_pair import StorePair, current_pair

if TYPE_CHECKING:
    from mlflow.entities import (
        DatasetInput,
        ExperimentTag,
        LoggedModel,
        LoggedModelInput,
        LoggedModelOutput,
        Metric,
        Param,
        Run,
        RunInfo,
        RunTag,
    )

    from adbazureml.tracking.outbox import Outbox
    from adbazureml.tracking.pending_changes import PendingChanges

_logger = logger(__name__)
# Seconds that the end of a run waits for its counterpart in a strict pair; otherwise it does not wait.
_STRICT_DEADLINE = 60.0

Answer = TypeVar("Answer")
# A store's method may call another of its own: only the outer one is a write of the user's.
_inside = threading.local()
# Which of MLflow's stores it is, is known when one is opened.
_Store: Any = object


class _DualWrites(_Store):
    """The writes of a store that are also handed to the outbox; a store's own class follows in the order of classes."""

    adbazureml_uri: str

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str) -> Run:
        from mlflow.entities import RunTag

        outbox = _outbox(self)
        if outbox is not None:
            # Should this process die before the run has a counterpart, the next one finds it by this.
            tags = [*(tags or ()), RunTag(run_tags.TRACKED, run_tags.tracked_by())]
        run: Run = _alone(partial(super().create_run, experiment_id, user_id, start_time, tags, run_name))
        if outbox is not None:
            outbox.created(run)
        return run

    def log_batch(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        def change(changes: PendingChanges, unsure: bool) -> None:
            (changes.unsure if unsure else changes.metrics).extend(metrics)
            changes.add_params(params)
            changes.add_tags(tag for tag in tags if not tag.key.startswith(run_tags.PREFIX))

        keys = {tag.key for tag in tags}
        # The record that a run is in sync comes with the link in its description.
        is_record = run_tags.IN_SYNC in keys or all(key.startswith(run_tags.PREFIX) for key in keys)
        is_own = not metrics and not params and is_record
        call = partial(super().log_batch, run_id, metrics, params, tags)
        _write(self, run_id, call, change, hidden=bool(metrics), skip=is_own)

    def log_metric(self, run_id: str, metric: Metric) -> None:
        def change(changes: PendingChanges, unsure: bool) -> None:
            (changes.unsure if unsure else changes.metrics).append(metric)

        _write(self, run_id, partial(super().log_metric, run_id, metric), change, hidden=True)

    def log_param(self, run_id: str, param: Param) -> Any:
        call = partial(super().log_param, run_id, param)
        return _write(self, run_id, call, lambda changes, _: changes.add_params([param]))

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        call = partial(super().set_tag, run_id, tag)
        is_own = tag.key.startswith(run_tags.PREFIX)
        _write(self, run_id, call, lambda changes, _: changes.add_tags([tag]), skip=is_own)

    def delete_tag(self, run_id: str, key: str) -> None:
        call = partial(super().delete_tag, run_id, key)
        is_own = key.startswith(run_tags.PREFIX)
        _write(self, run_id, call, lambda changes, _: changes.tags.update({key: None}), skip=is_own)

    def log_inputs(
        self,
        run_id: str,
        datasets: list[DatasetInput] | None = None,
        models: list[LoggedModelInput] | None = None,
    ) -> None:
        call = partial(super().log_inputs, run_id, datasets, models)
        _write(self, run_id, call, lambda changes, _: changes.datasets.extend(datasets or []), hidden=True)

    def log_outputs(self, run_id: str, models: list[LoggedModelOutput]) -> None:
        _write(self, run_id, partial(super().log_outputs, run_id, models), _nothing_to_write, hidden=True)

    def finalize_logged_model(self, model_id: str, status: Any) -> LoggedModel:
        outbox = _outbox(self)
        model: LoggedModel = _alone(partial(super().finalize_logged_model, model_id, status))
        if model.source_run_id and outbox is not None:
            outbox.finished_model(model.source_run_id)
            _write(self, model.source_run_id, lambda: None, _nothing_to_write, hidden=True)
        return model

    def update_run_info(self, run_id: str, run_status: Any, end_time: int | None, run_name: str | None) -> RunInfo:
        def change(changes: PendingChanges, _: bool) -> None:
            changes.info = info

        outbox = _outbox(self)
        info: RunInfo = _alone(partial(super().update_run_info, run_id, run_status, end_time, run_name))
        if outbox is not None:
            _write(self, run_id, lambda: None, change)
            _status_changed(outbox, run_id, run_status, _pair(self))
        return info

    def create_experiment(self, name: str, *arguments: Any, **options: Any) -> str:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
        from mlflow.utils.uri import is_databricks_uri

        try:
            return str(super().create_experiment(name, *arguments, **options))
        except MlflowException as error:
            no_folder = error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
            if not no_folder or _pair(self) is None or not is_databricks_uri(self.adbazureml_uri):
                raise
        _make_folder(self, name.rpartition("/")[0])
        return str(super().create_experiment(name, *arguments, **options))

    def set_experiment_tag(self, experiment_id: str, tag: ExperimentTag) -> None:
        super().set_experiment_tag(experiment_id, tag)
        if (outbox := _outbox(self)) is not None:
            outbox.experiment_changed(experiment_id)

    def delete_run(self, run_id: str) -> None:
        _write(self, run_id, partial(super().delete_run, run_id), _lifecycle("deleted"))

    def restore_run(self, run_id: str) -> None:
        _write(self, run_id, partial(super().restore_run, run_id), _lifecycle("active"))


@cache
def dual_store_class(store_class: Any) -> Any:
    """Make the subclass of one of MLflow's store classes that hands writes to the outbox."""
    return type(store_class.__name__, (_DualWrites, store_class), {"__doc__": "MLflow's own store, and the outbox."})


def _make_folder(store: Any, path: str) -> None:
    """Make a folder of the Databricks workspace, in which an experiment is to be: Databricks makes none by itself."""
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    endpoint = "/api/2.0/workspace/mkdirs"
    answer = http_request(host_creds=store.get_host_creds(), endpoint=endpoint, method="POST", json={"path": path})
    verify_rest_response(answer, endpoint)


def _pair(store: Any) -> StorePair | None:
    pair = current_pair()
    return pair if pair is not None and pair.primary_uri == store.adbazureml_uri else None


def _outbox(store: Any) -> Outbox | None:
    """Where writes of a store go; None while nothing is replicated, and inside another write."""
    pair = _pair(store)
    if pair is None or getattr(_inside, "write", False):
        return None
    from adbazureml.tracking.outbox import outbox_of

    return outbox_of(pair)


def _alone(call: Callable[[], Answer]) -> Answer:
    """Call the parent's method; the store's own methods that it calls are no writes of their own."""
    was_inside = getattr(_inside, "write", False)
    _inside.write = True
    try:
        return call()
    finally:
        _inside.write = was_inside


def _write(
    store: Any,
    run_id: str,
    call: Callable[[], Answer],
    change: Callable[[PendingChanges, bool], Any],
    *,
    hidden: bool = False,
    skip: bool = False,
) -> Answer:
    outbox = None if skip else _outbox(store)
    if outbox is None:
        return call()
    ticket = outbox.begin(run_id, hidden=hidden, set_tag=lambda key, value: _tag_out_of_sync(store, run_id, key, value))
    try:
        answer = _alone(call)
    except BaseException:
        outbox.missed(ticket)
        raise
    outbox.add(ticket, change)
    return answer


def _tag_out_of_sync(store: Any, run_id: str, key: str, value: str) -> None:
    from mlflow.entities import RunTag

    try:
        store.set_tag(run_id, RunTag(key, value))
    except Exception:
        # The write itself will tell what is wrong.
        _logger.debug("Run %s could not be tagged as out of sync.", run_id, exc_info=True)


def _nothing_to_write(_: PendingChanges, __: bool) -> None:
    """What changed is found when the run is compared."""


def _lifecycle(stage: str) -> Callable[[PendingChanges, bool], None]:
    def change(changes: PendingChanges, _: bool) -> None:
        changes.lifecycle = stage

    return change


def _status_changed(outbox: Outbox, run_id: str, status: Any, pair: StorePair | None) -> None:
    """Have a run reconciled that has just ended; only a strict pair waits for it.

    Raises
    ------
    TrackingError
        With ``strict`` only: the run could not be reconciled.
    """
    from mlflow.entities import RunStatus

    if status is None or pair is None:
        return
    if not RunStatus.is_terminated(status):
        outbox.resumed(run_id)
        return
    sync_state = outbox.ended(run_id, deadline=_STRICT_DEADLINE if pair.strict else 0.0, insist=pair.strict)
    if pair.strict and sync_state.outcome is None:
        why = sync_state.reason or f"no end after {_STRICT_DEADLINE:.0f} s"
        raise TrackingError(
            f"Run {run_id} is not whole in Azure ML yet ({why}); catch_up(run_ids=['{run_id}']) mends it."
        )
