"""Notebooks 01 to 04, each by itself under nbval, with an Azure ML workspace named instead of the local stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from adbazureml.tracking.names import azureml_experiment_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def walked(azureml_emulator, tmp_path_factory):
    """Run the notebooks in processes of their own; yield the folder of the Databricks stand-in."""
    home = tmp_path_factory.mktemp("walk")
    azureml_emulator.resource_manager.resources.add_databricks("adb")
    environment = {
        **os.environ,
        **azureml_emulator.environment,
        "ADBAZUREML_HOME": str(home),
        "ADBAZUREML_SUBSCRIPTION_ID": azureml_emulator.subscription_id,
        "ADBAZUREML_RESOURCE_GROUP": azureml_emulator.resource_group,
        "ADBAZUREML_WORKSPACE_NAME": azureml_emulator.workspace_name,
        "ADBAZUREML_DATABRICKS_WORKSPACE": "adb",
        "ADBAZUREML_SET_LINK": "true",
        "ADBAZUREML_EPOCHS": "3",
    }
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("0[1-4]_*.ipynb"))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:cacheprovider", *notebooks]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    return home


def test_both_runs_stand_in_azure_ml_with_their_models(walked, azureml_emulator):
    databricks = mlflow.MlflowClient(tracking_uri=f"sqlite:///{walked}/databricks/mlflow.db")
    (experiment,) = (one for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    ours = {run.info.run_id: run for run in databricks.search_runs([experiment.experiment_id])}
    theirs = azureml_emulator.find_runs(azureml_experiment_name(experiment.name))
    assert len(ours) == len(theirs) == 2
    for mirrored in theirs:
        tags = {tag["key"]: tag["value"] for tag in mirrored["data"]["tags"]}
        run = ours[tags["adbazureml.databricks.run_id"]]
        assert {item["key"]: item["value"] for item in mirrored["data"].get("params", ())} == run.data.params
        assert {item["key"]: item["value"] for item in mirrored["data"]["metrics"]} == pytest.approx(run.data.metrics)
        assert mirrored["info"]["status"] == run.info.status == "FINISHED"
        stored = azureml_emulator.run_artifacts(mirrored["info"]["run_id"])
        assert any(path.endswith("/MLmodel") for path in stored)
        assert None not in stored.values()


@pytest.mark.parametrize("name", ["adbazureml_diabetes", "adbazureml_diabetes_spark"])
def test_each_model_is_version_one_of_its_mirrored_run(walked, azureml_emulator, name):
    (version,) = azureml_emulator.find_model_versions(name)
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert version["version"] == "1"
    assert tags["adbazureml_counterpart_version"] == f"{name}/1"
    runs = {run["info"]["run_id"] for run in azureml_emulator.find_runs(_experiment(walked))}
    assert version["run_id"] in runs


def _experiment(walked):
    databricks = mlflow.MlflowClient(tracking_uri=f"sqlite:///{walked}/databricks/mlflow.db")
    return azureml_experiment_name(
        next(one.name for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    )


def test_the_two_are_linked_in_azure(walked, azureml_emulator):
    adb = azureml_emulator.resource_manager.resources.add_databricks("adb")
    assert adb["properties"]["parameters"]["amlWorkspaceId"]["value"] == azureml_emulator.workspace.scope


def test_no_secret_is_left_in_the_local_folder(walked, azureml_emulator):
    handed_on = (json.dumps(path.read_text(errors="ignore")) for path in walked.rglob("*.json") if path.is_file())
    for text in handed_on:
        assert not [secret for secret in azureml_emulator.secrets if secret in text]
