"""What goes wrong on the way to a container group, and what is left then."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import requests

from adbazureml import AzureMLWorkspace
from adbazureml.deployment.rollout import RollOut, go_back
from adbazureml.deployment.target import Deadline
from adbazureml.deployment.targets import ContainerInstances
from adbazureml.errors import DeploymentError

from ..conftest import NAME


def test_build_that_fails_says_why_and_nothing_is_made(azure, target, up):
    azure.registry.forget_builds()
    azure.registry.broken = "nowhere"
    with pytest.raises(DeploymentError, match=r"ended as Failed \(run c\d+\)\.\nThe end of the log") as caught:
        up(1)
    assert "unable to evaluate symlinks in Dockerfile path" in str(caught.value)
    assert azure.groups.groups == {}


def test_image_deleted_from_the_registry_is_built_again(azure, target, deployables, up, rows, predicted):
    up(1)
    target.delete(NAME)
    azure.registry.images.clear()
    builds = len(azure.registry.runs)
    up(1)
    assert len(azure.registry.runs) == builds + 1
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_container_that_crashes_leaves_the_old_version(azure, target, up, rows, predicted):
    up(1)
    with pytest.raises(DeploymentError, match=r"'v3' does not come up: .*ended \d times, .* exit code 3") as caught:
        up(3)
    assert "weights are from another planet" in str(caught.value)
    assert target.find(NAME).deployment("v3").state == "failed"
    target.remove(NAME, "v3")
    assert [(one.name, one.traffic) for one in target.find(NAME).deployments] == [("v1", 100)]
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_group_that_never_gets_healthy(azure, target, up, rows, predicted):
    up(1)
    up(2, shift=False)
    target.remove(NAME, "v2")
    azure.groups.silent.add("v2")
    with pytest.raises(DeploymentError, match=r"'v2' is not healthy after 3 s; raise timeout\.\nThe end of the log"):
        up(2, timeout=3)
    azure.groups.silent.clear()
    # Gone on with: the group that came up meanwhile is taken.
    up(2)
    assert np.allclose(target.score(NAME, rows), predicted(2))


def test_update_in_place_that_fails_is_put_back(azure, target, up, rows, predicted):
    up(1)
    up(2, shift=False)
    azure.groups.silent.add(f"{NAME}/v2")
    with pytest.raises(DeploymentError, match=r"'v2' is not healthy after 1\.5 s.* Deployment 'v1' was put back\."):
        target.shift(NAME, {"v2": 100}, progress=print, deadline=Deadline.after(1.5))
    assert target.find(NAME).traffic == {"v1": 100}
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_other_size_is_made_anew_under_the_same_name(azure, target, connect, deployables, up, rows, predicted):
    up(1)
    url = target.find(NAME).url
    larger = connect(instance_type="2x4")
    deadline = Deadline.after(120)
    larger.create(NAME, "v2", deployables[2], progress=print, deadline=deadline)
    larger.shift(NAME, {"v2": 100}, progress=print, deadline=deadline)
    assert larger.find(NAME).url == url
    assert azure.groups.groups[NAME].cores == 2
    assert np.allclose(larger.score(NAME, rows), predicted(2))


def test_quota_is_told_before_anything_is_created(azure, target, deployables, up):
    azure.groups.quota = 1
    with pytest.raises(DeploymentError, match=r"westeurope has 1 cores left in the quota, and 2 are needed"):
        target.check(NAME, deployables[1])
    # An identity that may not read the quota learns of it from the refusal.
    with pytest.raises(DeploymentError, match=r"quota 'StandardCores' exceeded.*have the quota raised"):
        up(1)
    assert [group for group in azure.groups.groups if group == NAME] == []
    azure.groups.reset()
    azure.groups.unavailable = True
    with pytest.raises(DeploymentError, match=r"not available in the location.*smaller instance_type"):
        up(1)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"instance_type": "Standard_DS3_v2"}, "instance_type 'Standard_DS3_v2': for target 'aci' give <cores>x<GB>"),
        ({"registry": "missing"}, "registry 'missing': .*was not found.*check its name"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_created(azure, connect, deployables, setting, expected):
    with pytest.raises(DeploymentError, match=expected):
        connect(**setting).check(NAME, deployables[1])
    assert {one.method for one in azure.requests if one.host in ("groups", "registry")} <= {"GET"}


def test_names_that_are_taken(azure, target, deployables, up):
    with pytest.raises(DeploymentError, match="have no '--' in their names"):
        target.check("a--b", deployables[1])
    up(1)
    label = azure.groups.groups[NAME].label
    azure.groups.groups[NAME].asked["tags"] = {}
    with pytest.raises(DeploymentError, match=r"has a container group of that name that was not made by adbazureml"):
        target.check(NAME, deployables[1])
    azure.groups.reset()
    azure.groups.labels_taken.add(label)
    with pytest.raises(DeploymentError, match=r"not available.*choose another name"):
        up(1)


def test_what_the_identity_may_not_do(azure, target, deployables, up):
    azure.groups.forbidden = True
    with pytest.raises(DeploymentError, match="role 'Contributor'") as caught:
        up(1)
    assert len(str(caught.value).splitlines()) == 1
    azure.groups.forbidden = False
    azure.registry.admin = False
    with pytest.raises(DeploymentError, match=r"admin user is disabled.*az acr update --name mlregistry"):
        target.check(NAME, deployables[1])
    azure.registry.admin = True
    azure.registry.tasks_allowed = False
    azure.registry.forget_builds()
    with pytest.raises(DeploymentError, match="may not build images"):
        up(1)


def test_too_many_requests_outages_and_cut_uploads_are_tried_again(azure, target, up, rows, predicted):
    azure.registry.forget_builds()
    azure.fail_next(1, "containerGroups", status=429, retry_after=1)
    azure.fail_next(1, "registries", status=503, retry_after=1)
    azure.drop_next(1, "/runs/")
    up(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_slow_answer(azure, connect, up, rows):
    up(1)
    azure.delay = 1.0
    with pytest.raises(DeploymentError, match=r"did not answer within 0.2 s: send fewer rows at once"):
        connect(request_timeout=0.2).score(NAME, rows)


def test_missing_deployments_are_told(target, up, rows):
    with pytest.raises(DeploymentError, match="endpoint 'lines' does not exist: deploy it first"):
        target.score(NAME, rows)
    up(1)
    for ask in (
        lambda: target.score(NAME, rows, deployment="v9"),
        lambda: target.shift(NAME, {"v9": 100}, progress=print, deadline=Deadline.after(5)),
    ):
        with pytest.raises(DeploymentError, match="'v9' of endpoint 'lines' does not exist: deploy it first"):
            ask()
    assert target.logs(NAME, "v9", 10) == ""


def test_two_deployments_at_once_end_with_one_of_them(azure, target, connect, deployables, rows, predicted, up):
    up(1)
    for number in (1, 2):
        assert deployables[number].folder  # MLflow opens a SQLite store from one thread at a time only
    azure.groups.seconds = 0.2
    outcomes = {}

    def bring(number):
        place, deadline = connect(), Deadline.after(120)
        try:
            place.create(NAME, f"n{number}", deployables[number], progress=lambda _: None, deadline=deadline)
            place.shift(NAME, {f"n{number}": 100}, progress=lambda _: None, deadline=deadline)
            outcomes[number] = "serves"
        except DeploymentError as error:
            outcomes[number] = str(error)

    both = [threading.Thread(target=bring, args=(number,)) for number in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert "serves" in outcomes.values()
    assert all(said == "serves" or "changed or deleted by somebody else" in said for said in outcomes.values())
    [serving] = target.find(NAME).traffic
    assert np.allclose(target.score(NAME, rows), predicted(int(serving[1:])))


def test_left_while_the_image_is_built_and_run_again(azure, target, deployables, up, rows, predicted):
    azure.registry.forget_builds()
    azure.registry.hanging.clear()
    builds = len(azure.registry.runs)

    def die(_):
        if len(azure.registry.runs) > builds:
            raise KilledError

    with pytest.raises(KilledError):
        target.create(NAME, "v1", deployables[1], progress=die, deadline=Deadline.after(120))
    azure.registry.hanging.set()
    up(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert list(azure.groups.groups) == [NAME]


@pytest.mark.full
def test_killed_half_way_and_run_again(azure, target, up, rolling_out, rows, predicted):
    azure.registry.forget_builds()
    azure.registry.hanging.clear()
    builds = len(azure.registry.runs)
    child = rolling_out(1)
    wait_for(lambda: len(azure.registry.runs) > builds, child)
    child.kill()
    child.wait()
    azure.registry.hanging.set()
    up(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert list(azure.groups.groups) == [NAME]


@pytest.mark.full
def test_killed_while_the_group_is_updated_and_run_again(azure, target, up, roll_out, rolling_out, rows, predicted):
    up(1)
    azure.groups.silent.add(f"{NAME}/v2")
    child = rolling_out(2)
    wait_for(lambda: "v2" in azure.groups.groups[NAME].spoken_of, child)
    child.kill()
    child.wait()
    # It comes up without anybody waiting for it, and what came up beside it costs nothing any more.
    azure.groups.silent.clear()
    wait_for(lambda: requests.get(target.find(NAME).url.removesuffix("score"), timeout=1).ok)
    assert_taken_over(azure, target, roll_out, rows, predicted)


class KilledError(BaseException):
    pass


@pytest.fixture
def left_in_update(azure, target, up):
    """The first version serves, and whoever let its group run the second is gone; it does not answer yet."""

    def die(said):
        if said.startswith("starting container group"):
            raise KilledError

    up(1)
    up(2, shift=False)
    azure.groups.silent.add(f"{NAME}/v2")
    # Nothing is put back for this kind of error, and all that is known of the roll-out is in Azure.
    with pytest.raises(KilledError):
        target.shift(NAME, {"v2": 100}, progress=die, deadline=Deadline.after(120))
    assert {one.name: (one.state, one.traffic) for one in target.find(NAME).deployments} == {
        "v1": ("creating", 100),
        "v2": ("healthy", 0),
    }


def test_left_while_the_group_is_updated_and_run_again(azure, target, roll_out, left_in_update, rows, predicted):
    threading.Timer(2, azure.groups.silent.clear).start()
    assert_taken_over(azure, target, roll_out, rows, predicted)


def assert_taken_over(azure, target, roll_out, rows, predicted):
    builds = len(azure.registry.runs)
    roll_out(2)
    assert len(azure.registry.runs) == builds
    assert np.allclose(target.score(NAME, rows), predicted(2))
    assert {one.name: (one.state, one.traffic) for one in target.find(NAME).deployments} == {
        "v1": ("stopped", 0),
        "v2": ("healthy", 100),
    }
    assert list(azure.groups.groups) == [NAME]


def test_left_while_the_group_is_updated_and_the_old_version_is_put_back(
    azure, target, roll_out, left_in_update, rows, predicted
):
    with pytest.raises(DeploymentError, match=r"'v2' is not healthy after 3 s.*'v1' \(100 %\) goes on serving"):
        roll_out(2, timeout=3)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert [(one.name, one.traffic) for one in target.find(NAME).deployments] == [("v1", 100)]
    assert list(azure.groups.groups) == [NAME]


def test_left_while_the_group_is_updated_and_rolled_back(azure, target, left_in_update, rows, predicted):
    assert go_back(target, NAME, progress=print, deadline=Deadline.after(120)).name == "v1"
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert {one.name: (one.state, one.traffic) for one in target.find(NAME).deployments} == {
        "v1": ("healthy", 100),
        "v2": ("stopped", 0),
    }
    assert list(azure.groups.groups) == [NAME]


def test_a_group_that_was_deleted_is_made_again(azure, target, up, roll_out, rows, predicted):
    up(1)
    del azure.groups.groups[NAME]
    roll_out(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))


def test_a_group_that_was_stopped_is_started_again(azure, target, up, roll_out, rows, predicted):
    up(1)
    azure.groups.stop(NAME)
    [stopped] = target.find(NAME).deployments
    assert stopped.state == "stopped"
    roll_out(1)
    assert np.allclose(target.score(NAME, rows), predicted(1))
    assert list(azure.groups.groups) == [NAME]


def test_after_the_registrys_password_was_renewed_deploying_again_gives_the_new_key(
    azure, connect, up, roll_out, rows, predicted, monkeypatch
):
    up(1)
    monkeypatch.setattr(azure.registry, "passwords", ["another", "one"])
    renewed = connect()
    [deployment] = renewed.find(NAME).deployments
    assert (deployment.state, "deploy again" in deployment.note) == ("failed", True)
    roll_out(1, on=renewed)
    assert np.allclose(renewed.score(NAME, rows), predicted(1))
    [deployment] = renewed.find(NAME).deployments
    assert (deployment.state, deployment.traffic) == ("healthy", 100)


@pytest.fixture
def roll_out(target, deployables):
    """Roll a version out as the front does."""

    def run(number, *, on=target, timeout=120):
        deadline = Deadline.after(timeout)
        RollOut(
            target=on, name=NAME, deployment=f"v{number}", model=deployables[number], progress=print, deadline=deadline
        ).run((100,))

    return run


@pytest.fixture
def rolling_out(azure, store):
    """Start a process that rolls a version out; it does not outlast the test."""
    children = []

    def start(number):
        names = azure.workspace_name, azure.subscription_id, azure.resource_group
        uri = {1: store.v1, 2: store.v2}[number]
        code = _ROLLING_OUT.format(names=names, store=store, uri=uri, number=number)
        children.append(subprocess.Popen([sys.executable, "-c", code]))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


_ROLLING_OUT = """
import mlflow
from mlflow.models import Model
from adbazureml import AzureMLWorkspace
from adbazureml.deployment import ContainerInstances
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.rollout import RollOut
from adbazureml.deployment.target import Deadline

name, subscription_id, resource_group = {names}
workspace = AzureMLWorkspace.get(name=name, subscription_id=subscription_id, resource_group=resource_group)
mlflow.set_tracking_uri("{store.uri}")
model = Deployable(uri="{uri}", model=Model.load("{uri}"))
target = ContainerInstances(poll=0.05).connect(workspace)
deadline = Deadline.after(600)
RollOut(target=target, name="lines", deployment="v{number}", model=model, progress=print, deadline=deadline).run((100,))
"""


def wait_for(condition, child=None, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert child is None or child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_unreachable_workspace_is_told(azure):
    local_backend = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    with pytest.raises(DeploymentError, match="'aci' needs an Azure ML workspace, not the local backend: deploy"):
        ContainerInstances().connect(local_backend)
