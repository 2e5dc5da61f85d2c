"""The notebooks as the bundle's jobs run them: `dbutils` in their namespace, parameters and task values as text."""

import json
import os
import re

import mlflow
import pytest
from mlflow.utils.rest_utils import get_workspace_client
from tests.bundle import ROOT, Target, base_parameters, notebook, parameters
from tests.emulators.databricks import TOKEN, DatabricksEmulator
from tests.emulators.databricks_whole import WholeWorkspace
from tests.emulators.dbutils import Dbutils
from tests.emulators.mlflow_server import MLflowServer

from adbazureml import Settings, runtime, track
from adbazureml.errors import SettingsError

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASK_VALUE = re.compile(r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}")
HANDED = {
    "train_and_log": {"run_id": "a" * 32, "spark_run_id": "b" * 32},
    "register": {"model_version": "7"},
    "batch_score": {"model_version": "7"},
}
TASKS = [(key, task) for key, job in Target("dev").jobs.items() for task in job["tasks"]]


def cells(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def run_cells(shell):
    """Run cells in a namespace that is empty but for what Databricks puts there; return the namespace."""

    def run(sources, **given):
        shell.user_ns.update(given)
        before = set(shell.user_ns)
        try:
            for source in sources:
                shell.run_cell(source).raise_error()
            return dict(shell.user_ns)
        finally:
            for name in set(shell.user_ns) - before | set(given):
                shell.user_ns.pop(name, None)

    return run


@pytest.fixture
def on_cluster(monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "18.0")


def passed(job, task, handed):
    """What reaches the notebook: the task's own parameters, and over them those of the job."""
    own = {
        name: TASK_VALUE.sub(lambda found: handed[found[1]][found[2]], value)
        for name, value in base_parameters(task).items()
    }
    return {**own, **parameters(job)}


class TestParameters:
    """Each notebook's set-up cell, in a job, by hand and on a local machine."""

    @pytest.mark.parametrize(("key", "task"), TASKS, ids=[f"{key}-{task['task_key']}" for key, task in TASKS])
    def test_in_a_job_each_notebook_reads_what_the_bundle_passes(self, run_cells, on_cluster, key, task):
        given = passed(Target("dev").jobs[key], task, HANDED)
        dbutils = Dbutils({**given, "job_id": "1", "bundle_target": "dev"})
        set_up = cells(ROOT / notebook(task))[0]
        if "from_notebook" not in set_up:
            assert task["task_key"] == "install"
            return
        settings = run_cells([set_up], dbutils=dbutils)["settings"]
        for name, text in given.items():
            value = getattr(settings, name)
            assert type(value) is type(Settings.model_fields[name].default), name
            assert str(value).lower() == text.lower()

    @pytest.mark.parametrize("path", PATHS[1:], ids=lambda path: path.stem)
    def test_by_hand_each_parameter_has_a_widget_and_a_changed_one_is_read(self, run_cells, on_cluster, path):
        dbutils = Dbutils(in_job=False)
        names = re.findall(r'"(\w+)"', re.search(r"from_notebook\((.*?)\)", cells(path)[0], flags=re.S)[1])
        with pytest.raises(SettingsError, match="subscription_id and resource_group and workspace_name: empty"):
            run_cells(cells(path)[:1], dbutils=dbutils)
        assert list(dbutils.widgets.values) == names
        changed = {"subscription_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "resource_group": "rg"}
        dbutils.widgets.values |= {**changed, "workspace_name": "aml"}
        settings = run_cells(cells(path)[:1], dbutils=dbutils)["settings"]
        assert settings.workspace_name == "aml"
        defaults = {name: field.default for name, field in Settings.model_fields.items()}
        assert settings.model_dump() == {**defaults, **changed, "workspace_name": "aml"}

    @pytest.mark.parametrize("path", PATHS[1:], ids=lambda path: path.stem)
    def test_on_a_local_machine_the_environment_and_what_was_handed_on(self, run_cells, tmp_path, monkeypatch, path):
        monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))
        monkeypatch.setenv("ADBAZUREML_EPOCHS", "12")
        monkeypatch.setenv("ADBAZUREML_DELETE", "false")
        runtime.hand_on(run_id="c" * 32, registered="nothing that is a parameter")
        settings = run_cells(cells(path)[:1])["settings"]
        assert (settings.epochs, settings.delete, settings.run_id) == (12, False, "c" * 32)

    @pytest.mark.parametrize("text", ["True", "true", "1", "yes"])
    def test_a_switch_arrives_as_text(self, run_cells, on_cluster, text):
        given = parameters(Target("dev").jobs["clean_up"])
        dbutils = Dbutils({**given, "delete": text})
        assert run_cells(cells(PATHS[7])[:1], dbutils=dbutils)["settings"].delete is True


class TestWholeNotebooks:
    """Link, train and catch up as the train job runs them, in an emulated workspace, on this machine's Spark."""

    @pytest.fixture
    def databricks(self, tmp_path, monkeypatch, home):
        with (
            MLflowServer(tmp_path / "mlflow") as server,
            DatabricksEmulator() as rest,
            WholeWorkspace(server.url, tmp_path / "dbfs", rest) as workspace,
        ):
            monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
            monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
            get_workspace_client.cache_clear()
            yield workspace
            while mlflow.active_run():
                mlflow.end_run()
        get_workspace_client.cache_clear()
        monkeypatch.undo()
        track(mode="databricks")

    def test_the_train_job_up_to_its_registered_runs(self, spark, databricks, run_cells, on_cluster, monkeypatch):
        # Local Spark has no catalog main.
        job = Target("dev", catalog="spark_catalog", schema="default").jobs["train"]
        tasks = {task["task_key"]: task for task in job["tasks"]}
        shown, handed = [], {}
        monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
        try:
            for key in ("link", "train_and_log", "catch_up"):
                dbutils = Dbutils({**passed(job, tasks[key], handed), "epochs": "3"})
                run_cells(cells(ROOT / notebook(tasks[key])), dbutils=dbutils, display=shown.append)
                handed[key] = dbutils.jobs.taskValues.kept
        finally:
            for table in ("diabetes_training", "diabetes_new"):
                spark.sql(f"DROP TABLE IF EXISTS spark_catalog.default.{table}")
        assert set(handed["train_and_log"]) == {"run_id", "spark_run_id"}
        client = mlflow.MlflowClient("databricks")
        run = client.get_run(handed["train_and_log"]["run_id"])
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "epoch_loss")) == 3
        assert client.get_experiment(run.info.experiment_id).name.startswith("/Users/someone@example.com/")
        assert any("spark" in type(thing).__module__ for thing in shown), "a table, by Databricks' own display"
        # What the next task gets, by the bundle's own words.
        given = passed(job, tasks["register"], handed)
        assert given["run_id"] == run.info.run_id
        assert (os.environ["DATABRICKS_RUNTIME_VERSION"], "run_id" in parameters(job)) == ("18.0", False)
