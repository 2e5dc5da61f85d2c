"""Without a cloud: the local stand-in, whose pages are those of MLflow's own UI."""

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
