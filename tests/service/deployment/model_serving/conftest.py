"""A Databricks workspace that serves models, and the target that talks to it."""

import os
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.models import Model
from tests.emulators.databricks import DatabricksEmulator
from tests.emulators.databricks_serving import Serving, Version

from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.targets import ModelServing

from ..conftest import tracking_in

MODEL = "main.ml.lines"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    serving = Serving(tmp_path_factory.mktemp("serving"))
    with DatabricksEmulator() as running:
        running.add(serving.routes())
        running.serving = serving
        yield running
    serving.close()
    assert running.crashes == []


@pytest.fixture(scope="session")
def deployables(emulator, store, tmp_path_factory):
    """Versions 1, 2 and 3 as they are deployed; the workspace has them in Unity Catalog."""
    found = {}
    with tracking_in(store):
        for number, uri in enumerate((store.v1, store.v2, store.broken), 1):
            folder = download_artifacts(artifact_uri=uri, dst_path=str(tmp_path_factory.mktemp("version")))
            emulator.serving.versions[MODEL, f"{number}"] = Version(Path(folder))
            found[number] = Deployable(uri=uri, model=Model.load(uri), databricks=(MODEL, f"{number}"))
    return found


@pytest.fixture
def databricks(emulator, monkeypatch):
    for variable in os.environ:
        if variable.startswith("DATABRICKS_"):
            monkeypatch.delenv(variable)
    for variable, value in emulator.environment.items():
        monkeypatch.setenv(variable, value)
    yield emulator
    emulator.serving.reset()
    emulator.clear_faults()
    emulator.requests.clear()


@pytest.fixture
def serving(databricks):
    return databricks.serving


@pytest.fixture
def target(databricks):
    return ModelServing(poll=0.05, request_timeout=30).connect(None)
