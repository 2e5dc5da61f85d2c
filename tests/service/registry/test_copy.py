"""Versions that move on: from one catalog and one workspace to the next, once, with the way back."""

import mlflow
import pytest

from adbazureml import AzureMLWorkspace, promote, register, rollback, track
from adbazureml.errors import RegistryError

DEV, PROD = "dev.copies.prices", "prod.copies.prices"
IN_DEV, IN_PROD = "dev--copies--prices", "prod--copies--prices"


@pytest.fixture
def version(workspace, log_model, databricks):
    track(workspace)
    mlflow.set_experiment("/Users/ada@example.com/copies")
    with mlflow.start_run() as run:
        log_model()
    made = register(run, name=DEV, workspace=workspace)
    databricks.set_model_version_tag(DEV, "1", "owner", "ada")
    databricks.update_model_version(DEV, "1", "Trained on Monday.")
    return made


@pytest.fixture
def production(version, workspace, tmp_path, monkeypatch):
    """Another local backend of Azure ML."""
    (tmp_path / "production").mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("ADBAZUREML_HOME", str(tmp_path / "production"))
        return AzureMLWorkspace.get(name="", subscription_id="", resource_group="")


def test_to_another_catalog_and_workspace_once(version, workspace, production, databricks, rows, model):
    promote(version, workspace=workspace)
    for _ in range(2):
        promoted = promote(version, workspace=workspace, to=("prod", production))
        assert (promoted.name, promoted.databricks, promoted.azureml) == (PROD, "1", "1")
    ours, theirs = databricks.get_model_version(PROD, "1"), production.client().get_model_version(IN_PROD, "1")
    assert (ours.description, ours.tags["owner"], ours.aliases) == ("Trained on Monday.", "ada", ["champion"])
    assert ours.run_id == version.run_id == theirs.tags["adbazureml_run_id"]
    assert ours.tags["adbazureml_copied_from"].endswith(f"/{DEV}/1")
    assert theirs.tags["adbazureml_copied_from"] == f"{workspace.name}/{IN_DEV}/1"
    assert theirs.tags["adbazureml_copied_from_url"] == workspace.model_url(IN_DEV, "1")
    assert ours.tags["adbazureml_counterpart_version"] == f"{IN_PROD}/1"
    assert theirs.tags["adbazureml_counterpart_version"] == f"{PROD}/1"
    assert mlflow.pyfunc.load_model(f"models:/{PROD}@champion").predict(rows) == pytest.approx(model.predict(rows))
    assert [len(databricks.search_model_versions(f"name = '{name}'")) for name in (DEV, PROD)] == [1, 1]


def test_each_version_has_a_copy_of_its_own_and_what_had_the_alias_here_is_not_told_there(
    version, workspace, log_model, databricks
):
    promote(version, workspace=workspace)
    with mlflow.start_run() as run:
        log_model()
    second = register(run, name=DEV, workspace=workspace)
    promote(second, workspace=workspace)
    assert promote(second, workspace=workspace, to="prod").databricks == "1"
    assert databricks.get_model_version(PROD, "1").tags["adbazureml_copied_from"].endswith(f"/{DEV}/2")
    with pytest.raises(RegistryError, match="is the first that had the alias"):
        rollback(PROD, registry="databricks")
    assert promote(version, workspace=workspace, to=PROD).databricks == "2"
    assert rollback(PROD, registry="databricks").databricks == "1"


def test_to_another_workspace_alone(version, workspace, production):
    promoted = promote(version, workspace=workspace, to=production)
    assert (promoted.name, promoted.databricks, promoted.azureml) == (DEV, None, "1")
    assert str(production.client().get_model_version_by_alias(IN_DEV, "champion").version) == "1"


def test_where_it_can_t_go(version, workspace, log_model):
    for to in ("", "prod.copies"):
        with pytest.raises(RegistryError, match=f"to: '{to}' of '{DEV}': give a catalog"):
            promote(version, workspace=workspace, to=to)
    with pytest.raises(RegistryError, match=f"to: '{DEV}' in .* is where the version is: name another place"):
        promote(version, workspace=workspace, to="dev")
    with pytest.raises(RegistryError, match=f"to: '{IN_DEV}' in .* is where the version is: name another place"):
        promote(version, workspace=workspace, to=workspace)
    with mlflow.start_run() as run:
        log_model()
    alone = register(run, name="dev.copies.alone", registry="databricks")
    with pytest.raises(RegistryError, match="is not in the registry of AzureMLWorkspace, so it can't be copied"):
        promote(alone, to=workspace)


def test_a_number_means_that_version_where_two_are_of_one_model(version, workspace, databricks, azureml):
    """As a person does who registers a model again by MLflow's own means."""
    model_id = databricks.get_model_version(DEV, "1").tags["adbazureml_model"]
    mlflow.register_model(f"models:/{model_id}", DEV)
    second = register(f"models:/{DEV}/2", name=DEV, workspace=workspace)
    assert (second.databricks, second.azureml) == ("2", "2")
    assert register(f"models:/{DEV}/2", name=DEV, workspace=workspace).created is False
    first = register(f"models:/{DEV}/1", name=DEV, workspace=workspace)
    assert (first.databricks, first.azureml, first.created) == ("1", "1", False)
    assert azureml.get_model_version(IN_DEV, "2").tags["adbazureml_counterpart_version"] == f"{DEV}/2"
