"""Models registered in both registries, Azure ML as the service itself answers, Databricks as its local backend."""

import mlflow
import pytest

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, register, track
from adbazureml.errors import RegistryError

EXPERIMENT = "/Users/ada@example.com/houses/prices"


@pytest.fixture
def workspace(azure, tmp_path, monkeypatch):
    """The emulated Azure ML workspace; the local Databricks backend is new. Tracking is left off afterwards."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    yield AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )
    while mlflow.active_run():
        mlflow.end_run()
    track(mode="databricks")


@pytest.fixture
def azureml(workspace):
    return workspace.client()


@pytest.fixture
def databricks(workspace):
    return DatabricksWorkspace.current().client()


def train(log_model, **options):
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        log_model(**options)
    return run


def test_lineage_is_whole_in_both(workspace, azureml, databricks, log_model, rows, model):
    track(workspace)
    run = train(log_model)
    version = register(run, name="main.houses.lineage", workspace=workspace)
    assert (version.databricks, version.azureml, version.azureml_name) == ("1", "1", "main--houses--lineage")
    theirs = azureml.get_model_version("main--houses--lineage", "1")
    counterpart = azureml.get_run(theirs.run_id)
    assert counterpart.data.tags["adbazureml.databricks.run_id"] == run.info.run_id
    assert theirs.source == f"{counterpart.info.artifact_uri}/model"
    assert theirs.tags["adbazureml_counterpart_version"] == "main.houses.lineage/1"
    assert theirs.tags["adbazureml_counterpart_run_id"] == run.info.run_id
    ours = databricks.get_model_version("main.houses.lineage", "1")
    assert ours.tags["adbazureml_counterpart_version"] == "main--houses--lineage/1"
    assert ours.tags["adbazureml_counterpart_run_id"] == theirs.run_id
    assert ours.tags["adbazureml_counterpart_workspace"] == workspace.name
    assert ours.tags["adbazureml_counterpart_url"] == version.links[1]
    loaded = mlflow.pyfunc.load_model(theirs.source)
    assert loaded.predict(rows) == pytest.approx(model.predict(rows))


def test_a_run_that_was_never_replicated_is_brought_over(workspace, azureml, log_model):
    track(mode="databricks")
    run = train(log_model)
    in_databricks = register(run, name="later", registry="databricks")
    version = register(in_databricks, name="later", workspace=workspace)
    assert (version.databricks, version.azureml) == ("1", "1")
    counterpart = azureml.get_run(azureml.get_model_version("later", "1").run_id)
    assert counterpart.data.tags["adbazureml.databricks.run_id"] == run.info.run_id


def test_when_azure_ml_fails_databricks_keeps_its_version_and_calling_again_completes(
    workspace, azure, azureml, databricks, log_model, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    track(workspace)
    run = train(log_model)
    azure.fail_next(10, "model-versions/create", status=503)
    with pytest.raises(RegistryError, match="Version 1 in Databricks stays; call register again to complete"):
        register(run, name="completed", workspace=workspace)
    azure.clear_faults()
    version = register(run, name="completed", workspace=workspace)
    again = register(run, name="completed", workspace=workspace)
    assert version.created
    assert not again.created
    assert (version.databricks, version.azureml) == (again.databricks, again.azureml) == ("1", "1")
    assert len(azureml.search_model_versions("name = 'completed'")) == 1
    assert len(databricks.search_model_versions("name = 'completed'")) == 1


def test_tracked_in_azure_ml_only_and_registered_in_both(workspace, azureml, databricks, log_model, rows, model):
    track(workspace, mode="azureml")
    run = train(log_model)
    version = register(run, name="from-azure", workspace=workspace)
    assert (version.databricks, version.azureml, version.uri) == ("1", "1", "models:/from-azure/1")
    assert azureml.get_model_version("from-azure", "1").run_id == run.info.run_id
    ours = databricks.get_model_version("from-azure", "1")
    assert ours.tags["adbazureml_counterpart_run_id"] == run.info.run_id
    assert mlflow.pyfunc.load_model(version.uri).predict(rows) == pytest.approx(model.predict(rows))


def test_a_model_that_no_run_made_is_uploaded(workspace, azureml, log_model, rows, model):
    track(mode="databricks")
    mlflow.set_experiment(EXPERIMENT)
    info = log_model("alone")
    version = register(info, name="no-run", registry="azureml", workspace=workspace)
    assert version.run_id == ""
    assert azureml.get_model_version("no-run", "1").source.startswith("azureml://artifacts/LocalUpload/")
    track(workspace, mode="azureml")
    assert mlflow.pyfunc.load_model("models:/no-run/1").predict(rows) == pytest.approx(model.predict(rows))
