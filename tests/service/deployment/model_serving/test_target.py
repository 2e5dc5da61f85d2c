"""Served entities from their creation to their answers, and what goes wrong on the way, through databricks-sdk."""

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import EndpointCoreConfigInput, ServedEntityInput
from mlflow.models.signature import ModelSignature
from tests.emulators.databricks import TOKEN

from adbazureml.deployment.target import Deadline
from adbazureml.deployment.targets import ModelServing
from adbazureml.errors import DeploymentError, WorkspaceError

from ..conftest import NAME
from .conftest import MODEL


def test_first_version_then_the_next_one_without_traffic_then_by_steps_and_back(
    serving, target, deployables, up, rows, predicted
):
    assert target.find(NAME) is None
    target.check(NAME, deployables[1])
    # The update goes on once its state was told.
    serving.hanging.clear()
    up(1, told=lambda line: serving.hanging.set() if "Creating resources" in line else None)
    assert serving.hanging.is_set()
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert target.find(NAME).traffic == {"v1": 100}

    up(2, shift=False)
    state = target.find(NAME)
    assert state.traffic == {"v1": 100}
    assert {one.name: (one.state, one.fingerprint) for one in state.deployments} == {
        f"v{number}": ("healthy", deployables[number].fingerprint) for number in (1, 2)
    }
    assert np.allclose(target.score(NAME, rows, deployment="v2"), predicted(2))
    assert np.allclose(target.score(NAME, rows), predicted(1))
    for traffic in ({"v1": 90, "v2": 10}, {"v2": 100}, {"v1": 100}):
        target.shift(NAME, traffic, progress=print, deadline=Deadline.after(30))
        assert target.find(NAME).traffic == traffic
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert state.url.endswith("/serving-endpoints/lines/invocations")
    assert "startup complete" in target.logs(NAME, "v1", 100)
    assert len(target.logs(NAME, "v1", 1).splitlines()) == 1
    assert [one.name for one in target.list()] == [NAME]

    target.remove(NAME, "v2")
    wait_settled(target)
    target.remove(NAME, "v2")
    assert [one.name for one in target.find(NAME).deployments] == ["v1"]
    target.delete(NAME)
    target.delete(NAME)
    assert target.find(NAME) is None
    assert target.list() == []


def test_same_again_asks_for_no_change(databricks, target, up):
    up(1)
    databricks.requests.clear()
    up(1)
    assert {one.method for one in databricks.requests} == {"GET"}


def test_what_others_serve_there_is_kept(databricks, target, up, rows, predicted):
    client = WorkspaceClient()
    other = ServedEntityInput(
        name="theirs",
        entity_name=MODEL,
        entity_version="1",
        workload_size="Medium",
        scale_to_zero_enabled=True,
        environment_vars={"THEIR": "{{secrets/scope/key}}"},
    )
    client.serving_endpoints.create_and_wait(NAME, config=EndpointCoreConfigInput(served_entities=[other]))
    assert target.list() == []
    up(2, shift=False)
    state = target.find(NAME)
    assert state.traffic == {"theirs": 100}
    assert state.deployment("theirs").fingerprint == ""
    kept = next(one for one in client.serving_endpoints.get(NAME).config.served_entities if one.name == "theirs")
    assert (kept.workload_size, kept.scale_to_zero_enabled) == ("Medium", True)
    assert kept.environment_vars == other.environment_vars
    assert [one.name for one in target.list()] == [NAME]
    assert np.allclose(target.score(NAME, rows), predicted(1))


@pytest.mark.parametrize("fault", ["build", "load", "crash"])
def test_version_that_fails_says_why_and_the_old_one_serves(serving, target, up, rows, predicted, fault, monkeypatch):
    up(1)
    number, expected = {
        "build": (2, r"(?s)image creation failed.*\nThe end of the log.*No matching distribution found for nothing"),
        "load": (2, r"Failed to download model artifacts"),
        "crash": (3, r"(?s)exited unexpectedly.*\nThe end of the log.*weights are from another planet"),
    }[fault]
    if fault == "build":
        serving.build_failures[MODEL, "2"] = "ERROR: No matching distribution found for nothing==1"
    if fault == "load":
        monkeypatch.setitem(serving.versions, (MODEL, "2"), replace(serving.versions[MODEL, "2"], folder=None))
    with pytest.raises(DeploymentError, match=expected) as caught:
        up(number)
    assert f"deployment 'v{number}' on endpoint 'lines' does not come up" in str(caught.value)
    state = target.find(NAME)
    assert [(one.name, one.state, one.traffic) for one in state.deployments] == [("v1", "healthy", 100)]
    assert np.allclose(target.score(NAME, rows), predicted(1))
    target.remove(NAME, f"v{number}")
    # The next try starts anew.
    serving.build_failures.clear()
    if fault == "build":
        up(2)
        assert np.allclose(target.score(NAME, rows), predicted(2))


