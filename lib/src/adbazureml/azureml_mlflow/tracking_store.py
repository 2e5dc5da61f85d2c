"""The tracking store for ``azureml://``: azureml-mlflow's, made whole for MLflow 3.

Microsoft's store speaks MLflow 2's REST API. This one adds what MLflow 3 asks for beyond it: logged models (kept in
their runs, see `logged_models`), experiments named by workspace paths, and one sentence for what the service lacks.
"""

from __future__ import annotations

import os
import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import mlflow
from azureml.mlflow._store.tracking.store import AzureMLRestStore
from mlflow.entities import Experiment, Metric, RunStatus, RunTag
from mlflow.exceptions import RestException
from mlflow.protos.service_pb2 import CreateExperiment, CreateRun, MlflowService
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.proto_json_utils import message_to_json
from mlflow.utils.rest_utils import extract_api_info_for_service

from adbazureml.azure.clouds import cloud_of
from adbazureml.azure.workspace_address import WorkspaceAddress
from adbazureml.azureml_mlflow import connection, experiment_names, log_batch, logged_model_record
from adbazureml.azureml_mlflow.callers import find_caller
from adbazureml.azureml_mlflow.inherited_variables import inherited_from
from adbazureml.azureml_mlflow.logged_models import LoggedModels
from adbazureml.azureml_mlflow.mlflow_errors import mlflow_error
from adbazureml.azureml_mlflow.unsupported import check_supported
from adbazureml.text import logger

if TYPE_CHECKING:
    from mlflow.entities import Run

_logger = logger(__name__)
_ROUTES = extract_api_info_for_service(MlflowService, "/api/2.0")
# Found again by this tag, a run whose create was not answered is not created twice.
_REQUEST = "adbazureml.request_id"
_NO_LINKS = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"


