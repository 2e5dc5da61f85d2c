"""How many requests things cost: round trips are what a user of a far-away workspace waits for."""

import os
import subprocess
import sys

import mlflow
import pytest


@pytest.fixture(autouse=True)
def tracked(azure):
    mlflow.set_tracking_uri(azure.tracking_uri)
    mlflow.set_experiment("requests")
    return azure


def test_log_model_costs_five_requests_beside_its_upload(tracked, log_model):
    """However many metrics the run has: MLflow alone would read the history of each."""
    with mlflow.start_run():
        mlflow.log_metrics({f"metric_{number}": number for number in range(50)})
        before = len(tracked.requests)
        log_model()
        made = tracked.requests[before:]
    assert len([request for request in made if request.host == "tracking"]) <= 5
    # One takes the model's place, one makes its files, one asks where the file goes that the first one made.
    assert len([request for request in made if request.host == "artifacts"]) == 3


ORDERS = """
import importlib.metadata, sys
real = importlib.metadata.distributions
def ordered(**options):
    found = sorted(real(**options), key=lambda one: one.metadata["Name"], reverse=sys.argv[1] == "reversed")
    return iter(found)
importlib.metadata.distributions = ordered
import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking
for registered in (
    tracking._tracking_store_registry._registry,
    registry._get_store_registry()._registry,
    get_registered_artifact_repositories(),
):
    print(registered["azureml"].__module__)
from mlflow.deployments.interface import plugin_store
print(plugin_store["azureml://host"].__name__)
"""


# Last and so the winner, but for us, is Microsoft's plug-in where they are sorted.
@pytest.mark.parametrize("order", ["sorted", pytest.param("reversed", marks=pytest.mark.full)])
def test_azureml_leads_here_whichever_package_is_found_first(order):
    """azureml-mlflow names the same plug-in points; pins MLflow's registries in each supported version."""
    done = subprocess.run(
        [sys.executable, "-c", ORDERS, order], capture_output=True, text=True, check=True, env=os.environ
    )
    assert set(done.stdout.split()) == {"adbazureml.azureml_mlflow.plugin", "adbazureml.deployment.mlflow_plugin"}
