"""Online endpoints on a Kubernetes cluster that is attached to the Azure ML workspace."""

import pytest

from adbazureml.deployment.targets import Kubernetes
from adbazureml.errors import DeploymentError


@pytest.fixture
def cluster(azure):
    azure.assets.computes.update(aks="Kubernetes", cpu="AmlCompute")
    return "aks"


def test_a_model_on_a_cluster(azure, connect, cluster, models, payload, rows, waits):
    target = connect(Kubernetes, compute=cluster)
    target.check("on-aks", models["1"])
    target.create("on-aks", "m-1", models["1"], **waits)
    try:
        endpoint = azure.online.endpoints["on-aks"]
        assert endpoint.properties["compute"] == f"{azure.workspace.scope}/computes/aks"
        made = endpoint.deployments["m-1"].properties
        assert (made["endpointComputeType"], made.get("instanceType")) == ("Kubernetes", None)
        target.shift("on-aks", {"m-1": 100}, **waits)
        assert target.score("on-aks", payload) == pytest.approx(list(rows["age"] * 2))
        state = target.find("on-aks")
        assert (state.kind, state.traffic) == ("aks", {"m-1": 100})
        assert [one.name for one in target.list()] == ["on-aks"]
        assert "on-aks" not in [one.name for one in connect().list()]
    finally:
        target.delete("on-aks")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compute": ""}, "compute is empty: give the name of the Kubernetes cluster"),
        ({"compute": "nowhere"}, "compute 'nowhere': the workspace has no Kubernetes cluster of that name"),
        ({"compute": "cpu"}, "but one of type 'amlcompute'"),
        ({"compute": "aks", "auth": "aad"}, "auth 'aad': expected one of 'key', 'token'"),
        ({"compute": "aks", "request_timeout": 301}, "allows up to 300 s"),
    ],
)
@pytest.mark.usefixtures("cluster")
def test_refused_before_anything_is_made(azure, connect, models, options, said):
    with pytest.raises(DeploymentError, match=said):
        connect(Kubernetes, **options).check("on-aks", models["1"])
    assert [request for request in azure.requests if request.method != "GET"] == []
