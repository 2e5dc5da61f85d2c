"""An alias that two registries share, one of which, Azure ML's, has none of its own."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from adbazureml import AzureMLWorkspace, DatabricksWorkspace, find_version, promote, register, rollback, track
from adbazureml.errors import RegistryError
from adbazureml.registry import AzureMLRegistry, alias_holders, new_version

NAME = "main.houses.prices"
IN_AZUREML = "main--houses--prices"


@pytest.fixture
def workspace(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    found = AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )
    track(found)
    mlflow.set_experiment("/Users/ada@example.com/houses")
    yield found
    azure.clear_faults()
    track(mode="databricks")


@pytest.fixture
def make_versions(workspace, log_model):
    """Make so many."""

    def made():
        with mlflow.start_run() as run:
            log_model()
        return register(run, name=NAME, workspace=workspace)

    return lambda number: [made() for _ in range(number)]


def holders(workspace, alias="champion"):
    databricks = DatabricksWorkspace.current().client().get_model_version_by_alias(NAME, alias).version
    return str(databricks), str(workspace.client().get_model_version_by_alias(IN_AZUREML, alias).version)


def test_promoted_in_both_and_back(workspace, make_versions, rows):
    first, second, third = make_versions(3)
    assert find_version("", name=NAME) == f"models:/{NAME}/3"
    assert promote(first, workspace=workspace).before is None
    assert find_version("", name=NAME) == f"models:/{NAME}/1"
    for version in (second, third):
        promoted = promote(version, workspace=workspace)
    assert (promoted.databricks, promoted.azureml, promoted.before) == ("3", third.azureml, "2")
    assert (
        str(promoted)
        == f"champion of {NAME}: version 3 in Databricks and version {third.azureml} in Azure ML, before it 2"
    )
    assert holders(workspace) == ("3", third.azureml)
    again = promote(third, workspace=workspace)
    assert (again.databricks, again.before) == ("3", None)
    assert rollback(NAME, workspace=workspace).databricks == "2"
    assert holders(workspace) == ("2", second.azureml)
    rollback(NAME, workspace=workspace)
    assert holders(workspace) == ("1", first.azureml)
    with pytest.raises(RegistryError, match=r"Version 1 .* is the first that had the alias 'champion'"):
        rollback(NAME, workspace=workspace)


def test_mlflow_s_own_alias_uri_means_it_in_azure_ml_too(workspace, make_versions, rows, model):
    versions = make_versions(2)
    promote(versions[1], workspace=workspace)
    before = mlflow.get_registry_uri()
    mlflow.set_registry_uri(workspace.registry_uri)
    try:
        loaded = mlflow.pyfunc.load_model(f"models:/{IN_AZUREML}@champion")
        found = find_version("", name=NAME)
    finally:
        mlflow.set_registry_uri(before)
    assert loaded.predict(rows) == pytest.approx(model.predict(rows))
    assert found == f"models:/{IN_AZUREML}/{versions[1].azureml}"
    client = workspace.client()
    assert client.get_registered_model(IN_AZUREML).aliases == {"champion": versions[1].azureml}
    assert client.get_model_version(IN_AZUREML, versions[1].azureml).aliases == ["champion"]
    for _ in range(2):
        client.delete_registered_model_alias(IN_AZUREML, "champion")
    with pytest.raises(MlflowException, match="alias champion not found"):
        client.get_model_version_by_alias(IN_AZUREML, "champion")
    with pytest.raises(MlflowException):
        client.set_registered_model_alias(IN_AZUREML, "champion", "99")


def test_azure_ml_refuses_and_the_same_call_completes_it(workspace, make_versions, azure):
    versions = make_versions(2)
    promote(versions[0], workspace=workspace)
    azure.fail_next(1, "registered-models/set-tag", status=403)
    with pytest.raises(
        RegistryError, match=r"refused the alias 'champion': .* Version 2 of .* already; call promote .* role AzureML"
    ):
        promote(versions[1], workspace=workspace)
    assert holders(workspace) == ("2", versions[0].azureml)
    assert not alias_holders(NAME, workspace=workspace).agree
    promote(versions[1], workspace=workspace)
    assert holders(workspace) == ("2", versions[1].azureml)
    assert alias_holders(NAME, workspace=workspace).agree
    azure.fail_next(1, "registered-models/set-tag", status=403)
    with pytest.raises(RegistryError, match="Call rollback again to complete"):
        rollback(NAME, workspace=workspace)
    assert holders(workspace) == ("2", versions[1].azureml)
    rollback(NAME, workspace=workspace)
    assert holders(workspace) == ("1", versions[0].azureml)


def test_somebody_else_was_faster(workspace, make_versions):
    versions = make_versions(3)
    promote(versions[1], workspace=workspace)
    for replaces in ("1", ""):
        with pytest.raises(RegistryError, match=f"is version 2, not {replaces or 'none'}: somebody moved it meanwhile"):
            promote(versions[2], workspace=workspace, replaces=replaces)
    assert holders(workspace) == ("2", versions[1].azureml)
    promote(versions[2], workspace=workspace, replaces="2")
    assert holders(workspace) == ("3", versions[2].azureml)


def test_two_promote_at_once_and_one_is_told(workspace, make_versions, monkeypatch):
    """Another session moves the alias right after this one has."""
    versions = make_versions(3)
    ours = DatabricksWorkspace.current().client()
    set_alias = mlflow.MlflowClient.set_registered_model_alias

    def and_so_does_another(client, name, alias, version):
        set_alias(client, name, alias, version)
        set_alias(ours, NAME, alias, "1")

    promote(versions[1], workspace=workspace)
    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", and_so_does_another)
    with pytest.raises(RegistryError, match="is version 1, not 3: somebody moved it meanwhile"):
        promote(versions[2], workspace=workspace, replaces="2")
    assert holders(workspace) == ("1", versions[1].azureml)


def test_a_person_approves_first(workspace, make_versions):
    versions = make_versions(2)
    promote(versions[0], workspace=workspace)
    client = DatabricksWorkspace.current().client()
    for said, seen in ((None, "is not there yet"), ("Rejected", "is 'Rejected' now")):
        if said:
            client.set_model_version_tag(NAME, "2", "approval", said)
        waits = rf"Version 2 of .* waits for approval: .* 'approval', which {seen}, to 'Approved' in .*/models/"
        with pytest.raises(RegistryError, match=waits):
            promote(versions[1], workspace=workspace, approval="approval")
    assert holders(workspace) == ("1", versions[0].azureml)
    client.set_model_version_tag(NAME, "2", "approval", "approved")
    assert promote(versions[1], workspace=workspace, approval="approval").databricks == "2"


def test_from_a_local_backend_into_an_azure_ml_workspace(workspace, log_model, tmp_path, monkeypatch, rows, model):
    """As between two workspaces: no run of the version is there."""
    with monkeypatch.context() as patch:
        patch.setenv("ADBAZUREML_HOME", str(tmp_path))
        local = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    track(local)
    mlflow.set_experiment("/Users/ada@example.com/moved")
    with mlflow.start_run() as run:
        log_model()
    version = register(run, name="moved", workspace=local)
    for _ in range(2):
        assert promote(version, workspace=local, to=workspace).azureml == "1"
    client = workspace.client()
    found = client.get_model_version("moved", "1")
    assert found.tags["adbazureml_copied_from"] == f"{local.name}/moved/1"
    with new_version.asking_registry(workspace.registry_uri):
        loaded = mlflow.pyfunc.load_model("models:/moved@champion")
    assert loaded.predict(rows) == pytest.approx(model.predict(rows))
    client.delete_registered_model("moved")


def test_what_can_t_be_promoted_or_rolled_back(workspace, make_versions):
    versions = make_versions(2)
    with pytest.raises(RegistryError, match=r"Azure ML holds version .* too: give workspace="):
        promote(versions[0])
    with pytest.raises(RegistryError, match=r"No version of .* has the alias 'champion'"):
        rollback(NAME, workspace=workspace)
    with pytest.raises(RegistryError, match="registry 'both' needs an Azure ML workspace"):
        rollback(NAME)
    promote(versions[0], workspace=workspace)
    promote(versions[1], workspace=workspace)
    DatabricksWorkspace.current().client().delete_model_version(NAME, "1")
    with pytest.raises(RegistryError, match=r"Version 1 .* is not there: promote another one"):
        rollback(NAME, workspace=workspace)


def test_in_one_registry_alone(workspace, log_model):
    with mlflow.start_run() as run:
        log_model()
    version = register(run, name="alone", registry="azureml", workspace=workspace)
    with pytest.raises(RegistryError, match="the tag 'approval', which is not there yet"):
        promote(version, workspace=workspace, approval="approval")
    assert promote(version, workspace=workspace, alias="challenger").databricks is None
    with pytest.raises(RegistryError, match="is the first that had the alias"):
        rollback("alone", alias="challenger", registry="azureml", workspace=workspace)


@pytest.fixture
def shared(azure):
    """An Azure ML registry, empty."""
    azure.registries.models["shared"] = {}
    yield azure.registries.models["shared"]
    del azure.registries.models["shared"]


def test_into_an_azure_ml_registry_once(workspace, make_versions, shared):
    to = AzureMLRegistry(name="shared")
    first, second = make_versions(2)
    for _ in range(2):
        promoted = promote(first, workspace=workspace, to=to)
        assert (promoted.azureml, promoted.databricks, promoted.before) == (first.azureml, None, None)
        assert f"/registries/shared/models/{IN_AZUREML}/version/{first.azureml}" in promoted.links[0]
    (properties,) = shared.values()
    assert properties["tags"]["adbazureml_copied_from"] == f"{workspace.name}/{IN_AZUREML}/{first.azureml}"
    assert properties["tags"]["adbazureml.alias.champion"] == "true"
    with pytest.raises(RegistryError, match=f"is version {first.azureml} in registry 'shared', not none: compare"):
        promote(second, workspace=workspace, to=to, replaces="")
    assert promote(second, workspace=workspace, to=to, replaces=first.azureml).before == first.azureml
    has_it = {number: "adbazureml.alias.champion" in one["tags"] for (_, number), one in shared.items()}
    assert has_it == {first.azureml: False, second.azureml: True}


def test_what_an_azure_ml_registry_refuses(workspace, make_versions, shared, azure):
    """Killed before it was tagged, the copy is found again; another's version of that number is not taken for it."""
    to, (first,) = AzureMLRegistry(name="shared"), make_versions(1)
    with pytest.raises(RegistryError, match="there is no Azure ML registry 'missing' that this identity sees"):
        promote(first, workspace=workspace, to=AzureMLRegistry(name="missing"))
    with pytest.raises(RegistryError, match="to: 'shared' takes versions of an Azure ML workspace"):
        promote(first, to=to)
    azure.fail_next(1, "registries/shared/import", status=403)
    with pytest.raises(RegistryError, match=r"may not write to .* 'shared' \(403\): .* role 'AzureML Registry User'"):
        promote(first, workspace=workspace, to=to)
    assert shared == {}
    promote(first, workspace=workspace, to=to)
    key = (IN_AZUREML, first.azureml)
    for tag in [tag for tag in shared[key]["tags"] if "copied_from" in tag or "alias" in tag]:
        del shared[key]["tags"][tag]
    promote(first, workspace=workspace, to=to)
    assert "adbazureml_copied_from" in shared[key]["tags"]
    shared[key]["tags"] = {}
    with pytest.raises(RegistryError, match=r"in registry 'shared' is there already, and no copy of .*: archive"):
        promote(first, workspace=workspace, to=to)
    assert shared[key]["tags"] == {}
