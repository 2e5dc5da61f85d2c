"""The front on a managed online endpoint: models that only Databricks knows, and clean-up of what they serve."""

import mlflow
import pytest
from sklearn.linear_model import LinearRegression

from adbazureml import Settings, clean_up, inventory, register, track
from adbazureml.deployment import ManagedOnline, deploy, endpoints
from adbazureml.errors import DeploymentError

from .conftest import POLL

NAME, MODEL = "front", "front-lines"
EXPERIMENT = "/Users/ada@example.com/front/lines"


@pytest.fixture
def in_databricks(workspace, rows, home, tmp_path, monkeypatch):
    """A model of the local Databricks backend, registered there: what `register` returned, and the id of its run."""
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    (tmp_path / "environments").symlink_to(home / "environments")
    track(mode="databricks")
    mlflow.set_experiment(EXPERIMENT)

    def make(factor):
        with mlflow.start_run() as run:
            mlflow.sklearn.log_model(
                LinearRegression().fit(rows, rows["age"] * factor),
                name="model",
                input_example=rows.head(2),
                pip_requirements=["scikit-learn==1.6.1"],
            )
        return register(run, name=MODEL, registry="databricks"), run.info.run_id

    return make


def bring(model, workspace):
    return deploy(model, name=NAME, target=ManagedOnline(poll=POLL), workspace=workspace, timeout=300)


def test_it_is_registered_on_the_way_replaced_put_back_and_cleaned_up(azure, served, workspace, in_databricks, rows):
    first, run_id = in_databricks(4)
    endpoint = bring(first, workspace)
    assert endpoint.compare(rows, calls=1).largest_difference == 0
    azureml = workspace.client()
    counterpart = azureml.get_run(azureml.get_model_version(MODEL, "1").run_id)
    assert counterpart.data.tags["adbazureml.databricks.run_id"] == run_id
    # By its address, which tells less than what `register` returned.
    second = bring(in_databricks(5)[0].uri, workspace)
    assert second.compare(rows, calls=1).largest_difference == 0
    assert [one.version for one in azureml.search_model_versions(f"name = '{MODEL}'")] == ["2", "1"]
    requests = len(azure.requests)
    bring(mlflow.MlflowClient().get_model_version(MODEL, "2"), workspace)
    assert not [one for one in azure.requests[requests:] if one.method == "PUT"]
    second.rollback()
    assert endpoint.score(rows) == pytest.approx(list(rows["age"] * 4))

    settings = Settings(
        experiment=EXPERIMENT,
        model_name=MODEL,
        endpoint_name=NAME,
        subscription_id=azure.subscription_id,
        resource_group=azure.resource_group,
        workspace_name=azure.workspace_name,
    )
    found = inventory(settings, workspace=workspace).only("endpoint")
    assert [(item.name, item.where) for item in found.items] == [(NAME, "azureml")]
    assert NAME in found.items[0].link
    clean_up(found)
    assert NAME in azure.online.endpoints
    clean_up(found, confirm=EXPERIMENT)
    assert [one.name for one in endpoints(target="azureml", workspace=workspace)] == [served]


def test_where_it_cannot_be_registered_nothing_is_deployed(azure, workspace, in_databricks, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    model, _ = in_databricks(4)
    azure.fail_next(10, "model-versions/create", status=503)
    with pytest.raises(DeploymentError, match="could not be registered in Azure ML on the way"):
        bring(model, workspace)
    assert NAME not in azure.online.endpoints


@pytest.mark.usefixtures("in_databricks")
def test_what_cannot_be_served_is_not_registered_on_the_way(workspace, rows, tmp_path):
    model = mlflow.models.Model(signature=mlflow.models.infer_signature(rows, rows["age"]))
    model.add_flavor("onlyhere", data="weights")
    (tmp_path / "unservable").mkdir()
    model.save(str(tmp_path / "unservable" / "MLmodel"))
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "unservable"), "model")
    version = register(run, name="unservable", registry="databricks")
    with pytest.raises(DeploymentError, match="can't be served"):
        bring(version, workspace)
    assert workspace.client().search_model_versions("name = 'unservable'") == []
