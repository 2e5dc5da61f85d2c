"""Notebooks 01 to 05 with an Azure ML workspace named instead of the local backend."""

import os
import subprocess
import sys
from urllib.parse import quote

import mlflow
import pytest
from tests import warm_spark
from tests.bundle import ROOT

from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name

pytestmark = pytest.mark.full
WALK = "import sys; sys.path.insert(0, 'tools'); import walk; walk.walk(walk.notebooks()[:5])"


@pytest.fixture(scope="module")
def walked(azureml_emulator, tmp_path_factory):
    """Walk in one kernel; return the folder of the local Databricks backend."""
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
    done = subprocess.run(
        [sys.executable, "-c", WALK], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    warm_spark.WARM.free()
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    (home / "walk.log").write_text(done.stdout + done.stderr)
    return home


def test_all_runs_stand_in_azure_ml_with_their_models(walked, azureml_emulator):
    databricks = mlflow.MlflowClient(tracking_uri=f"sqlite:///{walked}/databricks/mlflow.db")
    (experiment,) = (one for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    ours = {run.info.run_id: run for run in databricks.search_runs([experiment.experiment_id])}
    theirs = azureml_emulator.find_runs(azureml_experiment_name(experiment.name))
    assert len(ours) == len(theirs) == 3
    for counterpart in theirs:
        tags = {tag["key"]: tag["value"] for tag in counterpart["data"]["tags"]}
        run = ours[tags["adbazureml.databricks.run_id"]]
        params = {item["key"]: item["value"] for item in counterpart["data"].get("params", ())}
        # Autologging gives the text of the whole pipeline, which is longer than Azure ML takes, and is told on the run.
        rejected = run.data.params.keys() - params.keys()
        assert params == {key: value for key, value in run.data.params.items() if key not in rejected}
        told = run.data.tags.get("adbazureml.rejected", "")
        assert told.startswith("rejected for good: param ") == bool(rejected)
        assert len(rejected) < 2 or f" and {len(rejected) - 1} more" in told
        assert all(len(run.data.params[key]) > 250 for key in rejected)
        assert {item["key"]: item["value"] for item in counterpart["data"]["metrics"]} == pytest.approx(
            run.data.metrics
        )
        assert counterpart["info"]["status"] == run.info.status == "FINISHED"
        stored = azureml_emulator.run_artifacts(counterpart["info"]["run_id"])
        assert any(path.endswith("/MLmodel") for path in stored) or run.info.run_name == "validate"
        assert None not in stored.values()


@pytest.mark.parametrize("name", ["adbazureml_diabetes", "adbazureml_diabetes_spark"])
def test_each_version_belongs_to_a_counterpart_run(walked, azureml_emulator, name):
    versions = sorted(azureml_emulator.find_model_versions(name), key=lambda version: version["version"])
    assert [version["version"] for version in versions] == ["1"]
    runs = {run["info"]["run_id"] for run in azureml_emulator.find_runs(_experiment(walked))}
    for version in versions:
        tags = {tag["key"]: tag["value"] for tag in version["tags"]}
        assert tags["adbazureml_counterpart_version"] == f"{name}/{version['version']}"
        assert version["run_id"] in runs


def _experiment(walked):
    databricks = mlflow.MlflowClient(tracking_uri=f"sqlite:///{walked}/databricks/mlflow.db")
    return azureml_experiment_name(
        next(one.name for one in databricks.search_experiments() if one.name.startswith("/Users/"))
    )


def test_the_two_are_linked_in_azure(walked, azureml_emulator):
    adb = azureml_emulator.resource_manager.resources.add_databricks("adb")
    assert adb["properties"]["parameters"]["amlWorkspaceId"]["value"] == azureml_emulator.workspace.scope


def test_no_secret_is_left_in_notebooks_logs_or_stores(walked, azureml_emulator):
    """Search everything that the walk wrote: executed notebooks, output, databases with their tags, artifacts."""
    secrets = {form.encode() for secret in azureml_emulator.secrets for form in (secret, quote(secret, safe=""))}
    files = [path for path in walked.rglob("*") if path.is_file()]
    assert {"01_install.ipynb", "04_register.ipynb", "kernel.log", "mlflow.db", "walk.log"} <= {
        one.name for one in files
    }
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
