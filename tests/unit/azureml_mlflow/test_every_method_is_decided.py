"""What MLflow's tracking stores can be asked for, and whether Azure ML's answers or refuses it: nothing by chance.

A method that another version of MLflow adds fails here, until somebody decided about it.
"""

import inspect
import re

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.abstract_store import AbstractStore

from adbazureml.azureml_mlflow.tracking_store import AzureMLStore
from adbazureml.azureml_mlflow.unsupported import check_supported

# By the service, or on this side by what `LoggedModels` and `AzureMLStore` make of it.
ANSWERED = {
    *("create_experiment", "get_experiment", "get_experiment_by_name", "search_experiments", "rename_experiment"),
    *("delete_experiment", "restore_experiment", "set_experiment_tag", "delete_experiment_tag"),
    *(
        "create_run",
        "get_run",
        "search_runs",
        "update_run_info",
        "delete_run",
        "restore_run",
        "set_tag",
        "set_tag_async",
    ),
    *("log_batch", "log_batch_async", "log_metric", "log_metric_async", "log_param", "log_param_async", "log_inputs"),
    *("get_metric_history", "get_metric_history_bulk_interval", "get_metric_history_bulk_interval_from_steps"),
    *("flush_async_logging", "end_async_logging", "shut_down_async_logging", "record_logged_model", "log_outputs"),
    *("create_logged_model", "get_logged_model", "search_logged_models", "finalize_logged_model"),
    *("delete_logged_model", "set_logged_model_tags", "delete_logged_model_tag", "set_model_versions_tags"),
}
# What a trace is logged by warns once and drops it: a traced program runs on.
DROPPED = {"start_trace", "log_spans", "log_spans_async"}
# Not implemented by MLflow's own stores of a service either, which say so.
MLFLOWS_OWN = {"get_online_trace_details", "unlink_traces_from_run"}
ASKED = sorted(
    name
    for name, _ in inspect.getmembers(AbstractStore, inspect.isfunction)
    if not name.startswith("_") and name not in ANSWERED | DROPPED | MLFLOWS_OWN
)


def is_refused(message):
    try:
        check_supported(message)
    except MlflowException as error:
        return error.error_code == "NOT_IMPLEMENTED"
    return False


@pytest.mark.parametrize("name", ASKED)
def test_what_is_not_answered_is_refused_by_the_message_that_it_sends(name):
    source = inspect.getsource(getattr(AzureMLStore, name))
    for helper in re.findall(r"self\.(_\w+)\(", source):
        source += inspect.getsource(getattr(AzureMLStore, helper))
    sent = set(re.findall(r"\b[A-Z][A-Za-z]+\b", source))
    assert any(map(is_refused, sent)), f"{name}: decide whether Azure ML answers it or refuses it"


def test_what_is_answered_is_no_refused_message():
    assert not [one for one in ("CreateRun", "LogBatch", "SearchRuns", "LogInputs", "SetTag") if is_refused(one)]
