"""Fixtures that give tests an emulated Azure ML workspace, and a real MLflow server."""

import os

import mlflow
import pytest

from .azureml import AzureMLEmulator
from .mlflow_server import MLflowServer

# What azure-identity, azureml-mlflow and MLflow read: none of it may come from outside, or stay behind.
READ_BY_CLIENTS = ("AZURE_", "AZUREML_", "ARM_", "IDENTITY_", "MSI_", "MLFLOW_")
SET_BY_MLFLOW = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


@pytest.fixture(scope="session")
def azureml_emulator():
    """A workspace for what outlasts a test: a walk, a child process that several tests share."""
    with AzureMLEmulator() as emulator:
        yield emulator
    assert emulator.crashes == []


@pytest.fixture(scope="session")
def tracking_server(home, tmp_path_factory):
    """A server for what is no file: an emulated Databricks workspace, a primary store."""
    with MLflowServer(tmp_path_factory.mktemp("primary")) as server:
        yield server


@pytest.fixture
def azure(monkeypatch):
    """A new, empty workspace, to which the clients in this process are signed in by the environment.

    Its ids are its own, so that nothing that clients remember of an earlier one matters.

    >>> def test_run(azure):
    ...     mlflow.set_tracking_uri(azure.tracking_uri)
    ...     azure.fail_next(1, "runs/create", status=503)
    """
    for variable in (*os.environ, *SET_BY_MLFLOW):
        if variable.startswith(READ_BY_CLIENTS):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    with AzureMLEmulator() as emulator:
        for variable, value in emulator.environment.items():
            monkeypatch.setenv(variable, value)
        emulator.activate()
        yield emulator
        emulator.clear_faults()
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    assert emulator.crashes == []
