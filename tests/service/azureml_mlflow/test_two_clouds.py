"""Workspaces of two Azure clouds in one process."""

import os
from pathlib import Path

import mlflow
import pytest
from tests.emulators.azureml import AzureMLEmulator

from adbazureml import AzureMLWorkspace
from adbazureml.workspaces.probe import probe_service


@pytest.fixture
def other(azure):
    """A second cloud, which the first one's list of clouds names too."""
    with AzureMLEmulator() as emulator:
        azure.describe_too(emulator)
        yield emulator
    assert emulator.crashes == []


def found(emulator):
    return AzureMLWorkspace.get(
        name=emulator.workspace_name,
        subscription_id=emulator.subscription_id,
        resource_group=emulator.resource_group,
        cloud=emulator.cloud,
    )


def test_each_is_signed_in_to_by_its_own_cloud(azure, other, tmp_path):
    before = {name: value for name, value in os.environ.items() if name.startswith("AZURE")}
    # The one that no variable names is found last, and used first.
    for emulator, workspace in reversed([(one, found(one)) for one in (azure, other)]):
        mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
        mlflow.set_experiment("prices")
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1.5)
            mlflow.log_text("hello", "greeting.txt")
        assert workspace.client().get_run(run.info.run_id).data.metrics == {"loss": 1.5}
        path = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/greeting.txt", dst_path=str(tmp_path))
        assert Path(path).read_text() == "hello"
        assert workspace.cloud.name == emulator.cloud
        assert probe_service(workspace)
    after = {name: value for name, value in os.environ.items() if name.startswith("AZURE")}
    assert after == before, "nothing is set for the whole process"


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("westeurope.api.azureml.ms", "AzureCloud"),
        ("usgovvirginia.api.ml.azure.us", "AzureUSGovernment"),
        ("chinaeast2.api.ml.azure.cn", "AzureChinaCloud"),
    ],
)
def test_a_uri_tells_the_cloud_by_its_host(host, cloud, azure):
    scope = azure.workspace.scope
    workspace = AzureMLWorkspace.from_uri(f"azureml://{host}/mlflow/v2.0{scope}")
    assert workspace.cloud.name == cloud
    assert workspace.url.startswith(workspace.cloud.studio)
