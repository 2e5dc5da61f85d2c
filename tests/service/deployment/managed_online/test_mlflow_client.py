"""MLflow's own deployment client on an Azure ML workspace, with models of MLflow 3: `get_deploy_client("azureml://…")`."""

import json
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.deployments import get_deploy_client
from mlflow.deployments.cli import commands
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LinearRegression

from adbazureml.deployment.mlflow_plugin import AzureMLDeploymentClient
from adbazureml.deployment.model_lookup import find_model, register_unnamed
from adbazureml.deployment.targets.managed_online import scoring_client

from .conftest import LINES, POLL

ENDPOINT, IMPLICIT = "by-mlflow", "by-mlflow-alone"
TWO = f"models:/{LINES}/2"


@pytest.fixture
def client(azure, monkeypatch):
    monkeypatch.setattr(AzureMLDeploymentClient, "poll", POLL)
    return get_deploy_client(azure.tracking_uri)


@pytest.fixture
def endpoint(client):
    """An endpoint with deployment ``one`` of version 1, which has all traffic."""
    client.create_endpoint(ENDPOINT)
    client.create_deployment("one", f"models:/{LINES}/1", endpoint=ENDPOINT)
    client.update_endpoint(ENDPOINT, config={"traffic": {"one": 100}})
    yield ENDPOINT
    client.delete_endpoint(ENDPOINT)


@pytest.fixture
def logged(azure, rows):
    """A model that no registry has yet: its id, and the run's address of it."""
    mlflow.set_experiment("by-mlflow")
    with mlflow.start_run() as run:
        made = mlflow.sklearn.log_model(
            LinearRegression().fit(rows, rows["age"] * 7),
            name="seven",
            input_example=rows.head(2),
            pip_requirements=["scikit-learn==1.6.1"],
        )
    return SimpleNamespace(uri=f"models:/{made.model_id}", of_run=f"runs:/{run.info.run_id}/seven")


def test_beside_what_serves_and_then_traffic(azure, client, endpoint, rows, tmp_path):
    config = tmp_path / "deployment.json"
    config.write_text(json.dumps({"instance_type": "Standard_F4s_v2", "environment_variables": {"A": "b"}}))
    made = client.create_deployment(
        "two",
        f"models:/{LINES}/2",
        config={"deploy-config-file": str(config), "instance_count": "2"},
        endpoint=endpoint,
    )
    assert (made["name"], made["flavor"], made["sku"]["capacity"]) == ("two", "python_function", 2)
    properties = azure.online.endpoints[endpoint].deployments["two"].properties
    assert properties["instanceType"] == "Standard_F4s_v2"
    assert properties["environmentVariables"]["A"] == "b"
    assert properties["environmentVariables"]["MLFLOW_TRACKING_URI"] == "file:///tmp/mlruns"
    assert client.get_endpoint(endpoint)["properties"]["traffic"] == {"one": 100}
    assert list(client.predict(endpoint=endpoint, df=rows)[0]) == pytest.approx(list(rows["age"] * 2))
    assert list(client.predict("two", rows, endpoint=endpoint)[0]) == pytest.approx(list(rows["age"] * 3))
    client.update_endpoint(endpoint, config={"traffic": {"one": 20, "two": 80}, "tags": {"team": "lines"}})
    assert client.get_endpoint(endpoint)["properties"]["traffic"] == {"one": 20, "two": 80}
    assert client.get_endpoint(endpoint)["tags"] == {"team": "lines"}
    assert [(one["name"], one["endpointName"]) for one in client.list_deployments() if one["name"] == "two"] == [
        ("two", endpoint)
    ]
    client.delete_deployment("two", endpoint=endpoint)
    client.delete_deployment("two", endpoint=endpoint)
    assert [one["name"] for one in client.list_deployments(endpoint)] == ["one"]
    assert client.get_endpoint(endpoint)["properties"]["traffic"] == {"one": 100}


