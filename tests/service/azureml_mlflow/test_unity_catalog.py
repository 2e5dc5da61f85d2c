"""Registration in both workspaces as they are: Unity Catalog through MLflow's own client, and Azure ML."""

import uuid

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.utils.rest_utils import get_workspace_client
from tests.emulators.databricks import TOKEN
from tests.emulators.unity_catalog import UnityCatalogMLflow

from adbazureml import (
    AzureMLWorkspace,
    Settings,
    find_version,
    promote,
    register,
    rollback,
    runtime,
    track,
    validate,
    walk_report,
)
from adbazureml.errors import RegistryError
from adbazureml.registry import connect_deployment_job
from adbazureml.tracking.run_description import tell_outcome

NAME, THEIRS = "main.houses.prices", "main--houses--prices"


@pytest.fixture
def unity(tracking_server, azure, tmp_path, monkeypatch):
    """A notebook in an emulated Databricks workspace with Unity Catalog."""
    with UnityCatalogMLflow(tracking_server.url, tmp_path) as databricks:
        monkeypatch.setenv("DATABRICKS_HOST", databricks.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        # MLflow asks the variable that says so as well, and would start Spark.
        monkeypatch.setattr(runtime, "on_databricks", lambda: True)
        get_workspace_client.cache_clear()
        yield databricks
        while mlflow.active_run():
            mlflow.end_run()
        track(mode="databricks")


@pytest.fixture
def workspace(azure, unity):
    return AzureMLWorkspace.get(
        name=azure.workspace_name, subscription_id=azure.subscription_id, resource_group=azure.resource_group
    )


@pytest.fixture
def train(log_model):
    """Log a run with a model into an experiment of its own."""

    def once(experiment="/Users/someone@example.com", **options):
        mlflow.set_experiment(f"{experiment}/{uuid.uuid4().hex[:8]}")
        with mlflow.start_run() as run:
            log_model(**options)
        return run

    return once


def tags_of(version):
    return {tag["key"]: tag["value"] for tag in version["tags"]}


def test_lineage_is_whole_in_both(workspace, unity, azure, train, rows, model):
    track(workspace)
    run = train()
    version = register(run, name="Main.Houses.Prices", workspace=workspace)
    again = register(version, name=NAME, workspace=workspace)
    assert (version.databricks, version.azureml, version.azureml_name) == ("1", "1", THEIRS)
    assert (again.created, again.databricks, again.azureml) == (False, "1", "1")
    (ours,), (theirs,) = unity.models[NAME].versions.values(), azure.find_model_versions(THEIRS)
    counterpart = workspace.client().get_run(theirs["run_id"])
    assert ours["run_id"] == counterpart.data.tags["adbazureml.databricks.run_id"] == run.info.run_id
    assert tags_of(ours) | {"adbazureml_request": ""} == {
        "adbazureml_run_id": run.info.run_id,
        "adbazureml_model": ours["model_id"],
        "adbazureml_request": "",
        "adbazureml_counterpart_workspace": workspace.name,
        "adbazureml_counterpart_version": f"{THEIRS}/1",
        "adbazureml_counterpart_run_id": theirs["run_id"],
        "adbazureml_counterpart_url": workspace.model_url(THEIRS, "1"),
    }
    page = f"{unity.host}/explore/data/models/main/houses/prices/version/1"
    assert tags_of(theirs)["adbazureml_counterpart_version"] == f"{NAME}/1"
    assert tags_of(theirs)["adbazureml_counterpart_run_id"] == run.info.run_id
    assert (tags_of(theirs)["adbazureml_counterpart_url"], version.links[0]) == (page, page)
    assert mlflow.pyfunc.load_model(version.uri).predict(rows) == pytest.approx(model.predict(rows))
    assert find_version("", name=NAME) == f"models:/{NAME}/1"
    assert register(train(), name=NAME, workspace=workspace).databricks == "2"


def test_what_unity_catalog_would_refuse_is_refused_before_anything_is_made(workspace, unity, azure, train, rows):
    track(workspace)
    inputs_only = ModelSignature(inputs=infer_signature(rows).inputs)
    for options, lacks in (({}, "signature"), ({"signature": inputs_only}, "outputs in its signature")):
        with pytest.raises(RegistryError, match=f"has no {lacks}, which Unity Catalog demands"):
            register(train(input_example=None, **options), name=NAME, workspace=workspace)
    run = train()
    with pytest.raises(RegistryError, match=r"Databricks refused 'prices': .*not a valid name .*<catalog>"):
        register(run, name="prices", workspace=workspace)
    with pytest.raises(RegistryError, match=r"Databricks refused 'main\.other\.x': .*'main\.other' does not exist"):
        register(run, name="main.other.x", workspace=workspace)
    unity.may_create = False
    with pytest.raises(RegistryError, match="does not have CREATE MODEL on Schema"):
        register(run, name=NAME, workspace=workspace)
    assert unity.models == {}
    assert azure.requests_to("/(registered-models|model-versions)/create") == []


def test_a_model_of_databricks_alone_goes_to_azure_ml_later(workspace, unity, azure, train):
    """Registered by MLflow's own call, in a run that was never counterpart."""
    track(mode="databricks")
    run = train(registered_model_name=NAME)
    version = register(f"models:/{NAME}/1", name=NAME, registry="azureml", workspace=workspace)
    assert (version.databricks, version.azureml) == (None, "1")
    (ours,), (theirs,) = unity.models[NAME].versions.values(), azure.find_model_versions(THEIRS)
    counterpart = workspace.client().get_run(theirs["run_id"])
    assert counterpart.data.tags["adbazureml.databricks.run_id"] == run.info.run_id
    assert tags_of(theirs)["adbazureml_counterpart_version"] == f"{NAME}/1"
    assert tags_of(ours)["adbazureml_counterpart_run_id"] == theirs["run_id"]
    both = register(run, name=NAME, workspace=workspace)
    assert (both.created, both.databricks, both.azureml) == (False, "1", "1")


def test_in_azure_ml_alone_the_version_leads_to_the_run_in_databricks(workspace, unity, azure, train):
    track(workspace)
    run = train(input_example=None)
    register(run, name="alone", registry="azureml", workspace=workspace)
    (theirs,) = azure.find_model_versions("alone")
    assert tags_of(theirs)["adbazureml_counterpart_run_id"] == run.info.run_id
    page = f"{unity.host}/ml/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert tags_of(theirs)["adbazureml_counterpart_url"] == page


def test_lost_answers_and_makers_that_died_leave_one_version_that_counts(workspace, unity, train):
    track(mode="databricks")
    run = train()
    unity.lose_answer(1, "model-versions/create")
    version = register(run, name=NAME, registry="databricks")
    assert list(unity.models[NAME].versions) == [version.databricks]
    assert unity.models[NAME].versions[version.databricks]["status"] == "READY"
    with pytest.raises(RegistryError, match="no version is registered"):
        find_version("", name="main.houses.none")
    # Killed before its files were there.
    unity.models[NAME].versions[version.databricks]["status"] = "PENDING_REGISTRATION"
    with pytest.raises(RegistryError, match="no version is registered"):
        find_version("", name=NAME)
    completed = register(run, name=NAME, registry="databricks")
    assert completed.created
    assert completed.databricks != version.databricks
    assert register(run, name=NAME, registry="databricks").databricks == completed.databricks


def test_when_azure_ml_fails_unity_catalog_keeps_its_version(workspace, unity, azure, train, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track(workspace)
    run = train()
    azure.fail_next(1, "model-versions/create", status=503)
    with pytest.raises(RegistryError, match="Version 1 in Databricks stays; call register again to complete"):
        register(run, name=NAME, workspace=workspace)
    unity.fail_next(1, "model-versions/set-tag", status=403)
    with pytest.raises(RegistryError, match=r"is registered, but the tags .* are not whole: .*again to complete"):
        register(run, name=NAME, workspace=workspace)
    version = register(run, name=NAME, workspace=workspace)
    assert (version.created, version.databricks, version.azureml) == (False, "1", "1")
    (ours,) = unity.models[NAME].versions.values()
    assert tags_of(ours)["adbazureml_counterpart_version"] == f"{THEIRS}/1"


def test_two_names_never_fall_together_in_azure_ml(workspace, unity, azure, train):
    track(workspace)
    run = train()
    register(run, name=NAME, registry="azureml", workspace=workspace)
    with pytest.raises(RegistryError, match=f"'{THEIRS}' in Azure ML, which is '{NAME}' already: choose another"):
        register(train(), name=THEIRS, registry="azureml", workspace=workspace)
    assert len(azure.find_model_versions(THEIRS)) == 1


def test_tracked_in_azure_ml_only(workspace, unity, azure, train, rows, model):
    track(workspace, mode="azureml")
    run = train()
    version = register(run, name=NAME, workspace=workspace)
    assert (version.databricks, version.azureml, version.uri) == ("1", "1", f"models:/{THEIRS}/1")
    (ours,) = unity.models[NAME].versions.values()
    assert tags_of(ours)["adbazureml_counterpart_run_id"] == run.info.run_id
    mlflow.set_registry_uri("databricks-uc")
    assert mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(rows) == pytest.approx(model.predict(rows))


def test_promoted_and_rolled_back_in_unity_catalog_and_azure_ml(workspace, unity, azure, train):
    track(workspace)
    versions = [register(train(), name=NAME, workspace=workspace) for _ in range(2)]
    for version in versions:
        promoted = promote(version, workspace=workspace)
    assert promoted.before == versions[0].databricks
    assert unity.models[NAME].aliases == {"champion": versions[1].databricks}
    assert find_version("", name=NAME) == f"models:/{NAME}/{versions[1].databricks}"
    rollback(NAME, workspace=workspace)
    assert unity.models[NAME].aliases == {"champion": versions[0].databricks}
    theirs = workspace.client().get_model_version_by_alias(versions[0].azureml_name, "champion")
    assert str(theirs.version) == versions[0].azureml

    tell_outcome("monitor", "No drift.")
    mlflow.end_run()
    where = {name: getattr(azure, name) for name in ("subscription_id", "resource_group", "workspace_name")}
    experiment = mlflow.get_experiment(mlflow.last_active_run().info.experiment_id).name
    report = walk_report(Settings(experiment=experiment, model_name=NAME, **where), workspace=workspace)
    (model,) = report.models
    numbers = [version.databricks for version in reversed(versions)]
    assert (model.agrees, [version.number for version in model.versions]) == (True, numbers)
    assert [version.is_champion for version in model.versions] == [False, True]
    assert [title for title, _ in model.versions[0].links] == ["Databricks", "Azure ML"]
    assert (len(report.trained), report.monitored.said) == (1, "No drift.")

    unity.fail_next(1, "registered-models/alias", 403)
    with pytest.raises(RegistryError, match=r"refused the alias 'champion': .* takes, in Unity Catalog, to own it"):
        promote(versions[1], workspace=workspace)
    # Nor is the other one changed.
    theirs = workspace.client().get_model_version_by_alias(versions[0].azureml_name, "champion")
    assert str(theirs.version) == versions[0].azureml


def test_from_one_catalog_to_the_next_and_approved_by_a_person(workspace, unity, train):
    track(workspace)
    version = register(train(), name=NAME, registry="databricks")
    unity.schemas.add("prod.houses")
    with pytest.raises(RegistryError, match=r"waits for approval: .*/explore/data/models/main/houses/prices/version/1"):
        promote(version, to="prod", approval="approval")
    mlflow.MlflowClient(registry_uri="databricks-uc").set_model_version_tag(NAME, "1", "approval", "Approved")
    unity.fail_next(1, "registered-models/alias", status=403)
    with pytest.raises(RegistryError, match=r"refused the alias 'champion': .* takes, in Unity Catalog, to own it"):
        promote(version, to="prod", approval="approval")
    promoted = promote(version, to="prod", approval="approval")
    assert (promoted.name, promoted.databricks, promoted.azureml) == ("prod.houses.prices", "1", None)
    copy = unity.models["prod.houses.prices"]
    assert (copy.aliases, copy.last) == ({"champion": "1"}, 1)
    assert copy.versions["1"]["run_id"] == version.run_id
    assert tags_of(copy.versions["1"])["adbazureml_copied_from"].endswith(f"/{NAME}/1")
    with pytest.raises(
        RegistryError, match=r"refused a copy of version 1 of 'main.houses.prices': .*Catalog 'test' does"
    ):
        promote(version, to="test", approval="approval")


def test_a_model_is_connected_to_its_deployment_job(unity):
    first = connect_deployment_job("Main.Houses.Prices", job_id=7)
    assert (first.created, unity.models[NAME].deployment_job_id, unity.models[NAME].versions) == (True, "7", {})
    assert str(connect_deployment_job(NAME, job_id=7)) == f"{NAME} is connected to job 7 already."
    with pytest.raises(MlflowException, match="disconnect it first"):
        mlflow.MlflowClient(registry_uri="databricks-uc").update_registered_model(NAME, deployment_job_id="8")
    assert str(connect_deployment_job(NAME, job_id=8)) == (
        f"{NAME} is connected to job 8, no more to job 7: Databricks runs it for each new version."
    )
    assert unity.models[NAME].deployment_job_id == "8"
    unity.fail_next(1, "registered-models/update", status=403)
    with pytest.raises(RegistryError, match=f"refused job 9 as deployment job of '{NAME}'"):
        connect_deployment_job(NAME, job_id=9)
    with pytest.raises(RegistryError, match="'prices' is no name in Unity Catalog"):
        connect_deployment_job("prices", job_id=7)


def test_a_verdict_is_written_to_a_version_of_unity_catalog(workspace, unity, train, rows):
    track(workspace)
    version = register(train(), name=NAME, workspace=workspace)
    data = rows.assign(y=rows["a"] * 2 + rows["b"])
    validate(version, data=data, label="y", size_mb=0.000001).write_to(version, workspace=workspace)
    verdict = validate(version, data=data, label="y")
    verdict.write_to(version, workspace=workspace)
    (ours,) = unity.models[NAME].versions.values()
    assert ours["description"] == f"Validation: {NAME}/1 may be the first champion."
    assert tags_of(ours)["adbazureml_validation"] == "passed"
    assert "adbazureml_check_size" not in tags_of(ours)
    theirs = workspace.client().get_model_version(THEIRS, version.azureml)
    assert (theirs.description, theirs.tags["adbazureml_check_answers"]) == (ours["description"], "passed")
