"""Without a cloud: the local backend, whose pages are those of MLflow's own UI."""

import os
import subprocess
import sys

import mlflow
import pytest

from adbazureml import AzureMLWorkspace, DatabricksWorkspace
from adbazureml.errors import WorkspaceError

EMPTY = {"name": "", "subscription_id": "", "resource_group": ""}


def test_links_lead_to_mlflow_s_ui(workspace):
    home = "http://127.0.0.1:5001/#"
    assert workspace.url == home
    assert workspace.experiment_url("1") == f"{home}/experiments/1"
    assert workspace.run_url("1", "2") == f"{home}/experiments/1/runs/2"
    assert workspace.model_url("m", "3") == f"{home}/models/m/versions/3"
    assert workspace.endpoint_url("e") == home
    assert workspace.facts() == {}
    assert not workspace.arm_id


def test_clients_are_of_their_own_stores(workspace):
    databricks = DatabricksWorkspace.current()
    for place, other in ((workspace, databricks), (databricks, workspace)):
        experiment_id = place.client().create_experiment(f"in {place.name}")
        assert place.client().get_experiment(experiment_id).name == f"in {place.name}"
        assert other.client().get_experiment_by_name(f"in {place.name}") is None


def test_on_databricks_a_workspace_must_be_named(monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")
    with pytest.raises(WorkspaceError, match="name, subscription_id and resource_group are empty"):
        AzureMLWorkspace.get(**EMPTY)


def test_a_command_that_dies_while_a_store_is_made_leaves_none(tmp_path, monkeypatch):
    """Killed between two of MLflow's migrations, as by Ctrl-C twice or a full disk."""
    dying = """
import os
from mlflow.store.db import utils
utils._upgrade_db = lambda engine: os._exit(9)
from adbazureml import DatabricksWorkspace
DatabricksWorkspace.current()
"""
    environment = {**os.environ, "ADBAZUREML_HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", dying], env=environment, check=False).returncode == 9
    assert not (tmp_path / "databricks" / "mlflow.db").exists()
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    assert DatabricksWorkspace.current().client().create_experiment("after") == "1"


def test_two_that_make_a_store_at_once_share_it(home, tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
    build = mlflow.store.db.utils._upgrade_db

    def other_comes_first(engine):
        monkeypatch.setattr(mlflow.store.db.utils, "_upgrade_db", build)
        DatabricksWorkspace.current().client().create_experiment("of the first")
        build(engine)

    monkeypatch.setattr(mlflow.store.db.utils, "_upgrade_db", other_comes_first)
    assert DatabricksWorkspace.current().client().get_experiment_by_name("of the first")
    assert {file.name for file in (tmp_path / "databricks").iterdir()} == {"mlflow.db", "artifacts"}