def test_updated_in_place_what_is_not_named_stays(azure, client, endpoint, rows):
    # Without another model nothing is fetched or started.
    client.update_deployment("one", config={"instance_count": 3, "app_insights_enabled": True}, endpoint=endpoint)
    made = azure.online.endpoints[endpoint].deployments["one"]
    assert (made.body["sku"]["capacity"], made.properties["appInsightsEnabled"]) == (3, True)
    assert list(client.predict(endpoint=endpoint, inputs=rows)[0]) == pytest.approx(list(rows["age"] * 2))
    updated = client.update_deployment("one", TWO, config={"environment_variables": {"A": "b"}}, endpoint=endpoint)
    assert updated["properties"]["model"].endswith(f"/models/{LINES}/versions/2")
    assert made.body["sku"]["capacity"] == 3
    assert list(client.predict(endpoint=endpoint, df=rows)[0]) == pytest.approx(list(rows["age"] * 3))


def test_without_an_endpoint_one_is_made_and_the_model_registered(azure, client, logged, rows):
    client.create_deployment(IMPLICIT, logged.uri)
    try:
        assert client.get_endpoint(IMPLICIT)["properties"]["traffic"] == {IMPLICIT: 100}
        model = client.get_deployment(IMPLICIT)["properties"]["model"]
        assert model.endswith(f"/models/{IMPLICIT}-model/versions/1")
        for _ in range(2):
            azure.requests.clear()
            assert list(client.predict(IMPLICIT, rows)[0]) == pytest.approx(list(rows["age"] * 7))
        assert [one.path for one in azure.requests if one.host == "arm"] == []
        client.delete_deployment(IMPLICIT, delete_empty_endpoint=True)
        assert IMPLICIT not in azure.online.endpoints
    finally:
        client.delete_endpoint(IMPLICIT)


def test_models_of_runs_and_folders_are_registered(client, workspace, logged, rows, tmp_path, monkeypatch):
    of_run = register_unnamed(find_model(logged.of_run, workspace), "of-run", workspace)
    again = register_unnamed(find_model(logged.of_run, workspace), "of-run", workspace)
    assert of_run.azureml == again.azureml == ("of-run", "1")
    mlflow.sklearn.save_model(LinearRegression().fit(rows, rows["age"]), tmp_path / "model", pip_requirements=[])
    monkeypatch.chdir(tmp_path)
    for number, address in enumerate(((tmp_path / "model").as_uri(), "file://model", "model"), start=1):
        made = register_unnamed(find_model(address, workspace), "of-folder", workspace)
        assert made.azureml == ("of-folder", str(number))


def test_one_that_fails_leaves_nothing_and_says_why(azure, client, endpoint):
    azure.online.build_error = "no such package"
    with pytest.raises(MlflowException, match=r"no such package.*'one' \(100 %\) goes on serving") as caught:
        client.create_deployment("three", f"models:/{LINES}/3", endpoint=endpoint)
    assert caught.value.error_code == "INTERNAL_ERROR"
    assert list(azure.online.endpoints[endpoint].deployments) == ["one"]


