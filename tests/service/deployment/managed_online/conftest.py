"""An emulated Azure ML workspace with registered models, and one endpoint that serves for all who only ask."""

from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import get_model_info
from sklearn.linear_model import LinearRegression
from tests.emulators.azureml import AzureMLEmulator
from tests.emulators.fixtures import READ_BY_CLIENTS, SET_BY_MLFLOW

from adbazureml import AzureMLWorkspace
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.target import Deadline
from adbazureml.deployment.targets import ManagedOnline

POLL = 0.1
LINES = "lines"


@pytest.fixture
def tracked_in_store():
    """The models here are in Azure ML, not in the store of the tests of local endpoints."""


@pytest.fixture(scope="session")
def rows():
    return pd.DataFrame({"age": np.linspace(20.0, 80.0, 6) / 3, "visits": np.arange(6.0)})


@pytest.fixture(scope="session")
def registered(home, rows):
    """The workspace with ``lines``: 1 and 2 predict differently, 3 lacks what it is loaded with."""
    with pytest.MonkeyPatch.context() as patch, AzureMLEmulator() as emulator:
        _sign_in(patch, emulator)
        emulator.activate()
        mlflow.set_tracking_uri(emulator.tracking_uri)
        mlflow.set_experiment("lines")
        with mlflow.start_run():
            for number, requirements in enumerate((["scikit-learn==1.6.1"], ["scikit-learn==1.6.1"], ["numpy==2.1.3"])):
                mlflow.sklearn.log_model(
                    LinearRegression().fit(rows, rows["age"] * (number + 2)),
                    name=f"line-{number}",
                    input_example=rows.head(2),
                    pip_requirements=requirements,
                    registered_model_name=LINES,
                )
        models = {version: _deployable(version) for version in ("1", "2", "3")}
        _forget()
        yield SimpleNamespace(emulator=emulator, models=models)
    assert emulator.crashes == []


@pytest.fixture
def azure(registered, monkeypatch):
    """The emulator, signed in to by the environment; what a test asked of it is undone."""
    emulator = registered.emulator
    _sign_in(monkeypatch, emulator)
    mlflow.set_tracking_uri(emulator.tracking_uri)
    emulator.requests.clear()
    yield emulator
    emulator.clear_faults()
    online = emulator.online
    online.hanging.set()
    online.operations.hanging.set()
    online.quota, online.build_error, online.healthy_within, online.forbidden = 400, "", 310.0, False
    _forget()


@pytest.fixture
def workspace(azure):
    names = {"subscription_id": azure.subscription_id, "resource_group": azure.resource_group}
    found = AzureMLWorkspace.get(name=azure.workspace_name, **names)
    azure.requests.clear()
    return found


@pytest.fixture
def waits():
    """A deadline that is long enough, and progress that nobody looks at."""
    return {"progress": lambda _: None, "deadline": Deadline.after(300)}


@pytest.fixture
def connect(workspace):
    """A new target, as another process would have it."""

    def new(target=ManagedOnline, **options):
        return target(poll=POLL, **options).connect(workspace)

    return new


@pytest.fixture
def target(connect):
    return connect()


@pytest.fixture
def models(registered):
    return registered.models


@pytest.fixture
def payload(rows):
    return {"dataframe_split": rows.to_dict(orient="split", index=False)}


@pytest.fixture
def served(azure, target, models, waits):
    """Name of an endpoint with deployment ``m-1`` of version 1, without traffic; made for the first who asks."""
    target.create("lines", "m-1", models["1"], **waits)
    azure.online.endpoints["lines"].properties["traffic"] = {}
    azure.requests.clear()
    return "lines"


def _deployable(version):
    uri = f"models:/{LINES}/{version}"
    return Deployable(uri=uri, model=mlflow.models.Model.load(get_model_info(uri).model_uri), azureml=(LINES, version))


def _sign_in(patch, emulator):
    import os

    for variable in (*os.environ, *SET_BY_MLFLOW):
        if variable.startswith(READ_BY_CLIENTS):
            patch.delenv(variable, raising=False)
    for variable, value in emulator.environment.items():
        patch.setenv(variable, value)


def _forget():
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
