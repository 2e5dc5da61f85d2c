"""A target's options: each class knows its own, refuses wrong values at once, and is made of the settings."""

from dataclasses import FrozenInstanceError
from functools import partial
from typing import get_args

import pytest

import adbazureml
from adbazureml import ContainerInstances, Kubernetes, Local, ManagedOnline, ModelServing, Settings, target_of
from adbazureml.deployment.targets import TARGETS, options_of
from adbazureml.errors import DeploymentError
from adbazureml.settings import DeployTarget

CLASSES = [Local, ManagedOnline, Kubernetes, ContainerInstances, ModelServing]


def test_each_target_is_entered_once_and_can_be_chosen_in_a_notebook():
    assert tuple(TARGETS) == get_args(DeployTarget)
    assert [type(options) for options in TARGETS.values()] == CLASSES
    assert {options.__name__ for options in CLASSES} < set(adbazureml.__all__)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("local", Local()),
        ("azureml", ManagedOnline(instance_type="Standard_DS3_v2", auth="key")),
        ("aci", ContainerInstances(instance_type="1x2")),
        ("databricks", ModelServing(instance_type="Small")),
    ],
)
def test_a_short_name_stands_for_the_defaults(kind, options):
    assert options_of(kind) == options
    assert options_of(options) is options


@pytest.mark.parametrize("target", [Local, ManagedOnline, partial(Kubernetes, compute="a"), ModelServing])
def test_variables_of_the_model_make_another_deployment_and_are_not_shown(target):
    given = target(environment={"NAME": "hidden"})
    assert given.as_deployed() != target().as_deployed()
    assert given.as_deployed() != target(environment={"NAME": "other"}).as_deployed()
    assert "hidden" not in repr(given)
    with pytest.raises(DeploymentError, match="environment, 'NAME': give names and texts"):
        target(environment={"NAME": 1})


@pytest.mark.parametrize("options", TARGETS.values(), ids=TARGETS)
def test_options_are_frozen(options):
    with pytest.raises(FrozenInstanceError):
        options.request_timeout = 1


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, Local()),
        ({"endpoint_port": 8080, "keep_endpoint": True}, Local(port=8080, keep=True)),
        ({"deploy_target": "azureml"}, ManagedOnline()),
        (
            {"deploy_target": "azureml", "instance_type": "Large"},
            ManagedOnline(instance_type="Large"),
        ),
        ({"deploy_target": "aks", "compute": "cluster"}, Kubernetes(compute="cluster")),
        (
            {"deploy_target": "aci", "instance_type": "2x4", "container_registry": "images"},
            ContainerInstances(instance_type="2x4", registry="images"),
        ),
        ({"deploy_target": "databricks", "instance_type": "Large"}, ModelServing(instance_type="Large")),
        ({"deploy_target": "databricks", "compute": "cluster", "endpoint_port": 8080}, ModelServing()),
    ],
)
def test_a_notebooks_settings_give_the_options_that_its_target_knows(given, options):
    assert target_of(Settings(**given)) == options


@pytest.mark.parametrize(
    ("options", "wrong", "said"),
    [
        (Local, {"port": 70000}, "port 70000: out of range: .*Local(port=8080)"),
        (
            ManagedOnline,
            {"instance_type": ""},
            "instance_type is empty: .*ManagedOnline(instance_type='Standard_DS3_v2')",
        ),
        (ManagedOnline, {"auth": "none"}, "auth 'none': expected one of 'key', 'token', 'aad', .*(auth='key')"),
        (ManagedOnline, {"instance_count": 0}, "instance_count 0: expected 1 or more, .*(instance_count=1)"),
        (ManagedOnline, {"request_timeout": 181}, "request_timeout 181: .* up to 180 s, .*(request_timeout=60)"),
        (Kubernetes, {"compute": "a", "auth": "aad"}, "auth 'aad': expected one of 'key', 'token', .*Kubernetes(auth="),
        (Kubernetes, {"compute": "a", "request_timeout": 301}, "request_timeout 301: .* up to 300 s"),
        (
            ContainerInstances,
            {"instance_type": "0x2"},
            "instance_type '0x2': .*ContainerInstances(instance_type='2x4')",
        ),
        (ModelServing, {"instance_type": "Huge"}, "instance_type 'Huge': .*'Small', 'Medium', 'Large', such as"),
        *((options, {"request_timeout": 0}, "request_timeout 0: expected seconds") for options in CLASSES[:2]),
    ],
)
def test_a_wrong_value_is_refused_as_it_is_written_by_its_name_and_with_an_example(options, wrong, said):
    with pytest.raises(DeploymentError, match=said.replace("(", r"\(").replace(")", r"\)")):
        options(**wrong)


@pytest.mark.parametrize(
    ("options", "foreign"),
    [
        (Local, {"instance_type": "Standard_DS3_v2"}),
        (ManagedOnline, {"port": 8080}),
        (ContainerInstances, {"auth": "aad"}),
        (ModelServing, {"collect": True}),
        (Kubernetes, {}),
    ],
)
def test_options_of_another_target_cannot_be_written_nor_a_cluster_without_its_name(options, foreign):
    with pytest.raises(TypeError, match=next(iter(foreign), "compute")):
        options(**foreign)


def test_what_is_no_target():
    with pytest.raises(DeploymentError, match="target 'mars' is not known: set it to one of 'local', 'azureml'"):
        options_of("mars")
