"""What MLflow's deployment client takes as its `config`."""

import pytest

from adbazureml.deployment.targets.managed_online.configuration import (
    DEPLOYMENT_FILE,
    deployment_of,
    endpoint_of,
    read_fields,
)
from adbazureml.errors import DeploymentError


def test_fields_of_a_file_and_beside_it(tmp_path):
    file = tmp_path / "deployment.yml"
    file.write_text("instance_type: Standard_F4s_v2\ninstance_count: 2\n")
    fields = read_fields({DEPLOYMENT_FILE: str(file), "instance_count": "3"}, DEPLOYMENT_FILE)
    made = deployment_of(fields, name="one", endpoint="lines")
    assert (made.instance_type, made.instance_count) == ("Standard_F4s_v2", 3)


def test_without_any_there_are_defaults():
    made = deployment_of(read_fields(None, DEPLOYMENT_FILE), name="one", endpoint="lines")
    assert (made.name, made.endpoint_name, made.instance_type, made.instance_count) == (
        "one", "lines", "Standard_DS3_v2", 1,
    )  # fmt: skip
    assert endpoint_of({}, name="lines").auth_mode == "key"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"computeType": "ACI"}, r"computeType 'ACI': .* has ended"),
        ({"type": "kubernetes"}, "type 'kubernetes': .*target=Kubernetes"),
        ({"async": True}, "async: a deployment is waited for"),
        ({"model": "a", "environment": "b"}, "^model, environment: the call gives"),
        ({DEPLOYMENT_FILE: "missing.yml"}, "deploy-config-file 'missing.yml' can't be read"),
    ],
)
def test_what_cannot_be_chosen_is_refused(config, said):
    with pytest.raises(DeploymentError, match=said):
        read_fields(config, DEPLOYMENT_FILE)


def test_a_file_without_fields_is_refused(tmp_path):
    (tmp_path / "list.yml").write_text("- a\n")
    with pytest.raises(DeploymentError, match="holds no fields"):
        read_fields({DEPLOYMENT_FILE: str(tmp_path / "list.yml")}, DEPLOYMENT_FILE)
    with pytest.raises(DeploymentError, match=r'config is refused by azure-ai-ml: .*"nonsense": \[ "Unknown field."'):
        deployment_of({"nonsense": 1}, name="one", endpoint="lines")
