"""The notebook of the deployment job that waits for a person."""

import mlflow
import pytest
from tests.bundle import ROOT, cells

from adbazureml import register, track
from adbazureml.errors import RegistryError

NAME = "approved"


def test_a_version_goes_on_once_a_person_has_approved_it(workspace, log_model, databricks, run_cells, monkeypatch):
    track(workspace)
    mlflow.set_experiment("/Users/ada@example.com/approved")
    with mlflow.start_run() as run:
        log_model()
    register(run, name=NAME, workspace=workspace)
    monkeypatch.setenv("ADBAZUREML_MODEL_NAME", NAME)
    monkeypatch.setenv("ADBAZUREML_MODEL_VERSION", "1")
    notebook = cells(ROOT / "notebooks" / "approval.ipynb")
    with pytest.raises(RegistryError, match=r"waits for approval: .* sets the tag 'approval', .* at http"):
        run_cells(notebook)
    assert databricks.get_model_version(NAME, "1").aliases == []
    databricks.set_model_version_tag(NAME, "1", "approval", "Approved")
    run_cells(notebook)
    assert databricks.get_model_version(NAME, "1").aliases == ["champion"]
