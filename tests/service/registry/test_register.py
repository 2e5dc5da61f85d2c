from dataclasses import FrozenInstanceError

import mlflow
import pytest

from adbazureml import find_version, register, track
from adbazureml.errors import RegistryError
from adbazureml.registry import plan_registration
from adbazureml.registry.model_names import azureml_model_name

EXPERIMENT = "/Users/ada@example.com/houses/prices"


@pytest.fixture
def tracked(workspace):
    track(workspace)
    mlflow.set_experiment(EXPERIMENT)
    return workspace


@pytest.fixture
def train(log_model):
    """Log a run with a model."""

    def run_once(**options):
        with mlflow.start_run() as run:
            log_model(**options)
        return run

    return run_once


def test_version_one_then_the_next_in_both_registries(tracked, azureml, train):
    first = register(train(), name="prices", workspace=tracked)
    second = register(train(), name="prices", workspace=tracked)
    assert (first.databricks, first.azureml, first.uri) == ("1", "1", "models:/prices/1")
    assert (second.databricks, second.azureml, second.uri) == ("2", "2", "models:/prices/2")
    assert mlflow.pyfunc.load_model(second.uri).metadata is not None
    assert len(azureml.search_model_versions("name = 'prices'")) == 2


def test_the_same_run_again_gives_the_versions_made_before(tracked, azureml, train):
    run = train()
    made, again = (register(run, name="prices", workspace=tracked) for _ in range(2))
    assert made.created
    assert not again.created
    assert (again.databricks, again.azureml) == (made.databricks, made.azureml)
    assert len(azureml.search_model_versions("name = 'prices'")) == 1


def test_a_plan_says_what_would_be_done_and_changes_nothing(tracked, azureml, databricks, train):
    run = train()
    plan = plan_registration(run, name="main.houses.prices", workspace=tracked)
    said = str(plan).splitlines()
    assert said[0].endswith(f" of run {run.info.run_id}:")
    assert said[1].startswith("  main.houses.prices in the registry sqlite:")
    assert said[1].endswith("files: run")
    assert said[2].startswith("  main--houses--prices in the registry sqlite:")
    assert said[2].endswith("files: counterpart run")
    only_azureml = plan_registration(run, name="prices", registry="azureml", workspace=tracked)
    assert only_azureml.databricks is None
    with pytest.raises(FrozenInstanceError):
        plan.name = "other"
    assert [*databricks.search_registered_models(), *azureml.search_registered_models()] == []


def test_in_azure_ml_the_version_belongs_to_the_counterpart_run(tracked, azureml, databricks, train, rows):
    run = train()
    version = register(run, name="prices", workspace=tracked)
    theirs = azureml.get_model_version("prices", version.azureml)
    counterpart = databricks.get_run(run.info.run_id).data.tags["adbazureml.azureml.run_id"]
    assert theirs.run_id == counterpart
    assert theirs.tags["adbazureml_counterpart_version"] == "prices/1"
    assert theirs.tags["adbazureml_counterpart_run_id"] == run.info.run_id
    ours = databricks.get_model_version("prices", version.databricks)
    assert ours.tags["adbazureml_counterpart_version"] == "prices/1"
    assert ours.tags["adbazureml_counterpart_run_id"] == counterpart
    loaded = mlflow.pyfunc.load_model(theirs.source)
    assert loaded.predict(rows) == pytest.approx(rows["a"] * 2 + rows["b"])


@pytest.mark.parametrize("registry", ["databricks", "azureml"])
def test_one_registry_alone(tracked, azureml, databricks, train, registry):
    version = register(train(), name="prices", registry=registry, workspace=tracked)
    assert (version.databricks, version.azureml) == (("1", None) if registry == "databricks" else (None, "1"))
    asked, other = (databricks, azureml) if registry == "databricks" else (azureml, databricks)
    assert len(asked.search_model_versions("name = 'prices'")) == 1
    assert not other.search_model_versions("name = 'prices'")


def test_tracked_in_azure_ml_only(workspace, azureml, train):
    track(workspace, mode="azureml")
    mlflow.set_experiment("prices")
    run = train()
    version = register(run, name="prices", registry="azureml", workspace=workspace)
    assert azureml.get_model_version("prices", version.azureml).run_id == run.info.run_id


def test_a_run_that_was_never_replicated_is_brought_over(workspace, azureml, train):
    track(workspace, mode="databricks")
    mlflow.set_experiment(EXPERIMENT)
    run = train()
    version = register(run, name="prices", workspace=workspace)
    assert (version.databricks, version.azureml) == ("1", "1")
    counterpart = azureml.get_run(azureml.get_model_version("prices", "1").run_id)
    assert counterpart.data.tags["adbazureml.databricks.run_id"] == run.info.run_id


def test_what_names_the_model_may_be_many_things(tracked, train, log_model):
    with mlflow.start_run() as run:
        info = log_model()
    made = register(run, name="prices", workspace=tracked)
    for source in (info, made, info.model_uri, f"runs:/{run.info.run_id}/model", made.uri):
        again = register(source, name="prices", workspace=tracked)
        assert (again.created, again.databricks, again.azureml) == (False, "1", "1")
    with pytest.raises(RegistryError, match="is no model: give a run, what log_model returned"):
        register("s3://bucket/model", name="prices", workspace=tracked)
    with pytest.raises(RegistryError, match="registry 'mine': expected"):
        register(run, name="prices", registry="mine", workspace=tracked)


def test_as_the_article_writes_it(tracked, rows, model):
    """`log_model(artifact_path=, registered_model_name=)`: version 1, then 2."""
    for expected in ("1", "2"):
        with mlflow.start_run():
            info = mlflow.sklearn.log_model(
                model,
                artifact_path="model",
                registered_model_name="article",
                input_example=rows.head(2),
                pip_requirements=["scikit-learn==1.6.1"],
            )
        assert str(info.registered_model_version) == expected


def test_a_model_without_a_signature_is_refused_before_anything_is_made(tracked, databricks, train):
    with pytest.raises(RegistryError, match="has no signature"):
        register(train(input_example=None), name="prices", workspace=tracked)
    assert not databricks.search_registered_models()


def test_a_run_without_that_model_is_told(tracked, train):
    with pytest.raises(RegistryError, match=r"Model 'other' of run .*: there is no such finished model"):
        register(train(), name="prices", workspace=tracked, model="other")


def test_the_newest_version_or_the_one_asked_for(tracked, train):
    for _ in range(2):
        register(train(), name="prices", registry="databricks")
    assert find_version("", name="prices") == "models:/prices/2"
    assert find_version("1", name="prices") == "models:/prices/1"
    with pytest.raises(RegistryError, match="version '9': model 'prices' has no such version"):
        find_version("9", name="prices")
    with pytest.raises(RegistryError, match="no version is registered; register one first"):
        find_version("", name="nothing")


def test_names_in_three_parts_map_to_what_azure_ml_takes():
    assert azureml_model_name("catalog.schema.Model") == "catalog--schema--model"
    assert azureml_model_name("house prices") != azureml_model_name("house-prices") == "house-prices"
    assert azureml_model_name("model") == "model"
