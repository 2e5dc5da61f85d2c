"""What goes wrong on the way to a managed online endpoint, and what comes of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from adbazureml.deployment.target import Deadline
from adbazureml.deployment.targets.managed_online import scoring_client
from adbazureml.errors import DeploymentError
from adbazureml.workspaces import ml_client


def puts(azure, path="/deployments/"):
    return azure.requests_to(path, method="PUT")


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits long for an answer, and not often."""
    monkeypatch.setattr(ml_client, "READ_SECONDS", 1.0)
    monkeypatch.setattr(ml_client, "RETRIES", 1)
    monkeypatch.setattr(scoring_client, "FIRST_PAUSE", 0.05)


@pytest.fixture
def endpoint(azure, target):
    """Name of an endpoint of one test's own, deleted afterwards."""
    yield "faulty"
    azure.clear_faults()
    azure.online.forbidden = False
    target.delete("faulty")


def test_quota_exceeded(azure, target, models, endpoint, waits):
    azure.online.quota = 4
    with pytest.raises(DeploymentError) as refused:
        target.create(endpoint, "m-1", models["1"], **waits)
    said = str(refused.value)
    assert said.startswith("instance_type and instance_count (1 x Standard_DS3_v2): deployment 'm-1'")
    assert "needs 5 more cores of Standard_DS3_v2" in said
    assert "smaller instance_type" in said
    assert target.find(endpoint).deployments == ()


def test_the_image_cannot_be_built(azure, target, models, endpoint, waits):
    azure.online.build_error = "Pip subprocess error: ERROR: No matching distribution found for nothing==1"
    with pytest.raises(
        DeploymentError, match=r"^The image of deployment 'm-1' .* could not be built: Pip .*nothing==1"
    ):
        target.create(endpoint, "m-1", models["1"], **waits)
    (failed,) = target.find(endpoint).deployments
    assert failed.state == "failed"


def test_a_container_that_crashes(target, models, endpoint, waits):
    with pytest.raises(DeploymentError, match="did not get healthy: User container has crashed") as failed:
        target.create(endpoint, "m-1", models["3"], **waits)
    sentence, title, *log = str(failed.value).splitlines()
    assert "aka.ms" not in sentence
    assert title == "The end of the deployment's log:"
    assert "sklearn" in "\n".join(log)


def test_a_container_that_never_gets_healthy_is_made_anew_by_the_next_call(azure, target, models, endpoint, waits):
    azure.online.healthy_within = 0
    with pytest.raises(DeploymentError, match=r"did not get healthy: .*Liveness probe failed"):
        target.create(endpoint, "m-1", models["1"], **waits)
    azure.online.healthy_within = 310
    azure.requests.clear()
    target.create(endpoint, "m-1", models["1"], **waits)
    assert target.find(endpoint).deployment("m-1").state == "healthy"
    assert len(azure.requests_to("/deployments/", method="DELETE")) == len(puts(azure)) == 1


def test_time_is_up(azure, target, models, endpoint):
    azure.online.operations.hanging.clear()
    try:
        with pytest.raises(
            DeploymentError, match=r"^creating endpoint faulty: not finished after 0.5 s; raise timeout"
        ):
            target.create(endpoint, "m-1", models["1"], progress=lambda _: None, deadline=Deadline.after(0.5))
    finally:
        azure.online.operations.hanging.set()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_azure_stumbles(azure, connect, models, endpoint, waits, status):
    azure.online.quota = 0
    azure.fail_next(1, "/onlineEndpoints/faulty$", method="PUT", status=status)
    azure.fail_next(1, "/mfeOperationsStatus/", status=status)
    with pytest.raises(DeploymentError, match="quota"):
        connect().create(endpoint, "m-1", models["1"], **waits)
    assert len(puts(azure, "/onlineEndpoints/faulty$")) == 2
    assert azure.online.endpoints[endpoint].state == "Succeeded"


@pytest.mark.usefixtures("impatient")
def test_azure_does_not_answer(azure, connect, models, endpoint, waits):
    began = time.monotonic()
    azure.hang_next(9, "/onlineEndpoints/faulty", 30)
    with pytest.raises(DeploymentError, match=r"^Azure did not answer for endpoint 'faulty': .*Deploy again"):
        connect().create(endpoint, "m-1", models["1"], **waits)
    assert time.monotonic() - began < 25
    azure.clear_faults()
    azure.fail_next(99, "/onlineEndpoints", status=503)
    with pytest.raises(DeploymentError, match=r"^Azure did not answer for the endpoints of the workspace"):
        connect().list()


def test_an_operation_goes_on_while_azure_does_not_tell_how(azure, connect, served, monkeypatch, waits):
    monkeypatch.setattr(ml_client, "RETRIES", 0)
    target = connect()
    azure.fail_next(2, "/mfeOperationsStatus/", status=503)
    target.shift(served, {"m-1": 100}, **waits)
    assert target.find(served).traffic == {"m-1": 100}


def test_without_permission(azure, target, models, endpoint, waits):
    azure.online.forbidden = True
    with pytest.raises(DeploymentError, match="AzureML Data Scientist") as refused:
        target.create(endpoint, "m-1", models["1"], **waits)
    assert "service principal" in str(refused.value)
    assert azure.identity.client_secret not in str(refused.value)


def test_a_name_that_another_workspace_has(azure, target, models, waits):
    azure.online.taken.add("elsewhere")
    with pytest.raises(DeploymentError, match=r"another workspace of region westeurope .*choose another"):
        target.create("elsewhere", "m-1", models["1"], **waits)


