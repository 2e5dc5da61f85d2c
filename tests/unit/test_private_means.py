"""The private means of MLflow that the wheel hooks into, what each is for, and the shape that is relied on.

Where a newer MLflow changes one, its row fails and says which feature breaks. A public means takes the place of a
private one as soon as every supported MLflow has it.
"""

import inspect

import pytest
from mlflow.deployments.interface import plugin_store
from mlflow.entities import Experiment, RunData
from mlflow.entities.model_registry import RegisteredModel
from mlflow.models import model
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.model_registry.base_rest_store import BaseRestStore
from mlflow.tracking._model_registry import fluent as registry_fluent
from mlflow.tracking._model_registry import utils as registries
from mlflow.tracking._tracking_service import utils as trackings
from mlflow.utils.async_logging.async_logging_queue import AsyncLoggingQueue


def parameters(function):
    return list(inspect.signature(function).parameters)


MEANS = {
    "azureml:// leads to our tracking store, whichever plug-in is found first": lambda: (
        "azureml" in trackings._tracking_store_registry._registry
        and parameters(trackings._tracking_store_registry.register) == ["scheme", "store_builder"]
    ),
    "azureml:// leads to our model registry": lambda: "azureml" in registries._get_store_registry()._registry,
    "azureml:// and runs:/ lead to our artifact repositories": lambda: (
        artifact_repository_registry.get_registered_artifact_repositories()
        is artifact_repository_registry._artifact_repository_registry._registry
    ),
    "azureml:// leads to our deployment client": lambda: (
        parameters(plugin_store.register) == ["target_name", "plugin_module"]
        and plugin_store.group_name == "mlflow.deployments"
    ),
    "mode both builds on the stores that MLflow builds itself": lambda: all(
        inspect.signature(getattr(trackings, builder)).bind(store_uri="sqlite://", artifact_uri=None)
        for builder in ("_get_sqlalchemy_store", "_get_rest_store", "_get_databricks_rest_store")
    ),
    "asynchronous logging is replicated": lambda: (
        AsyncLoggingQueue(logging_func=print)._logging_func is print and "logging_func" in parameters(AsyncLoggingQueue)
    ),
    "a store is found again by its URI": lambda: "store_uri" in parameters(trackings._get_store),
    "aliases in Azure ML": lambda: parameters(RegisteredModel._add_alias) == ["self", "alias"],
    "experiments are called as in Databricks": lambda: parameters(Experiment._set_name) == ["self", "new_name"],
    "metrics of logged models in Azure ML": lambda: RunData()._metric_objs == [],
    "artifacts are copied file by file": lambda: (
        parameters(ArtifactRepository._download_file) == ["self", "remote_file_path", "local_path"]
        and parameters(ArtifactRepository._iter_artifacts_recursive) == ["self", "path"]
    ),
    "the registry's requests are ours": lambda: (
        {"api", "json_body", "call_all_endpoints"} <= set(parameters(BaseRestStore._call_endpoint))
        and all(
            hasattr(BaseRestStore, name)
            for name in (
                "_get_response_from_method",
                "_get_endpoint_from_method",
                "_get_all_endpoints_from_method",
            )
        )
    ),
    "log_model does not read the history of each metric": lambda: (
        "def log_model_metrics_for_step(" in inspect.getsource(model)
    ),
    "register_model('runs:/…') means the newest model of the name": lambda: (
        "model_uri" in parameters(registry_fluent._register_model)
    ),
}


@pytest.mark.parametrize("feature", MEANS)
def test_what_the_wheel_hooks_into_has_its_shape(feature):
    assert MEANS[feature](), f"this MLflow changed what is relied on for: {feature}"
