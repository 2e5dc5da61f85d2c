"""The front's roll-out on container groups."""

import pytest

from adbazureml.deployment import ContainerInstances, deploy, endpoints, find_endpoint
from adbazureml.errors import DeploymentError

from ..conftest import NAME


def test_deploy_next_lie_back_and_delete(azure, workspace, store, frame):
    def bring(uri):
        return deploy(uri, name=NAME, target=ContainerInstances(poll=0.05), workspace=workspace, timeout=120)

    first = bring(store.v1)
    assert first.compare(frame, calls=1).largest_difference == 0
    second = bring(store.v2)
    assert second.model_uri == store.v2
    assert second.compare(frame, calls=1).largest_difference == 0
    differs = (
        r"does not answer as models:/deploy_lines/4 does.*1 of 1 rows differ, first row 0: endpoint 2.0, model 1.0"
    )
    with pytest.raises(DeploymentError, match=differs) as caught:
        bring(store.liar)
    assert "(100 %) goes on serving." in str(caught.value)
    assert second.model_uri == store.v2
    assert list(azure.groups.groups) == [NAME]
    second.rollback()
    assert find_endpoint(NAME, target="aci", workspace=workspace).model_uri == store.v1
    assert [one.name for one in endpoints(target="aci", workspace=workspace)] == [NAME]
    first.delete(confirm=NAME)
    assert azure.groups.groups == {}