def test_code_that_cannot_be_uploaded(azure, target, models, endpoint, waits, monkeypatch):
    # As if nobody had uploaded this script before.
    monkeypatch.setattr(azure.assets, "_versions", {})
    azure.fail_next(99, r"\.blob\..*/score\.py", method="PUT", status=403)
    with pytest.raises(DeploymentError, match="deployment 'm-1'"):
        target.create(endpoint, "m-1", models["1"], **waits)
    assert puts(azure) == []


def test_another_operation_is_waited_for(azure, target, served, waits):
    deployment = azure.online.endpoints[served].deployments["m-1"]
    deployment.state = "Updating"

    def told(text):
        if text.startswith("waiting to shift traffic of lines"):
            deployment.state = "Succeeded"

    target.shift(served, {"m-1": 100}, progress=told, deadline=waits["deadline"])
    assert deployment.state == "Succeeded"
    assert target.find(served).traffic == {"m-1": 100}


def test_two_deploy_the_same_at_once(azure, connect, models, endpoint, waits):
    errors = []
    # The first has not ended when the other one comes.
    azure.online.hanging.clear()

    def listen(text):
        if text.startswith("waiting") and "m-1" in azure.online.endpoints[endpoint].deployments:
            azure.online.hanging.set()

    def deploy():
        try:
            connect().create(endpoint, "m-1", models["1"], progress=listen, deadline=waits["deadline"])
        except Exception as error:
            errors.append(error)

    both = [threading.Thread(target=deploy) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert errors == []
    assert [request.status for request in puts(azure)].count(201) == 1
    assert len({request.status for request in puts(azure)} - {201, 409}) == 0
    assert [one.state for one in connect().find(endpoint).deployments] == ["healthy"]


KILLED = """
import json, sys
from mlflow.models import Model
from adbazureml import AzureMLWorkspace
from adbazureml.deployment import ManagedOnline
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.target import Deadline
names, uri = json.loads(sys.argv[1]), "models:/lines/1"
import mlflow
workspace = AzureMLWorkspace.get(**names)
mlflow.set_tracking_uri(workspace.tracking_uri)
model = Deployable(uri=uri, model=Model.load(uri), azureml=("lines", "1"))
target = ManagedOnline(poll=0.1).connect(workspace)
target.create("faulty", "m-1", model, progress=lambda text: print(text, flush=True), deadline=Deadline.after(150))
"""


@pytest.mark.full
def test_killed_half_way_and_run_again(azure, target, models, endpoint):
    names = {
        "name": azure.workspace_name,
        "subscription_id": azure.subscription_id,
        "resource_group": azure.resource_group,
    }
    azure.online.hanging.clear()
    first = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(names)], stdout=subprocess.PIPE, text=True)
    try:
        assert any("creating deployment m-1" in line for line in first.stdout)
    finally:
        first.kill()
        first.wait()
    told = []

    def listen(text):
        told.append(text)
        if text.startswith("waiting for deployment m-1"):
            azure.online.hanging.set()

    assert target.find(endpoint).deployment("m-1").state == "creating"
    azure.requests.clear()
    target.create(endpoint, "m-1", models["1"], progress=listen, deadline=Deadline.after(300))
    assert target.find(endpoint).deployment("m-1").state == "healthy"
    assert any(text.startswith("waiting for deployment m-1") for text in told)
    assert puts(azure, "/onlineEndpoints/") == []


class TestScoring:
    def test_the_model_takes_too_long(self, azure, target, served, payload):
        deployment = azure.online.endpoints[served].deployments["m-1"]
        settings = deployment.properties["requestSettings"]
        before = settings["requestTimeout"]
        settings["requestTimeout"] = "PT0.2S"
        server = deployment.container._server.process.pid
        os.killpg(server, signal.SIGSTOP)
        try:
            with pytest.raises(DeploymentError, match="did not answer within request_timeout 60 s: send fewer rows"):
                target.score(served, payload, deployment="m-1")
        finally:
            os.killpg(server, signal.SIGCONT)
            settings["requestTimeout"] = before

    def test_the_endpoint_does_not_answer(self, azure, connect, served, payload, monkeypatch):
        monkeypatch.setattr(scoring_client, "_GRACE_SECONDS", 0)
        azure.hang_next(1, "inference/score", 30)
        with pytest.raises(DeploymentError, match="did not answer within request_timeout 1 s"):
            connect(request_timeout=1).score(served, payload, deployment="m-1")

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("status", [429, 503])
    def test_it_is_busy(self, azure, target, served, payload, status):
        azure.fail_next(2, "inference/score", status=status)
        assert len(target.score(served, payload, deployment="m-1")) == 6
        azure.fail_next(9, "inference/score", status=status)
        with pytest.raises(DeploymentError, match=f"does not serve .it answered {status}.*ask again later"):
            target.score(served, payload, deployment="m-1")

    @pytest.mark.usefixtures("impatient")
    def test_the_connection_is_lost(self, azure, target, served, payload):
        azure.drop_next(1, "inference/score")
        assert len(target.score(served, payload, deployment="m-1")) == 6

    def test_a_deployment_that_is_not_there(self, target, served, payload):
        with pytest.raises(DeploymentError, match="No deployment of endpoint 'lines', deployment 'm-9' takes requests"):
            target.score(served, payload, deployment="m-9")
