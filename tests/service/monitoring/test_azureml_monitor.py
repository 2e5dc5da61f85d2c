"""Azure ML's own monitor, set up by the real azure-ai-ml in an emulated workspace."""

import mlflow
import pytest
from tests.emulators.azureml import AzureMLEmulator

from adbazureml import AzureMLWorkspace
from adbazureml.errors import SettingsError, TrackingError, WorkspaceError
from adbazureml.monitoring import Baseline, create_azureml_monitor
from adbazureml.monitoring.baseline import BaselineColumn
from adbazureml.monitoring.column_profile import Binned

BASELINE = Baseline(
    (
        BaselineColumn(Binned("x", "numeric", (1.0, 2.0)), "double", (5, 5, 5, 1), (0.5, 1.5, 2.5)),
        BaselineColumn(Binned("group", "categorical", ("a", "b")), "string", (8, 8, 0, 0), ()),
        BaselineColumn(Binned("prediction", "numeric", (3.0,)), "double", (8, 8, 0), (2.0, 4.0)),
    )
)
WATCHED = "azureml:collected:1"


@pytest.fixture
def workspace(azure: AzureMLEmulator, log_model):
    """An Azure ML workspace with a version whose run holds a baseline, a version without, and data to watch."""
    found = AzureMLWorkspace.get(
        name=azure.workspace.name,
        subscription_id=azure.workspace.subscription_id,
        resource_group=azure.workspace.resource_group,
    )
    mlflow.set_tracking_uri(found.tracking_uri)
    mlflow.set_experiment("watched")
    with mlflow.start_run():
        log_model(registered_model_name="watched")
        BASELINE.log()
    with mlflow.start_run():
        log_model(registered_model_name="unwatched")
    azure.monitors.data["collected", "1"] = {"dataType": "mltable", "dataUri": "azureml://datastores/d/paths/c/"}
    return found


def test_a_schedule_compares_with_the_models_own_baseline(azure, workspace, capfd):
    how = {"name": "watch", "model": "watched", "version": "1", "data": WATCHED}
    made = create_azureml_monitor(workspace, **how, emails=["team@example.com"], threshold=0.25)
    assert (made.model, made.baseline) == ("watched/1", "azureml:watch-baseline:1")
    run_id = workspace.client().get_model_version("watched", "1").run_id
    kept = {one.path for one in workspace.client().list_artifacts(run_id, "drift_baseline")}
    assert kept == {f"drift_baseline/{name}" for name in ("MLTable", "rows.parquet", "baseline.json")}
    assert azure.monitors.data["watch-baseline", "1"]["dataUri"].endswith(f"/dcid.{run_id}/drift_baseline/")
    schedule = azure.monitors.schedules["watch"]
    assert schedule["trigger"]["frequency"].lower() == "day"
    definition = schedule["action"]["monitorDefinition"]
    assert definition["monitoringTarget"]["taskType"].lower() == "regression"
    signals = definition["signals"]
    assert signals["features"]["features"]["features"] == ["x", "group"]
    assert sorted((one["dataType"], one["threshold"]["value"]) for one in signals["features"]["metricThresholds"]) == [
        ("Categorical", 0.25),
        ("Numerical", 0.25),
    ]
    (only,) = signals["predictions"]["metricThresholds"]
    assert (only["dataType"], only["metric"].lower()) == ("Numerical", "populationstabilityindex")
    assert signals["features"]["productionData"]["uri"].endswith("/data/collected/versions/1")
    assert "team@example.com" in str(definition["alertNotificationSetting"])
    # Again, it is brought up to date; another's is left alone.
    create_azureml_monitor(workspace, **how, threshold=0.1)
    limits = azure.monitors.schedules["watch"]["action"]["monitorDefinition"]["signals"]["features"]["metricThresholds"]
    assert {one["threshold"]["value"] for one in limits} == {0.1}
    azure.monitors.schedules["watch"]["tags"] = {}
    with pytest.raises(SettingsError, match="a schedule 'watch' is there, and was not made by this package"):
        create_azureml_monitor(workspace, **how)
    printed = capfd.readouterr()
    assert printed.out == ""


def test_what_is_missing_is_named_before_anything_is_made(azure, workspace):
    how = {"name": "watch", "model": "watched", "version": "1"}
    with pytest.raises(SettingsError, match="deployment, data: give one of them"):
        create_azureml_monitor(workspace, **how)
    with pytest.raises(TrackingError, match="model: nobody 1 is not in the Azure ML registry"):
        create_azureml_monitor(workspace, **{**how, "model": "nobody"}, data=WATCHED)
    with pytest.raises(TrackingError, match="holds no drift_baseline"):
        create_azureml_monitor(workspace, **{**how, "model": "unwatched"}, data=WATCHED)
    assert azure.monitors.schedules == {}


def test_what_azure_ml_refuses_is_told(azure, workspace):
    how = {"name": "watch", "model": "watched", "version": "1"}
    with pytest.raises(WorkspaceError, match="Azure ML refused the monitor 'watch'"):
        create_azureml_monitor(workspace, **how, data="azureml:nothing:1")
    azure.fail_next(1, "schedules/watch", status=403)
    with pytest.raises(WorkspaceError, match=r"may not change or read the monitor 'watch' .*\(403\): give it the role"):
        create_azureml_monitor(workspace, **how, data=WATCHED)
    azure.monitors.failure = "The instance type is not offered here."
    with pytest.raises(WorkspaceError, match="The instance type is not offered here"):
        create_azureml_monitor(workspace, **how, data=WATCHED)
    assert azure.monitors.schedules == {}
    azure.monitors.failure = ""
    azure.fail_next(1, "schedules/watch", status=429, retry_after=0)
    create_azureml_monitor(workspace, **how, data=WATCHED)
    assert list(azure.monitors.schedules) == ["watch"]


def test_the_local_backend_has_no_monitors(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    local_backend = AzureMLWorkspace.get(name="", subscription_id="", resource_group="")
    with pytest.raises(SettingsError, match="the local backend has no monitors"):
        create_azureml_monitor(local_backend, name="watch", model="watched", version="1", data=WATCHED)
