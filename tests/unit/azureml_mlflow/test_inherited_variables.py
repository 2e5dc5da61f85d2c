"""What another run leaves in the environment; each case in a process of its own, which inherits it."""

import json
import os
import subprocess
import sys

import pytest

from adbazureml import track

HERE = "azureml://here.api.azureml.ms/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/" + (
    "Microsoft.MachineLearningServices/workspaces/w"
)
SAME = HERE.replace("here.", "w-guid.workspace.here.").replace("resourceGroups/g", "resourcegroups/G")
ELSEWHERE = HERE.replace("workspaces/w", "workspaces/other")
JOB = {
    "MLFLOW_RUN_ID": "run-1",
    "MLFLOW_EXPERIMENT_ID": "experiment-1",
    "MLFLOW_EXPERIMENT_NAME": "job",
    "MLFLOW_TRACKING_TOKEN": "not-to-be-shown",
    "AZUREML_RUN_ID": "run-1",
}
LOOK = """
import json, sys
from adbazureml.azureml_mlflow.inherited_variables import find_inherited_variables
asked, code = json.loads(sys.argv[1]), sys.argv[2]
exec(code)
found = [find_inherited_variables(uri) for uri in asked]
print(json.dumps([[list(one.names), str(one)] if one else None for one in found]))
"""


def leaks(environment, *uris, code=""):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AZUREML_"))}
    command = [sys.executable, "-c", LOOK, json.dumps(uris), code]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_a_clean_environment_has_nothing_inherited():
    assert leaks({}, HERE, "databricks") == [None, None]


def test_a_job_of_the_workspace_is_at_home_in_it_only():
    home, by_other_name, other, databricks = leaks(
        {**JOB, "MLFLOW_TRACKING_URI": HERE}, HERE, SAME, ELSEWHERE, "databricks"
    )
    assert home is None
    assert by_other_name is None
    names, sentence = other
    assert set(names) == set(JOB)
    assert databricks[0] == names
    assert HERE in sentence
    assert "unset them before the process starts" in sentence
    assert "not-to-be-shown" not in sentence


@pytest.mark.parametrize("name", ["MLFLOW_RUN_ID", "AZUREML_RUN_ID"])
def test_a_run_id_without_its_server_is_a_leak(name):
    [(names, sentence)] = leaks({name: "run-1"}, HERE)
    assert names == [name]
    assert "unset it before" in sentence


def test_what_people_set_on_purpose_is_none():
    assert leaks({"MLFLOW_EXPERIMENT_NAME": "mine", "MLFLOW_TRACKING_TOKEN": "t"}, HERE, "databricks") == [None, None]
    assert leaks({"MLFLOW_EXPERIMENT_ID": "7"}, "databricks") == [None]


def test_an_experiment_of_another_server_is_inherited_unless_this_process_chose_it():
    inherited = {"MLFLOW_EXPERIMENT_ID": "7", "MLFLOW_TRACKING_URI": "databricks"}
    [(names, _)] = leaks(inherited, HERE)
    assert names == ["MLFLOW_EXPERIMENT_ID"]
    chosen = "import os; os.environ.update(MLFLOW_EXPERIMENT_ID='8')"
    assert leaks(inherited, HERE, code=chosen) == [None]


def test_what_is_inherited_is_noted_before_anybody_can_set_an_experiment():
    look = "import mlflow, sys; print('adbazureml.azureml_mlflow.inherited_variables' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("mode", ["databricks", "both", "azureml"])
def test_tracking_warns_of_a_leak_in_every_mode(workspace, monkeypatch, caplog, mode):
    monkeypatch.setenv("AZUREML_RUN_ID", "run-1")
    track(workspace, mode=mode)
    assert "The environment holds AZUREML_RUN_ID of another run" in caplog.text