@pytest.mark.parametrize(
    ("code", "said", "call"),
    [
        ("RESOURCE_DOES_NOT_EXIST", "no endpoint 'nowhere'", lambda c: c.get_endpoint("nowhere")),
        ("RESOURCE_DOES_NOT_EXIST", "no deployment 'm-9'", lambda c: c.get_deployment("m-9", "lines")),
        ("RESOURCE_DOES_NOT_EXIST", "no endpoint 'nowhere'", lambda c: c.update_endpoint("nowhere")),
        ("RESOURCE_DOES_NOT_EXIST", "no deployment 'm-9'", lambda c: c.update_deployment("m-9", endpoint="lines")),
        (
            "RESOURCE_DOES_NOT_EXIST",
            "no endpoint 'nowhere'",
            lambda c: c.create_deployment("m-9", "models:/lines/1", endpoint="nowhere"),
        ),
        (
            "RESOURCE_CONFLICT",
            "'m-1' of endpoint 'lines' exists already",
            lambda c: c.create_deployment("m-1", "models:/lines/1", endpoint="lines"),
        ),
        (
            "RESOURCE_DOES_NOT_EXIST",
            "model_uri 'models:/lines/99' can't be read",
            lambda c: c.create_deployment("m-9", "models:/lines/99", endpoint="lines"),
        ),
        ("RESOURCE_CONFLICT", "'lines' exists already", lambda c: c.create_endpoint("lines")),
        (
            "INVALID_PARAMETER_VALUE",
            "flavor 'sklearn'",
            lambda c: c.create_deployment("m-9", "models:/lines/1", flavor="sklearn"),
        ),
        ("INVALID_PARAMETER_VALUE", "give deployment_name or endpoint", lambda c: c.predict(df=[])),
        (
            "INVALID_PARAMETER_VALUE",
            "Unknown field",
            lambda c: c.create_deployment("m-9", "models:/lines/1", config={"nonsense": 1}),
        ),
        ("INVALID_PARAMETER_VALUE", "auth_mode", lambda c: c.create_endpoint("new", {"auth_mode": "none"})),
    ],
)
def test_refusals_have_a_code_and_change_nothing(azure, client, served, code, said, call):
    azure.requests.clear()
    with pytest.raises(MlflowException, match=said) as caught:
        call(client)
    assert caught.value.error_code == code
    assert not [one for one in azure.requests if one.method in ("PUT", "PATCH", "DELETE")]


def test_what_is_gone_may_be_deleted(client):
    client.delete_endpoint("nowhere")
    client.delete_deployment("m-1", endpoint="nowhere")


def test_on_the_command_line(azure, client, tmp_path, rows):
    def run(command, *arguments):
        done = CliRunner().invoke(commands, [command, "-t", azure.tracking_uri, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    created = run("create", "--name", "by-shell", "-m", f"models:/{LINES}/1", "-C", "instance_type=Standard_F4s_v2")
    assert "python_function deployment by-shell is created" in created
    assert "by-shell" in run("list", "--endpoint", "by-shell")
    assert "Standard_F4s_v2" in run("get", "--name", "by-shell")
    rows.to_json(tmp_path / "rows.json")
    answer = run("predict", "--name", "by-shell", "-I", str(tmp_path / "rows.json"))
    assert pd.DataFrame(json.loads(answer))["0"].tolist() == pytest.approx(list(rows["age"] * 2))
    assert "is updated (with flavor python_function)" in run("update", "--name", "by-shell", "-C", "instance_count=2")
    assert "instance_type" in run("help")
    run("delete", "--name", "by-shell")
    client.delete_endpoint("by-shell")


def test_a_target_that_names_no_workspace_is_refused():
    with pytest.raises(MlflowException, match="names no Azure ML workspace"):
        get_deploy_client("azureml://somewhere")


def test_databricks_stays_mlflows_own(monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("DATABRICKS_TOKEN", "none")
    assert type(get_deploy_client("databricks")).__module__ == "mlflow.deployments.databricks"


def test_tensors_are_sent_as_they_are(client, served):
    """And rows that the model refuses are the caller's to correct."""
    with pytest.raises(MlflowException, match="each row needs 2 values") as caught:
        client.predict("m-1", np.ones((1, 3)), endpoint=served)
    assert caught.value.error_code == "BAD_REQUEST"


def test_an_endpoint_that_is_away_is_asked_again_later(azure, client, served, rows, monkeypatch):
    monkeypatch.setattr(scoring_client, "FIRST_PAUSE", 0.01)
    azure.fail_next(99, "/score", status=503)
    with pytest.raises(MlflowException, match="ask again later") as caught:
        client.predict("m-1", rows, endpoint=served)
    assert caught.value.error_code == "TEMPORARILY_UNAVAILABLE"
