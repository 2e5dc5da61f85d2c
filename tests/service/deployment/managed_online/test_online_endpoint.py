"""Managed online endpoints, by the real azure-ai-ml, on models that the real inference server serves."""

import re

import pytest

from adbazureml import AzureMLWorkspace
from adbazureml.deployment.targets import ManagedOnline
from adbazureml.errors import DeploymentError

from ..contract import BEST, ROWS, worst


def puts(azure):
    return [
        request.path.rpartition("workspaces/ml-workspace/")[2] for request in azure.requests if request.method == "PUT"
    ]


def test_a_new_deployment_takes_no_traffic(azure, target, models, served, payload, rows):
    state = target.find(served)
    assert (state.kind, state.auth, state.traffic) == ("azureml", "key", {})
    assert state.url.startswith(azure.url)
    assert served in state.page
    (made,) = state.deployments
    assert (made.name, made.model, made.state) == ("m-1", "models:/lines/1", "healthy")
    assert made.fingerprint == models["1"].fingerprint
    assert made.made is not None
    assert target.score(served, payload, deployment="m-1") == pytest.approx(list(rows["age"] * 2))
    with pytest.raises(DeploymentError, match="No deployment of endpoint 'lines' takes requests"):
        target.score(served, payload)


def test_what_azure_is_told(azure, served):
    made = azure.online.endpoints[served].deployments["m-1"]
    properties = made.properties
    scope = azure.workspace.scope
    assert properties["model"] == f"{scope}/models/lines/versions/1"
    assert (properties["instanceType"], made.body["sku"]["capacity"]) == ("Standard_DS3_v2", 1)
    assert properties["environmentVariables"] == {"MLFLOW_TRACKING_URI": "file:///tmp/mlruns", "WORKER_COUNT": "2"}
    assert properties["requestSettings"]["requestTimeout"] == "PT1M"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 2
    name, version, environment = azure.assets.by_id(properties["environmentId"], "environments")
    assert re.fullmatch("adbazureml-[0-9a-f]{16}", name)
    assert version == "1"
    assert environment["image"].startswith("mcr.microsoft.com/azureml/inference-base-2204")
    assert "azureml-inference-server-http==1.5.1" in environment["condaFile"]


def test_the_model_may_be_given_variables(azure, connect, models, served, waits):
    # What is told before the image is built is enough here.
    azure.online.build_error = "not built"
    target = connect(environment={"A_SETTING": "on"})
    try:
        with pytest.raises(DeploymentError, match="not built"):
            target.create(served, "m-set", models["1"], **waits)
        told = azure.online.endpoints[served].deployments["m-set"].properties["environmentVariables"]
        assert told == {"MLFLOW_TRACKING_URI": "file:///tmp/mlruns", "WORKER_COUNT": "2", "A_SETTING": "on"}
    finally:
        target.remove(served, "m-set")


def test_again_changes_nothing(azure, connect, models, served, waits):
    connect().create(served, "m-1", models["1"], **waits)
    assert puts(azure) == []


def test_another_version_comes_up_beside_it(azure, target, connect, models, served, payload, rows, capfd, waits):
    told = []
    # MLflow shows how it fetches the model.
    assert models["2"].folder.code.is_dir()
    capfd.readouterr()
    target.shift(served, {"m-1": 100}, **waits)
    connect(collect=True).create(served, "m-2", models["2"], progress=told.append, deadline=waits["deadline"])
    try:
        collections = azure.online.endpoints[served].deployments["m-2"].properties["dataCollector"]["collections"]
        assert {name: one["dataCollectionMode"].lower() for name, one in collections.items()} == {
            "model_inputs": "enabled",
            "model_outputs": "enabled",
        }
        assert ("lines-m-2-model_inputs", "1") in azure.monitors.data
        assert any(text.startswith("creating deployment m-2, ") for text in told)
        assert target.find(served).traffic == {"m-1": 100}
        assert target.score(served, payload) == pytest.approx(list(rows["age"] * 2))
        assert target.score(served, payload, deployment="m-2") == pytest.approx(list(rows["age"] * 3))
        target.shift(served, {"m-1": 75, "m-2": 25}, **waits)
        assert target.find(served).traffic == {"m-1": 75, "m-2": 25}
        target.shift(served, {"m-2": 100, "m-1": 0}, **waits)
        assert target.score(served, payload) == pytest.approx(list(rows["age"] * 3))
        azure.requests.clear()
        target.shift(served, {"m-2": 100}, **waits)
        assert puts(azure) == []
        target.shift(served, {"m-1": 100}, **waits)
    finally:
        target.remove(served, "m-2")
    assert [one.name for one in target.find(served).deployments] == ["m-1"]
    target.remove(served, "m-2")
    # Nothing of azure-ai-ml's dots, bars and notes; and no key anywhere.
    assert capfd.readouterr() == ("", "")
    assert not [secret for secret in azure.secrets if secret in "".join(told) + repr(target)]


