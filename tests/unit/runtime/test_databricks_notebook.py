"""A notebook as Databricks runs it: an emulated `dbutils` in its namespace, parameters that arrive as text."""

import pytest
from tests.emulators.dbutils import Dbutils

from adbazureml import Settings, hand_on
from adbazureml.errors import SettingsError


@pytest.fixture
def notebook(shell, monkeypatch):
    """Start a notebook on a cluster, with the parameters that a job passes."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")

    def start(**passed):
        shell.user_ns["dbutils"] = Dbutils(passed)
        return shell.user_ns["dbutils"]

    yield start
    shell.user_ns.pop("dbutils", None)


ALONE = {"tracking": "databricks", "registry": "databricks"}


def test_a_job_s_parameters_arrive_as_text_also_those_without_a_widget(notebook):
    notebook(epochs="5", keep_endpoint="false", **ALONE)
    settings = Settings.from_notebook("training")
    assert (settings.epochs, settings.keep_endpoint, settings.tracking) == (5, False, "databricks")


def test_a_person_sees_a_widget_for_each_parameter_of_the_notebook(notebook, monkeypatch):
    for name, value in ALONE.items():
        monkeypatch.setenv(f"ADBAZUREML_{name.upper()}", value)
    dbutils = notebook()
    Settings.from_notebook("training", "scoring")
    assert dbutils.widgets.values == {
        "epochs": "30",
        "learning_rate": "0.002",
        "scoring_mode": "incremental",
        "key_columns": "",
    }
    dbutils.widgets.values["epochs"] = "12"
    assert Settings.from_notebook("training").epochs == 12


def test_a_parameter_that_no_notebook_knows_is_told(notebook):
    notebook(epocs="5", **ALONE)
    with pytest.raises(SettingsError, match="epocs: no such parameter"):
        Settings.from_notebook("training")


def test_on_databricks_both_workspaces_need_the_azure_ml_one_named(notebook):
    notebook()
    with pytest.raises(SettingsError, match="subscription_id and resource_group and workspace_name: empty"):
        Settings.from_notebook()


def test_values_are_handed_on_as_task_values(notebook):
    dbutils = notebook(**ALONE)
    hand_on(run_id="abc")
    assert dbutils.jobs.taskValues.kept == {"run_id": "abc"}
