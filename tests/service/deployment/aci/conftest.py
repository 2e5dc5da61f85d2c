"""An Azure that builds images and runs them, and the target that talks to it."""

import json
import os

import mlflow
import pytest
from mlflow.models import Model
from tests.emulators.containers import ContainersEmulator
from tests.emulators.fixtures import READ_BY_CLIENTS

from adbazureml import AzureMLWorkspace
from adbazureml.deployment.aci import connect
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.target import Deadline, TargetOptions

from ..conftest import tracking_in

NAME = "lines"


@pytest.fixture(scope="session")
def emulator():
    with ContainersEmulator() as running:
        yield running
    assert running.crashes == []


@pytest.fixture
def azure(emulator, monkeypatch):
    """The emulator without container groups and faults; what it built before, it keeps."""
    for variable in os.environ:
        if variable.startswith(READ_BY_CLIENTS):
            monkeypatch.delenv(variable)
    for variable, value in emulator.environment.items():
        monkeypatch.setenv(variable, value)
    yield emulator
    emulator.reset()


@pytest.fixture
def workspace(azure):
    return AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )


@pytest.fixture
def options(workspace):
    return TargetOptions(workspace=workspace, poll=0.05)


@pytest.fixture
def target(options):
    return connect(options)


@pytest.fixture(scope="session")
def models(store):
    """Each version of the model as it is deployed; made once, as each one's folder is."""

    def deployable(uri):
        return Deployable(uri=uri, model=Model.load(uri))

    with tracking_in(store):
        return {number: deployable(uri) for number, uri in ((1, store.v1), (2, store.v2), (3, store.broken))}


@pytest.fixture(scope="session")
def rows(frame):
    return {"dataframe_split": json.loads(frame.to_json(orient="split", index=False))}


@pytest.fixture(scope="session")
def predicted(store, frame):
    """What a version itself says of the rows."""
    with tracking_in(store):
        said = {number: mlflow.pyfunc.load_model(uri).predict(frame) for number, uri in ((1, store.v1), (2, store.v2))}
    return said.__getitem__


@pytest.fixture
def up(target, models):
    """Bring a version up and let it serve, as the front does; returns what was told on the way."""

    def bring(number, *, shift=True, timeout=120):
        said = []
        deadline = Deadline.after(timeout)
        target.create(NAME, f"v{number}", models[number], progress=said.append, deadline=deadline)
        if shift:
            target.shift(NAME, {f"v{number}": 100}, progress=said.append, deadline=deadline)
        return said

    return bring
