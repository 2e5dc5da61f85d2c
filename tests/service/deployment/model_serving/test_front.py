"""The front's roll-out on Databricks Model Serving."""

import pytest

from adbazureml.deployment import ModelServing, deploy
from adbazureml.errors import DeploymentError
from adbazureml.registry import RegisteredVersion

from ..conftest import NAME
from .conftest import MODEL


@pytest.fixture
def registered(store, deployables):
    """What `register` returns for a version."""

    def version(number):
        return RegisteredVersion(
            name=MODEL,
            azureml_name="lines",
            databricks=f"{number}",
            azureml=None,
            uri=deployables[number].uri,
            run_id="",
            created=True,
            links=(),
        )

    return version


@pytest.mark.full
def test_deploy_next_by_steps_fail_back_and_delete(serving, registered, frame):
    def bring(number, **options):
        target = ModelServing(poll=0.05, environment={"A_SETTING": "on"})
        return deploy(registered(number), name=NAME, target=target, timeout=300, **options)

    first = bring(1)
    (entity,) = serving.endpoints[NAME].config["served_entities"]
    assert entity["environment_vars"]["A_SETTING"] == "on"
    assert first.compare(frame, calls=1).largest_difference == 0
    second = bring(2, steps=(10, 100))
    assert second.compare(frame, calls=1).largest_difference == 0
    with pytest.raises(DeploymentError, match=r"(?s)exited unexpectedly.* goes on serving.*another planet"):
        bring(3)
    assert len(serving.endpoints[NAME].config["served_entities"]) == 2
    second.rollback()
    assert first.compare(frame, calls=1).largest_difference == 0
    first.delete(confirm=NAME)
    assert serving.endpoints == {}
