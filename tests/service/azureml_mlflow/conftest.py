"""Fixtures for Microsoft's own client."""

import mlflow
import pytest
from azureml.mlflow import entry_point_loaders as microsoft
from mlflow.store.artifact import artifact_repository_registry as artifact_repositories
from mlflow.tracking._model_registry import utils as model_registries
from mlflow.tracking._tracking_service import utils as tracking_stores


@pytest.fixture
def plain(azure, monkeypatch):
    """The emulator, to which MLflow in this process talks by Microsoft's plug-in alone."""
    builders = {
        tracking_stores._tracking_store_registry: microsoft.azureml_store_builder,
        model_registries._get_store_registry(): microsoft.azureml_model_registry_builder,
        artifact_repositories._artifact_repository_registry: microsoft.azureml_artifacts_builder,
    }
    for registry, builder in builders.items():
        monkeypatch.setitem(registry._registry, "azureml", builder)
    mlflow.set_tracking_uri(azure.tracking_uri)
    return azure


@pytest.fixture
def client(plain):
    return mlflow.MlflowClient()


@pytest.fixture
def experiment_id(client):
    return client.create_experiment("iris-classifier")


@pytest.fixture
def run_id(client, experiment_id):
    return client.create_run(experiment_id).info.run_id
