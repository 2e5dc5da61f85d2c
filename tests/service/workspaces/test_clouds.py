import pytest

from adbazureml.azure.clouds import current_cloud
from adbazureml.errors import WorkspaceError


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("name", "resource_manager", "authority", "studio"),
    [
        ("", "https://management.azure.com", "https://login.microsoftonline.com", "https://ml.azure.com"),
        ("AzureCloud", "https://management.azure.com", "https://login.microsoftonline.com", "https://ml.azure.com"),
        (
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "https://ml.azure.us",
        ),
        (
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "https://studio.ml.azure.cn",
        ),
    ],
)
def test_known_clouds(name, resource_manager, authority, studio, monkeypatch):
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", name)
    cloud = current_cloud()
    assert (cloud.resource_manager, cloud.active_directory, cloud.studio) == (resource_manager, authority, studio)
    assert cloud.scope == f"{resource_manager}/.default"


def test_addresses_are_those_that_azureml_mlflow_uses(nobody):
    from azureml.mlflow._common._cloud.cloud import HARD_CODED_CLOUD_LIST

    for theirs in HARD_CODED_CLOUD_LIST:
        if theirs.name == "AzureGermanCloud":
            continue  # closed in 2021
        ours = current_cloud(theirs.name)
        assert ours.scope == theirs._get_default_scope()
        assert ours.active_directory.removeprefix("https://") == theirs._get_authority()
        assert ours.storage_suffix == theirs._get_storage_endpoint()
        assert ours.portal == theirs.endpoints.portal


def test_the_name_given_wins_over_the_environment(nobody, monkeypatch):
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureChinaCloud")
    assert current_cloud("AzureUSGovernment").name == "AzureUSGovernment"


def test_an_unknown_cloud_names_the_known_ones(nobody):
    with pytest.raises(WorkspaceError, match="cloud 'AzureMoonCloud': there is no such Azure cloud; known are Azure"):
        current_cloud("AzureMoonCloud")


def test_a_described_cloud(cloud, monkeypatch):
    described = current_cloud()
    assert (described.name, described.resource_manager) == (cloud.cloud, cloud.url)
    assert (described.active_directory, described.storage_suffix) == (cloud.url, "core.azureml.test")
    assert described.studio == "https://ml.azureml.test"
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
    assert current_cloud() == described, "there is but one"
    assert current_cloud("AzureChinaCloud").studio == "https://studio.ml.azure.cn", "the others are there too"


def test_a_description_that_is_none_names_its_variable(cloud, monkeypatch):
    monkeypatch.setenv("ARM_CLOUD_METADATA_URL", f"{cloud.url}/elsewhere")
    with pytest.raises(WorkspaceError, match=r"ARM_CLOUD_METADATA_URL 'https://.*/elsewhere' does not describe any"):
        current_cloud()