def test_the_rows_that_a_model_does_not_take(target, served):
    with pytest.raises(DeploymentError, match=r"^The model refused the rows: .*visits") as refused:
        target.score(served, {"dataframe_records": [{"age": 1.0}]}, deployment="m-1")
    assert "\n" not in str(refused.value)


def test_the_contract_holds_behind_azures_door(target, served, waits):
    target.shift(served, {"m-1": 100}, **waits)
    connection, url = target.caller(served)
    rows = [row for row in ROWS if row.kind == "bad" and not row.typed and not row.age and not row.path]
    found = worst(connection, url, rows)
    assert found[0] == BEST, found


def test_the_log(target, served):
    assert len(target.logs(served, "m-1", 3).splitlines()) == 3


@pytest.mark.parametrize(("mode", "auth"), [("AMLToken", "token"), ("AADToken", "aad")])
def test_tokens(azure, connect, served, payload, monkeypatch, mode, auth):
    monkeypatch.setitem(azure.online.endpoints[served].properties, "authMode", mode)
    other = connect(auth=auth)
    assert other.find(served).auth == auth
    assert len(other.score(served, payload, deployment="m-1")) == 6


def test_a_renewed_key_is_asked_for_again(azure, target, served, payload):
    target.score(served, payload, deployment="m-1")
    azure.online.endpoints[served].keys = ("another", "one")
    assert len(target.score(served, payload, deployment="m-1")) == 6


def test_endpoints_of_this_package(azure, target, served):
    put = azure.online.endpoints[served].body
    from tests.emulators.azureml.online import Endpoint

    azure.online.endpoints["foreign"] = Endpoint("foreign", put, "Succeeded")
    try:
        assert [state.name for state in target.list()] == [served]
    finally:
        del azure.online.endpoints["foreign"]


def test_delete(azure, target, models, waits):
    azure.online.quota = 0
    with pytest.raises(DeploymentError):
        target.create("gone", "m-1", models["1"], **waits)
    assert "gone" in azure.online.endpoints
    target.delete("gone")
    target.delete("gone")
    assert target.find("gone") is None


@pytest.mark.parametrize("name", ["ab", "1st", "a" * 33, "ends-", "with space", "dot.ted", ""])
def test_names_are_refused_before_anything_is_asked(azure, target, models, name):
    with pytest.raises(DeploymentError, match=r"name .* is refused by Azure ML: use 3 to 32 letters"):
        target.check(name, models["1"])
    assert azure.requests == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"auth": "none"}, "auth 'none'"),
        ({"instance_count": 0}, "instance_count 0"),
        ({"request_timeout": 200}, "request_timeout 200: target 'azureml' allows up to 180 s"),
    ],
)
def test_parameters_are_refused_before_anything_is_asked(azure, connect, models, options, said):
    with pytest.raises(DeploymentError, match=re.escape(said)):
        connect(**options).check("lines", models["1"])
    assert azure.requests == []


def test_a_model_that_azure_ml_has_not(target, models):
    from dataclasses import replace

    with pytest.raises(DeploymentError, match="is not registered in Azure ML"):
        target.check("lines", replace(models["1"], azureml=None))
    with pytest.raises(DeploymentError, match=r"model lines:9.*was not found"):
        target.check("lines", replace(models["1"], azureml=("lines", "9")))


def test_an_endpoint_that_is_something_else(azure, connect, models, served, monkeypatch):
    connect().check(served, models["1"])
    with pytest.raises(DeploymentError, match="auth 'token': endpoint 'lines' has 'key'"):
        connect(auth="token").check(served, models["1"])
    monkeypatch.setitem(azure.online.endpoints[served].properties, "compute", f"{azure.workspace.scope}/computes/aks")
    with pytest.raises(DeploymentError, match="is an endpoint of target 'aks'"):
        connect().check(served, models["1"])


def test_without_a_workspace():
    local_backend = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    with pytest.raises(DeploymentError, match="needs an Azure ML workspace, not the local backend"):
        ManagedOnline().connect(local_backend)