class AzureMLStore(LoggedModels, connection.AzureMLRequests, AzureMLRestStore):
    """MLflow 3's tracking store in an Azure ML workspace.

    Parameters
    ----------
    address : Address
        Where the workspace is.
    """

    def __init__(self, address: WorkspaceAddress):
        AzureMLRestStore.__init__(self, connection.connect(address))
        LoggedModels.__init__(self)
        self._address = address
        self._links_are_off = False
        self._limits = log_batch.Limits()

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: int | None = None,  # noqa: ARG002 (for Databricks' SDK only)
        response_proto: Any = None,
    ) -> Any:
        check_supported(api.DESCRIPTOR.name)
        path, method = _ROUTES[api]
        return self.send(endpoint or path, method, json_body, response_proto or api.Response())

    def log_batch_async(self, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        """Log through MLflow's own queue; azureml-mlflow's makes a request a call and then asks every 5 s."""
        return RestStore.log_batch_async(self, run_id, metrics, params, tags)

    # Experiments: Databricks' paths become plain names, and are read back from a tag.

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        """Create an experiment under the plain name of `azureml_experiment_name`."""
        plain = experiment_names.azureml_experiment_name(name)
        path = {experiment_names.DATABRICKS_EXPERIMENT: name} if plain != name else {}
        sent = CreateExperiment(name=plain, artifact_location=artifact_location)
        for tag in tags or ():
            sent.tags.add(key=tag.key, value=tag.value)
        for key, value in path.items():
            sent.tags.add(key=key, value=value)
        body = message_to_json(sent)
        endpoint, method = _ROUTES[CreateExperiment]

        def find() -> str | None:
            made = self.get_experiment_by_name(name)
            return made.experiment_id if made else None

        return connection.create_once(
            lambda: str(self.send(endpoint, method, body, CreateExperiment.Response(), once=True).experiment_id),
            find,
            self.retry_policy,
        )

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment under the name that it was created by."""
        return _named(super().get_experiment(experiment_id))

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """Find an experiment by its plain name, or by the path that it was created by."""
        found = super().get_experiment_by_name(experiment_names.azureml_experiment_name(experiment_name))
        if found is None:
            return None
        path = found.tags.get(experiment_names.DATABRICKS_EXPERIMENT, found.name)
        if experiment_name not in (path, found.name):
            raise mlflow_error(
                f"Experiment {experiment_name!r} would be {found.name!r} in Azure ML, which is {path!r} already:"
                " choose another name.",
                "INVALID_PARAMETER_VALUE",
            )
        return _named(found)

    def search_experiments(self, *args: Any, **kwargs: Any) -> PagedList[Experiment]:
        """Search experiments, also by the names that they were created by, under which they are returned."""
        if kwargs.get("filter_string"):
            kwargs["filter_string"] = _by_path(kwargs["filter_string"])
        page = super().search_experiments(*args, **kwargs)
        return PagedList([_named(experiment) for experiment in page], page.token)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:  # noqa: ARG002
        """Not possible: an Azure ML experiment keeps its name."""
        raise mlflow_error(
            f"Experiment {experiment_id} keeps its name: Azure ML cannot rename experiments.", "INVALID_PARAMETER_VALUE"
        )

    # Runs.

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str | None) -> Run:
        """Create one run, also when the service's answer is lost on the way."""
        from mlflow.entities import Run

        request_id = uuid4().hex
        sent = CreateRun(
            experiment_id=str(experiment_id),
            user_id=user_id,
            start_time=start_time,
            run_name=run_name,
            tags=[tag.to_proto() for tag in (*tags, RunTag(_REQUEST, request_id))],
        )
        body = message_to_json(sent)
        endpoint, method = _ROUTES[CreateRun]

        def find() -> Run | None:
            found = self.search_runs([experiment_id], f"tags.`{_REQUEST}` = '{request_id}'", 1, max_results=1)
            return found[0] if found else None

        made: Run = connection.create_once(
            lambda: Run.from_proto(self.send(endpoint, method, body, CreateRun.Response(), once=True).run),
            find,
            self.retry_policy,
        )
        return made

    def get_run(self, run_id: str) -> Run:
        """Return a run with its logged models as outputs; an unknown id that was inherited is told as such."""
        try:
            return _with_outputs(super().get_run(run_id))
        except RestException as error:
            variable = inherited_from(run_id) if error.error_code == "RESOURCE_DOES_NOT_EXIST" else ""
            if not variable:
                raise
            raise mlflow_error(
                f"{variable}={run_id} came in from the environment of another run, and Azure ML has no such run: unset"
                " it before the process starts, or delete it from os.environ.",
                "RESOURCE_DOES_NOT_EXIST",
            ) from error

    def shut_down_async_logging(self) -> None:
        """Send what waits.

        MLflow's client calls it at a run's end, right before it prints links to pages of an MLflow server, which Azure
        ML has not; they are switched off until `update_run_info`, the next call, which prints the link to the studio.
        """
        super().shut_down_async_logging()
        if _NO_LINKS not in os.environ:
            os.environ[_NO_LINKS] = "true"
            self._links_are_off = True

    def update_run_info(self, run_id: str, run_status: Any, end_time: Any, run_name: Any) -> Any:
        """Change a run; when it ends where MLflow tracks now, print the way to it in Azure ML studio."""
        if self._links_are_off:
            self._links_are_off = False
            os.environ.pop(_NO_LINKS, None)
        info = super().update_run_info(run_id, run_status, end_time, run_name)
        ended = run_status is not None and RunStatus.is_terminated(run_status)
        if ended and WorkspaceAddress.find(mlflow.get_tracking_uri()) == self._address:
            studio = cloud_of(self._address.host).studio
            page = self._address.studio_page(studio, f"experiments/id/{info.experiment_id}/runs/{run_id}")
            print(f"Run {info.run_name} in Azure ML studio: {page}")
        return info

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log a metric to its run; the service has no metrics by model or dataset."""
        super().log_metric(run_id, log_batch.plain(metric))

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        """Log to a run, in as many requests as Azure ML's limits ask for; none for an empty batch."""
        log_batch.send_around_rejected(
            partial(super().log_batch, run_id),
            [log_batch.plain(metric) for metric in metrics],
            params,
            tags,
            self._limits,
        )

    def get_metric_history(self, run_id: str, metric_key: str, *args: Any, **kwargs: Any) -> PagedList[Metric]:
        """Return a metric's history.

        `log_model` alone gets none: it would read every metric's history only to log the points again under the
        model, which the service does not know.
        """
        if find_caller("log_model_metrics_for_step"):
            return PagedList([], None)
        history: PagedList[Metric] = super().get_metric_history(run_id, metric_key, *args, **kwargs)
        return history

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:  # noqa: ARG002
        """Log datasets as inputs; the service has no models among a run's inputs."""
        if datasets:
            super().log_inputs(run_id, datasets)

    # Traces are written behind the user's back by MLflow's flavours: they must not stop anything.

    def start_trace(self, trace_info: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Drop a trace, with one warning: the service has none."""
        _warn_of_traces()
        # As if the spans were in the store: otherwise MLflow looks for a place to upload them to, and warns each time.
        trace_info.tags["mlflow.trace.spansLocation"] = "TRACKING_STORE"
        return trace_info

    def log_spans(self, location: str, spans: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Drop spans, with one warning: the service has none."""
        _warn_of_traces()
        return spans


@cache
def _warn_of_traces() -> None:
    _logger.warning("Azure ML keeps no traces: they are dropped, and everything else goes on.")


def _by_path(filter_string: str) -> str:
    """Let a filter by a path, as Databricks names experiments, find the plain name or the tag that stands for it."""

    def plain(found: re.Match[str]) -> str:
        is_pattern = "like" in found["comparator"].lower()
        if is_pattern:
            return f"tags.`{experiment_names.DATABRICKS_EXPERIMENT}` {found['comparator']} '{found['path']}'"
        return f"name {found['comparator']} '{experiment_names.azureml_experiment_name(found['path'])}'"

    return re.sub(
        r"\b(?:attributes?\.)?name\s*(?P<comparator>!?=|I?LIKE)\s*'(?P<path>[^']*/[^']*)'",
        plain,
        filter_string,
        flags=re.I,
    )


def _named(experiment: Experiment) -> Experiment:
    experiment._set_name(experiment.tags.get(experiment_names.DATABRICKS_EXPERIMENT, experiment.name))
    return experiment


def _with_outputs(run: Run) -> Run:
    from mlflow.entities import LoggedModelOutput, RunOutputs
    from mlflow.entities import Run as MlflowRun

    outputs = [LoggedModelOutput(record.model_id, record.step) for record in logged_model_record.records(run)]
    return MlflowRun(run.info, run.data, run.inputs, RunOutputs(outputs)) if outputs else run
