"""The Python of docs/deploying.md as it stands there, with managed online endpoints of the emulated workspace."""

import mlflow
import pytest
from tests.docs import python

from adbazureml import ManagedOnline, Settings, display
from adbazureml.deployment.mlflow_plugin import AzureMLDeploymentClient

from .conftest import LINES, POLL

# A test asks an emulated service more often than a person's code asks Azure.
POLLED = {'target="azureml"': f"target=ManagedOnline(poll={POLL})"}


# Several deployments, a server each.
@pytest.mark.full
def test_deploying(azure, workspace, rows, monkeypatch):
    monkeypatch.setattr(AzureMLDeploymentClient, "poll", POLL)
    mlflow.MlflowClient().set_registered_model_alias(LINES, "champion", "1")
    names = {
        "settings": Settings(model_name=LINES),
        "workspace": workspace,
        "version": f"models:/{LINES}/2",
        "rows": rows,
        "display": display,
        "mlflow": mlflow,
    }
    first, watched, load, _, client, found = python("deploying")
    first.run(names, {'"Standard_F4s_v2"': f'"Standard_F4s_v2", poll={POLL}'})
    watched.run(names, {**POLLED, "seconds=600": "seconds=1", 'name="diabetes"': 'name="diabetes", timeout=120'})
    load.run(names, {"seconds=10": "seconds=0.2"})
    found.run(names, POLLED)
    _, _, by_hand, _ = python("operations")
    by_hand.run({"workspace": workspace, "ManagedOnline": ManagedOnline}, POLLED)
    names["endpoint"].delete(confirm="diabetes")
    client.run(names, {"models:/diabetes/3": f"models:/{LINES}/2"})
    names["client"].delete_endpoint("diabetes")
