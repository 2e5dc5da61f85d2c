"""Two tracking stores for all tests: the local backend of Databricks, and a real MLflow server behind a bad line."""

import os
import uuid

import mlflow
import pytest
from tests.emulators import loaded_processes
from tests.emulators.mlflow_server import MLflowServer
from tests.emulators.proxy import Proxy
from tests.service.tracking.both import Both, eventually

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, track
from adbazureml.tracking import circuit_breaker, flush, outbox


@pytest.fixture(scope="session")
def server(home, tmp_path_factory):
    with MLflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(server):
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def both(home, server, proxy, monkeypatch):
    """Mode "both" in an experiment of the test's own, with a replica that fails fast where it fails."""
    # MLflow's own retries take minutes otherwise. The primary is a file, which needs none.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    proxy.mend()
    proxy.passed.clear()
    workspace = AzureMLWorkspace(name="server", tracking_uri=proxy.url, registry_uri=proxy.url, url="http://azureml")
    primary_uri = DatabricksWorkspace.current().tracking_uri
    track(workspace)
    experiment = f"/Users/ada@example.com/{uuid.uuid4().hex[:12]}"
    mlflow.set_experiment(experiment)
    yield Both(
        experiment=experiment,
        workspace=workspace,
        proxy=proxy,
        server=server,
        primary=mlflow.MlflowClient(tracking_uri=primary_uri, registry_uri=primary_uri),
        replica=mlflow.MlflowClient(tracking_uri=server.url, registry_uri=server.url),
    )
    proxy.mend()
    while mlflow.active_run():
        mlflow.end_run()
    # The next test shares this process's outbox, which may be making a pause.
    eventually(flush, seconds=120.0)
    track(mode="databricks")


@pytest.fixture
def soon_again(monkeypatch):
    """What failed is tried again soon, where a test is not about the pauses: those of an outage take seconds."""
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(outbox, "_LONGEST_PAUSE", 0.2)


@pytest.fixture(scope="session")
def processes(home):
    """Start functions of `training` in processes that have MLflow loaded already."""

    def start(function, *arguments):
        return loaded_processes.start(function, *arguments, environment=os.environ)

    return start
