"""Logged models for a tracking store whose service has none; `logged_model_record` says how each is kept in its run.

The artifact service creates a path once. So whoever creates the ``MLmodel`` of a folder has the folder, whatever other
threads, processes and machines log at the same time; the others take a folder beside it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mlflow.entities import LoggedModel, LoggedModelStatus, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchLoggedModelsUtils

from adbazureml.azureml_mlflow import logged_model_record
from adbazureml.azureml_mlflow.artifact_repository import AzureMLArtifactRepository
from adbazureml.azureml_mlflow.logged_model_record import Record
from adbazureml.azureml_mlflow.mlflow_errors import mlflow_error

if TYPE_CHECKING:
    from mlflow.entities import Run


class LoggedModels:
    """The logged-model methods of MLflow 3's tracking store, by the run methods of MLflow 2's beside them."""

    get_run: Any
    create_run: Any
    search_runs: Any
    log_batch: Any
    update_run_info: Any

    def __init__(self) -> None:
        # Models that this process is logging: what is known of them before they are ready needs no request.
        self._pending: dict[str, tuple[Record, Run]] = {}
        self._lock = threading.Lock()

    def create_logged_model(  # noqa: PLR0917 (MLflow's signature)
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Any = None,
        params: Any = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Start a model in its run; one without a run gets a run of its own."""
        name = name or f"model-{uuid4().hex[:8]}"
        tag_values = {tag.key: tag.value for tag in tags or ()}
        if source_run_id is None:
            run = self.create_run(experiment_id, "", int(time.time() * 1000), [], name)
        else:
            run = self.get_run(source_run_id)
        record = Record.new(
            run,
            name=name,
            model_type=model_type,
            params={param.key: param.value for param in params or ()},
            tags=tag_values,
            own_run=source_run_id is None,
        )
        if not AzureMLArtifactRepository(f"{run.info.artifact_uri}/{name}").claim():
            record = record.beside()
        self._write(record)
        self._pending[record.model_id] = record, run
        return record.to_logged_model(_with_record(run, record))

    def log_outputs(self, run_id: str, models: Any) -> None:  # noqa: ARG002
        """Note the step that models were logged at."""
        for model in models:
            record, run = self._find(model.model_id)
            record = record.changed(step=model.step or 0)
            if model.model_id in self._pending:
                # Written when the model is ready.
                self._pending[model.model_id] = record, run
            else:
                self._write(record)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Mark a model as ready or failed."""
        record, run = self._find(model_id)
        record = record.changed(status=status.value)
        self._write(record)
        self._pending.pop(model_id, None)
        if status == LoggedModelStatus.FAILED:
            # What made it fail is told, not this. Without any file, nobody shall take the folder for a model.
            with suppress(MlflowException):
                AzureMLArtifactRepository(f"{run.info.artifact_uri}/{record.folder}").release()
        if record.own_run:
            ended = RunStatus.FINISHED if status == LoggedModelStatus.READY else RunStatus.FAILED
            self.update_run_info(record.run_id, ended, int(time.time() * 1000), None)
        return record.to_logged_model(_with_record(run, record))

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Find a model by its id."""
        record, run = self._find(model_id)
        if record.deleted and not allow_deleted:
            raise _no_such_model(model_id)
        return record.to_logged_model(run)

    def search_logged_models(  # noqa: PLR0917 (MLflow's signature)
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: Any = None,
        max_results: int | None = None,
        order_by: Any = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """Search the logged models of experiments, by MLflow's own filters."""
        found = [
            record.to_logged_model(run)
            for run in self._runs_with_models(experiment_ids, filter_string)
            for record in logged_model_record.records(run)
        ]
        # MLflow 3.0 knows no filter by datasets.
        found = SearchLoggedModelsUtils.filter_logged_models(found, filter_string, *([datasets] if datasets else []))
        found = SearchLoggedModelsUtils.sort(found, order_by)
        page, token = SearchLoggedModelsUtils.paginate(found, page_token, max_results or 100)
        return PagedList(page, token)

    def set_logged_model_tags(self, model_id: str, tags: Any) -> None:
        """Set tags of a model."""
        record, _ = self._find(model_id)
        self._write(record.changed(tags={**record.tags, **{tag.key: tag.value for tag in tags}}))

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model."""
        record, _ = self._find(model_id)
        self._write(record.changed(tags={name: value for name, value in record.tags.items() if name != key}))

    def log_logged_model_params(self, model_id: str, params: Any) -> None:
        """Log params of a model."""
        record, _ = self._find(model_id)
        self._write(record.changed(params={**record.params, **{param.key: param.value for param in params}}))

    def delete_logged_model(self, model_id: str) -> None:
        """Mark a model as deleted; its files stay in the run."""
        record, _ = self._find(model_id)
        self._write(record.changed(deleted=True))

    def _write(self, record: Record) -> None:
        tags = [RunTag(key, value) for key, value in record.to_tags().items()]
        self.log_batch(record.run_id, [], [], tags)
        with self._lock:
            if record.model_id in self._pending:
                self._pending[record.model_id] = record, self._pending[record.model_id][1]

    def _find(self, model_id: str) -> tuple[Record, Run]:
        if model_id in self._pending:
            record, run = self._pending[model_id]
            return record, _with_record(run, record)
        parts = logged_model_record.split_id(model_id)
        if parts is None:
            raise _no_such_model(model_id)
        key, run_id = parts
        run = self.get_run(run_id)
        found = logged_model_record.find(run, key)
        if found is None:
            raise _no_such_model(model_id)
        return found, run

    def _runs_with_models(self, experiment_ids: list[str], filter_string: str | None) -> list[Run]:
        for condition in SearchLoggedModelsUtils.parse_search_filter(filter_string) if filter_string else ():
            if condition["key"] == "source_run_id" and condition["comparator"] == "=":
                run = self.get_run(condition["value"])
                return [run] if run.info.experiment_id in [str(one) for one in experiment_ids] else []
        runs: list[Run] = []
        token = None
        while True:
            page = self.search_runs(
                experiment_ids,
                f"tags.`{logged_model_record.HAS_MODELS}` = 'true'",
                1,
                max_results=1000,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs


def _with_record(run: Run, record: Record) -> Run:
    """The run as it is once the record is written, without asking for it."""
    run.data.tags.update(record.to_tags())
    return run


def _no_such_model(model_id: str) -> Exception:
    return mlflow_error(f"There is no logged model {model_id!r} in this Azure ML workspace.", "RESOURCE_DOES_NOT_EXIST")
