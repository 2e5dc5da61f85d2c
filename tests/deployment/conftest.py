"""A real MLflow store with three versions of a model, one endpoint for all who only ask, and ports."""

import socket
from contextlib import contextmanager
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from adbazureml.deployment import deploy, endpoints

MODEL = "deploy_lines"


def unloadable():
    """A model that can be logged only; a class of a function is pickled whole, not by its name."""

    class Unloadable(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            raise RuntimeError("the weights are from another planet")

        def predict(self, context, model_input):
            return model_input

    return Unloadable()


@pytest.fixture(scope="session")
def frame():
    return pd.DataFrame({"age": np.linspace(20.0, 80.0, 25) / 3, "visits": np.arange(25)})


@pytest.fixture(scope="session")
def store(tmp_path_factory, frame):
    """Tracking store and registry with ``deploy_lines``: 1 and 2 predict differently, 3 can't be loaded."""
    folder = tmp_path_factory.mktemp("store")
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("deploy", (folder / "artifacts").as_uri()))
    with mlflow.start_run() as run:
        logged = [_log_line(frame, slope) for slope in (2.0, 5.0)]
        mlflow.pyfunc.log_model(
            name="broken", python_model=unloadable(), pip_requirements=["mlflow"], registered_model_name=MODEL
        )
    mlflow.set_tracking_uri(before)
    return SimpleNamespace(
        uri=uri,
        v1=f"models:/{MODEL}/1",
        v2=f"models:/{MODEL}/2",
        broken=f"models:/{MODEL}/3",
        logged=f"models:/{logged[0].model_id}",
        of_run=f"runs:/{run.info.run_id}/line",
    )


@contextmanager
def tracking_in(store):
    """Let MLflow look models up in the store, and put things back."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture(autouse=True)
def tracked_in_store(store):
    """Each of these tests asks the store."""
    with tracking_in(store):
        yield


def _log_line(frame, slope):
    target = frame["age"] * slope + frame["visits"] / 7
    model = LinearRegression().fit(frame, target)
    return mlflow.sklearn.log_model(
        model,
        name="line",
        pip_requirements=["scikit-learn"],
        signature=infer_signature(frame, model.predict(frame)),
        input_example=frame.head(3),
        registered_model_name=MODEL,
    )


@pytest.fixture(scope="session")
def endpoint(store):
    """Version 1 at a free port, for every test that only asks."""
    with tracking_in(store):
        started = deploy(store.v1, name="lines")
    with started:
        yield started


@pytest.fixture
def nothing_else_left(endpoint):
    """Nothing that a test started stays behind."""
    yield
    for other in endpoints():
        if other.name != endpoint.name:
            other.stop()


@pytest.fixture
def taken_port():
    """A port that somebody else listens at."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
