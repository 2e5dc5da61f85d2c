"""The primary is a Databricks workspace: MLflow's own code for it talks to an emulated one on loopback."""

import dataclasses
import os
import subprocess
import sys
import textwrap
import uuid

import mlflow
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.databricks_logged_model_artifact_repo import DatabricksLoggedModelArtifactRepository
from mlflow.store.artifact.databricks_run_artifact_repo import DatabricksRunArtifactRepository
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service import utils
from mlflow.utils.rest_utils import get_workspace_client
from mlflow.utils.uri import is_databricks_uri
from tests.emulators.databricks import TOKEN
from tests.emulators.databricks_mlflow import DatabricksMLflow
from tests.service.tracking.both import Both

from adbazureml import catch_up
from adbazureml.tracking.store_pair import StorePair, switch_off

AZUREML = (
    "://westeurope.api.azureml.ms/mlflow/v2.0/subscriptions/s/resourceGroups/r/providers"
    "/Microsoft.MachineLearningServices/workspaces/w"
)


@pytest.fixture
def databricks(tracking_server, tmp_path, monkeypatch):
    with DatabricksMLflow(tracking_server.url, tmp_path / "dbfs") as databricks:
        monkeypatch.setenv("DATABRICKS_HOST", databricks.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        get_workspace_client.cache_clear()
        yield databricks


@pytest.fixture
def from_databricks(databricks, both, monkeypatch):
    """Mode "both" from the emulated Databricks workspace to the real server."""
    page = "http://azureml/{experiment_id}/{run_id}"
    StorePair(primary_uri="databricks", primary_page="", replica_uri=both.proxy.url, replica_page=page).switch_on()
    mlflow.set_tracking_uri("databricks")
    experiment = f"/Users/someone@example.com/{uuid.uuid4().hex[:12]}"
    mlflow.set_experiment(experiment)
    yield dataclasses.replace(both, experiment=experiment, primary=mlflow.MlflowClient())
    while mlflow.active_run():
        mlflow.end_run()
    switch_off()


def test_the_folder_of_an_experiment_is_made(from_databricks, databricks):
    name = f"/Users/someone@example.com/{uuid.uuid4().hex[:8]}/diabetes"
    assert mlflow.set_experiment(name).name == name
    assert name.rpartition("/")[0] in databricks.folders
    # Without replication, MLflow's store is as it was.
    switch_off()
    with pytest.raises(mlflow.MlflowException, match="does not exist"):
        mlflow.set_experiment(f"/Users/someone@example.com/{uuid.uuid4().hex[:8]}/diabetes")


@pytest.mark.parametrize("files_api", [True, False])
def test_a_whole_run_stands_in_both(from_databricks, databricks, tmp_path, log_model, files_api):
    databricks.files_api = files_api
    with mlflow.start_run(run_name="whole") as run:
        mlflow.log_params({"depth": 3})
        model = log_model()
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("hello", "notes/hello.txt")
        with mlflow.start_run(nested=True):
            mlflow.log_metric("fold", 1.0)
    from_databricks.assert_equal(tmp_path)
    # What only a primary that is Databricks does.
    assert isinstance(get_artifact_repository(run.info.artifact_uri), DatabricksRunArtifactRepository)
    location = mlflow.get_logged_model(model.model_id).artifact_location
    assert isinstance(get_artifact_repository(location), DatabricksLoggedModelArtifactRepository)
    assert mlflow.get_registry_uri() == "databricks-uc"
    assert any("/signed/" in request for request in databricks.requests) != files_api
    assert catch_up(run_ids=[run.info.run_id]).runs[0].written == 0


def test_the_links_of_databricks_are_printed_once(from_databricks, databricks, capsys):
    with mlflow.start_run() as run:
        pass
    page = f"{databricks.host}/ml/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert capsys.readouterr().out.count("View run") == 1
    assert from_databricks.counterpart_of(run.info.run_id).data.tags["adbazureml.databricks.run_url"] == page


def test_an_error_code_of_databricks_comes_through(from_databricks):
    # A notebook takes its own experiment on exactly this code.
    with pytest.raises(mlflow.MlflowException) as refused:
        mlflow.MlflowClient().create_experiment("plain-name")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_stores_are_those_that_mlflow_builds(databricks):
    """Pins the private builders that the plug-in calls, and what MLflow asks of a store's class."""
    for uri, builder in {"databricks": "_get_databricks_rest_store", "http://127.0.0.1:9": "_get_rest_store"}.items():
        store = utils._get_store(uri)
        assert isinstance(store, RestStore)
        assert type(store).__bases__[-1] is type(getattr(utils, builder)(uri))
        assert store._async_logging_queue._logging_func == store.log_batch


def test_a_cluster_whose_tracking_uri_is_adbazureml_trains_into_both(databricks, azure, tmp_path):
    """Databricks as Databricks answers, Azure ML as Azure ML answers, and code that knows of neither.

    MLflow is imported anew there, with the variable set as a cluster sets it.
    """
    script = """
        import matplotlib.figure, mlflow, numpy, os
        from adbazureml.tracking import outbox
        from adbazureml.tracking.store_pair import current_pair
        from mlflow.utils.uri import is_databricks_uri
        from sklearn.linear_model import LinearRegression

        assert is_databricks_uri(mlflow.get_tracking_uri()), mlflow.get_tracking_uri()
        assert mlflow.get_registry_uri() == "databricks-uc"
        assert current_pair().primary_uri == os.environ["MLFLOW_TRACKING_URI"] == "databricks"
        print(current_pair().replica_uri)
        # However slow this machine is.
        outbox.EXIT_DEADLINE = 200.0
        rows = numpy.random.default_rng(0).normal(size=(40, 2))
        mlflow.sklearn.autolog(log_models=False)
        mlflow.set_experiment("/Users/someone@example.com/cluster")
        with mlflow.start_run(run_name="cluster", tags={"team": "prices"}) as run:
            model = LinearRegression().fit(rows, rows[:, 0])
            for step in range(25):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_figure(matplotlib.figure.Figure(), "curve.png")
            mlflow.log_text("hello", "notes/hello.txt")
            mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn==1.6.1"])
            with mlflow.start_run(nested=True, run_name="fold"):
                mlflow.log_metric("fold", 1.0)
        mlflow.MlflowClient().set_tag(run.info.run_id, "reviewed", "yes")
    """
    environment = {**os.environ, "MLFLOW_TRACKING_URI": azure.tracking_uri.replace("azureml:", "adbazureml:", 1)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert azure.tracking_uri in done.stdout.splitlines()
    mlflow.set_tracking_uri("databricks")
    cluster = Both(
        experiment="/Users/someone@example.com/cluster",
        workspace=None,
        proxy=None,
        server=None,
        primary=mlflow.MlflowClient(),
        replica=mlflow.MlflowClient(azure.tracking_uri),
    )
    cluster.assert_equal(tmp_path)
    run = next(run for run in cluster.runs() if run.info.run_name == "cluster")
    page = f"{databricks.host}/ml/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    counterpart = cluster.counterpart_of(run.info.run_id)
    assert counterpart.data.tags["adbazureml.databricks.run_url"] == page
    assert run.data.tags["adbazureml.in_sync"] == counterpart.data.tags["adbazureml.in_sync"]
    assert "model/MLmodel" in azure.run_artifacts(counterpart.info.run_id)


def test_adbazureml_as_the_tracking_uri_of_a_notebook(databricks):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"adbazureml{AZUREML}")
    try:
        store = utils._get_store()
        assert is_databricks_uri(mlflow.get_tracking_uri())
        assert isinstance(store, RestStore)
        assert store.get_host_creds().host == databricks.host
    finally:
        switch_off()
        mlflow.set_tracking_uri(before)
