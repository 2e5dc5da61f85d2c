"""A real MLflow store with versions of a model, one endpoint for all who only ask, and ports."""

import json
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from adbazureml.deployment import Local, deploy, endpoints
from adbazureml.deployment.target import Deadline

from .models import liar, line, unloadable

NAME, MODEL = "lines", "deploy_lines"
REQUEST_TIMEOUT_S = 5
# What whoever deploys may have in the environment.
SECRETS = ("DATABRICKS_TOKEN", "AZURE_CLIENT_SECRET", "MLFLOW_TRACKING_PASSWORD", "MY_PASSWORD")
GIVEN = "A_SETTING_OF_THE_MODEL"
SIGNATURE = ModelSignature(Schema([ColSpec("double", "age"), ColSpec("double", "visits")]), Schema([ColSpec("double")]))
REQUIREMENTS = ["scikit-learn==1.6.1", "cloudpickle"]


@pytest.fixture(scope="session")
def frame():
    return pd.DataFrame({"age": np.linspace(20.0, 80.0, 25) / 3, "visits": np.arange(25.0)})


@pytest.fixture(scope="session")
def store(tmp_path_factory, frame):
    """Tracking store and registry with ``deploy_lines``: 1 and 2 predict differently, 3 can't be loaded, 4 lies."""
    folder = tmp_path_factory.mktemp("store")
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("deploy", (folder / "artifacts").as_uri()))
    with mlflow.start_run() as run:
        logged = [
            mlflow.sklearn.log_model(
                model,
                name="line",
                pip_requirements=REQUIREMENTS,
                signature=SIGNATURE,
                input_example=None if example is None else frame.head(example),
                registered_model_name=MODEL,
            )
            for model, example in ((line(2.0), 3), (line(5.0), 3), (unloadable(), None), (liar(), 1))
        ]
    mlflow.set_tracking_uri(before)
    return SimpleNamespace(
        uri=uri,
        v1=f"models:/{MODEL}/1",
        v2=f"models:/{MODEL}/2",
        broken=f"models:/{MODEL}/3",
        liar=f"models:/{MODEL}/4",
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


@pytest.fixture(scope="session")
def endpoint(store):
    """Version 1 at a free port, for every test that only asks."""
    with tracking_in(store), pytest.MonkeyPatch.context() as deployer:
        for name in SECRETS:
            deployer.setenv(name, "secret")
        started = deploy(
            store.v1, name="lines", target=Local(request_timeout=REQUEST_TIMEOUT_S, environment={GIVEN: "on"})
        )
    with started:
        yield started


@pytest.fixture
def nothing_else_left(home):
    """Nothing that a test started stays behind."""
    yield
    for other in endpoints():
        if other.name != "lines":
            other.delete(confirm=other.name)


@pytest.fixture
def taken_port():
    """A port that somebody else listens at."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


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
def up(target, deployables):
    """Bring one of a target's `deployables` up and let it serve, as the front does; returns what was told."""

    def bring(number, *, shift=True, timeout=120, told=None):
        said = []

        def listen(line):
            said.append(line)
            if told:
                told(line)

        deadline = Deadline.after(timeout)
        target.create(NAME, f"v{number}", deployables[number], progress=listen, deadline=deadline)
        if shift:
            target.shift(NAME, {f"v{number}": 100}, progress=listen, deadline=deadline)
        return said

    return bring
