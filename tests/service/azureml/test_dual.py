"""Runs tracked in both workspaces, where the second is Azure ML as the service itself answers."""

import mlflow
import pytest
from sklearn.linear_model import LinearRegression

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, catch_up, track
from adbazureml.tracking.names import azureml_experiment_name

EXPERIMENT = "/Users/ada@example.com/houses/both"


@pytest.fixture
def workspace(azure, tmp_path, monkeypatch):
    """The emulated Azure ML workspace beside a new Databricks stand-in; tracking is on in both."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    found = AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )
    track(found)
    mlflow.set_experiment(EXPERIMENT)
    yield found
    while mlflow.active_run():
        mlflow.end_run()
    track(mode="databricks")


def mirror_of(workspace, run):
    client = workspace.client()
    experiment = client.get_experiment_by_name(azureml_experiment_name(EXPERIMENT))
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.`adbazureml.databricks.run_id` = '{run.info.run_id}'"
    )
    return found


def test_a_whole_run_with_its_model(workspace, azure, log_model, rows, model):
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            LinearRegression().fit(rows, rows["a"])
            for step in range(600):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_text("hello", "notes/hello.txt")
            mlflow.log_input(mlflow.data.from_pandas(rows, name="houses"), "training")
            info = log_model()
    finally:
        mlflow.sklearn.autolog(disable=True)
    ours = DatabricksWorkspace.current().client().get_run(run.info.run_id)
    theirs = mirror_of(workspace, run)
    assert theirs.data.params == ours.data.params
    assert theirs.data.metrics == pytest.approx(ours.data.metrics)
    assert len(workspace.client().get_metric_history(theirs.info.run_id, "loss")) == 600
    assert theirs.info.status == "FINISHED"
    assert ours.data.tags["adbazureml.azureml.run_url"] == workspace.run_url(
        theirs.info.experiment_id, theirs.info.run_id
    )
    stored = azure.run_artifacts(theirs.info.run_id)
    assert stored["notes/hello.txt"] == b"hello"
    assert "model/MLmodel" in stored
    copied = mlflow.pyfunc.load_model(f"{theirs.info.artifact_uri}/model")
    assert copied.predict(rows) == pytest.approx(mlflow.pyfunc.load_model(info.model_uri).predict(rows))
    # Settled: looking again costs a few requests and writes nothing.
    azure.requests.clear()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert (outcome.settled, outcome.written) == (True, 0)
    assert len(azure.requests) <= 3


def test_an_outage_of_the_whole_run_is_caught_up(workspace, azure, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    azure.fail_next(1000, "/mlflow/", status=503)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.log_text("hello", "hello.txt")
    azure.clear_faults()
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert outcome.settled
    theirs = mirror_of(workspace, run)
    assert theirs.data.metrics == {"loss": 0.5}
    assert azure.run_artifacts(theirs.info.run_id) == {"hello.txt": b"hello"}


def test_what_azure_ml_refuses_is_told_and_the_rest_settles(workspace, caplog):
    with mlflow.start_run() as run:
        mlflow.set_tag("note", "x" * 3000)
        mlflow.set_tag("team:prices", "colon")
        mlflow.log_param("depth", 3)
    (outcome,) = catch_up(run_ids=[run.info.run_id]).runs
    assert outcome.settled
    assert "note" in outcome.reason
    theirs = mirror_of(workspace, run)
    assert theirs.data.params == {"depth": "3"}
    assert theirs.data.tags["team.prices"] == "colon"
