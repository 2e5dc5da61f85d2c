"""An Azure that builds images and runs them, and the target that talks to it."""

import os

import pytest
from mlflow.models import Model
from tests.emulators.containers import ContainersEmulator
from tests.emulators.fixtures import READ_BY_CLIENTS

from adbazureml import AzureMLWorkspace
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.targets import ContainerInstances

from ..conftest import tracking_in


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
def connect(workspace):
    """A new target, as another process would have it."""

    def new(**options):
        return ContainerInstances(poll=0.05, **options).connect(workspace)

    return new


@pytest.fixture
def target(connect):
    return connect()


@pytest.fixture(scope="session")
def deployables(store):
    """Each version of the model as it is deployed; made once, as each one's folder is."""

    def deployable(uri):
        return Deployable(uri=uri, model=Model.load(uri))

    with tracking_in(store):
        return {number: deployable(uri) for number, uri in ((1, store.v1), (2, store.v2), (3, store.broken))}