def test_first_version_that_fails_leaves_nothing(serving, target, up):
    serving.build_failures[MODEL, "1"] = "ERROR"
    with pytest.raises(DeploymentError, match="does not come up"):
        up(1)
    assert [one.state for one in target.find(NAME).deployments] == ["failed"]
    serving.build_failures.clear()
    up(1)
    serving.endpoints.clear()
    serving.build_failures[MODEL, "1"] = "ERROR"
    with pytest.raises(DeploymentError):
        up(1)
    target.remove(NAME, "v1")
    assert target.find(NAME) is None


def test_not_ready_in_time_and_gone_on_with_by_another_process(serving, target, up, rows, predicted):
    serving.hanging.clear()
    with pytest.raises(DeploymentError, match=r"deployment 'v1' is not ready after 0.3 s; raise timeout"):
        up(1, timeout=0.3)
    threading.Timer(0.2, serving.hanging.set).start()
    up(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert serving.endpoints[NAME].versions == 1


def test_two_deployments_at_once_both_come_up(serving, databricks, deployables, up):
    up(1)
    serving.seconds = 0.3
    errors = []

    def bring(number):
        try:
            ModelServing(poll=0.05).connect(None).create(
                NAME, f"v{number}", deployables[number], progress=lambda _: None, deadline=Deadline.after(60)
            )
        except BaseException as error:
            errors.append(error)

    deployables[4] = replace(deployables[1], databricks=(MODEL, "1"))
    both = [threading.Thread(target=bring, args=(number,)) for number in (2, 4)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    del deployables[4]
    assert errors == []
    assert {entity["name"] for entity in serving.endpoints[NAME].config["served_entities"]} == {"v1", "v2", "v4"}


def test_too_many_requests_and_outages_are_waited_out(databricks, target, up, rows, predicted):
    databricks.fail_next(1, r"serving-endpoints$", status=429, retry_after=1, method="POST")
    up(1)
    databricks.fail_next(1, r"invocations$", status=503, retry_after=1)
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_what_is_refused_is_one_sentence(serving, databricks, target, up, deployables):
    serving.forbidden.add("*")
    with pytest.raises(DeploymentError, match="CAN_MANAGE") as caught:
        up(1)
    assert_one_line(caught.value)
    serving.forbidden.clear()
    serving.most_entities = 0
    with pytest.raises(DeploymentError, match=r"quota of 0 served entities.*have the limit raised") as caught:
        up(1)
    assert_one_line(caught.value)
    serving.most_entities = 20
    missing = replace(deployables[1], databricks=(MODEL, "77"))
    with pytest.raises(DeploymentError, match=r"version 77 does not exist.*EXECUTE"):
        target.create(NAME, "v77", missing, progress=print, deadline=Deadline.after(5))
    assert target.find(NAME) is None
    up(1)
    serving.forbidden.add(NAME)
    with pytest.raises(DeploymentError, match=r"CAN_VIEW.*CAN_MANAGE"):
        target.check(NAME, deployables[2])


def test_check_refuses_before_anything_is_created(databricks, target, deployables):
    no_signature = replace(deployables[1], model=replaced_signature(deployables[1].model, None))
    inputs_only = ModelSignature(inputs=deployables[1].signature.inputs)
    for model in (no_signature, replace(deployables[1], model=replaced_signature(deployables[1].model, inputs_only))):
        with pytest.raises(DeploymentError, match="no signature of inputs and outputs"):
            target.check(NAME, model)
    with pytest.raises(DeploymentError, match="not registered in Databricks"):
        target.check(NAME, replace(deployables[1], databricks=None))
    with pytest.raises(DeploymentError, match="instance_type 'Huge'"):
        ModelServing(instance_type="Huge")
    assert {one.method for one in databricks.requests} <= {"GET"}


def test_slow_answers_bad_rows_and_missing_endpoints(serving, target, up, rows):
    with pytest.raises(DeploymentError, match="does not exist"):
        target.score(NAME, rows)
    up(1)
    for body in ({"dataframe_split": {"columns": ["age"], "data": [[1.0]]}}, {}):
        with pytest.raises(DeploymentError, match="The model refused the rows: ") as caught:
            target.score(NAME, body)
        assert_one_line(caught.value)
    serving.delay = 1
    with pytest.raises(DeploymentError, match=r"did not answer within 0.2 s: send fewer rows at once"):
        ModelServing(request_timeout=0.2).connect(None).score(NAME, rows)


def test_not_signed_in(databricks, target, monkeypatch):
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(WorkspaceError, match="Not signed in to a Databricks workspace"):
        target.find(NAME)


def test_token_is_shown_nowhere(target, up, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    said = up(1)
    shown = "".join([*said, repr(target.find(NAME)), target.logs(NAME, "v1", 1000), caplog.text, *capfd.readouterr()])
    assert TOKEN not in shown


def replaced_signature(model, signature):
    from mlflow.models import Model

    other = Model.from_dict(model.to_dict())
    other.signature = signature
    return other


def wait_settled(target):
    for _ in Deadline.after(10).polls(0.05):
        if [one.name for one in target.find(NAME).deployments] == ["v1"]:
            return


def assert_one_line(error):
    assert len(str(error).splitlines()) == 1
    assert "Traceback" not in str(error)
