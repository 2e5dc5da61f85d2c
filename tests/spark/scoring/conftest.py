"""A real MLflow store and tables of its own, for every test of scoring."""

import mlflow
import pytest
from tests.spark.scoring.growing import grow
from tests.spark.scoring.times import register_times

from adbazureml import runtime


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """A real MLflow store in SQLite, tracking and registry in one."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("scoring", (folder / "artifacts").as_uri()))
    yield mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def times(store):
    """Version 1 doubles, version 2 trebles."""
    return register_times()


@pytest.fixture
def into(request, spark):
    """The name of a table that only this test writes."""
    name = "p_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    yield name
    runtime.drop_table(name)


@pytest.fixture
def source(request, spark):
    """A table of two rows."""
    name = "s_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    grow(spark, name, 1, 2)
    yield name
    runtime.drop_table(name)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "checkpoints")
