"""The notebooks as the bundle's jobs run them: `dbutils` in their namespace, parameters and task values as text."""

import json
import os
import re
from contextlib import closing

import mlflow
import pytest
from mlflow.utils.rest_utils import get_workspace_client
from tests.bundle import ROOT, Target, base_parameters, notebook, parameters
from tests.emulators.databricks import TOKEN, DatabricksEmulator
from tests.emulators.databricks_serving import Serving
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
    """The jobs task by task, in both emulated workspaces, on this machine's Spark.

    The identity may track in Azure ML, which is all that the README asks for: it sees no Databricks workspace in Azure.
    """

    TABLES = ("training", "new", "predictions", "drift")

    @pytest.fixture
    def databricks(self, azure, tmp_path, monkeypatch):
        (tmp_path / "serving").mkdir()
        with (
            closing(Serving(tmp_path / "serving")) as serving,
            MLflowServer(tmp_path / "mlflow") as server,
            DatabricksEmulator() as rest,
            WholeWorkspace(server.url, tmp_path / "dbfs", rest) as workspace,
        ):
            rest.add(serving.routes())
            # Local Spark has no catalog main.
            workspace.schemas = {"spark_catalog.default"}
            monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
            monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
            monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
            get_workspace_client.cache_clear()
            yield workspace
            while mlflow.active_run():
                mlflow.end_run()
            track(mode="databricks")
        get_workspace_client.cache_clear()

    @pytest.fixture
    def secrets(self, azure, monkeypatch):
        """What a secret scope holds; the environment has none of it."""
        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        held = {name.lower().replace("_", "-"): os.environ[name] for name in names}
        for name in names:
            monkeypatch.delenv(name)
        return {"azure": held}

    @pytest.fixture
    def shown(self):
        """What the notebooks gave to Databricks' own display."""
        return []

    @pytest.fixture
    def jobs_of(self, spark, databricks, secrets, shown, run_cells, on_cluster, tmp_path):
        """Of a target, what runs a task of a job, and returns its namespace and what it handed on."""

        def of(target, **given):
            jobs = Target(target, catalog="spark_catalog", schema="default", **given).jobs
            handed = {}

            def run(job, key, **instead):
                task = next(task for task in jobs[job]["tasks"] if task["task_key"] == key)
                given = passed(jobs[job], task, handed)
                if "checkpoints" in given:
                    # Nor has this machine a volume.
                    given["checkpoints"] = str(tmp_path / "checkpoints")
                dbutils = Dbutils({**given, **instead}, secrets=secrets)
                names = run_cells(cells(ROOT / notebook(task)), dbutils=dbutils, display=shown.append)
                handed[key] = dbutils.jobs.taskValues.kept
                return names, handed[key]

            return run

        yield of
        for table in self.TABLES:
            spark.sql(f"DROP TABLE IF EXISTS spark_catalog.default.diabetes_{table}")

    def test_the_train_job_up_to_its_registered_runs(self, jobs_of, shown):
        """The target dev, which begins without Azure ML."""
        run = jobs_of("dev")
        run("train", "link")
        _, trained = run("train", "train_and_log", epochs="3")
        run("train", "catch_up")
        assert set(trained) == {"run_id", "spark_run_id"}
        client = mlflow.MlflowClient("databricks")
        done = client.get_run(trained["run_id"])
        assert done.info.status == "FINISHED"
        assert len(client.get_metric_history(done.info.run_id, "epoch_loss")) == 3
        assert client.get_experiment(done.info.experiment_id).name.startswith("/Users/someone@example.com/")
        assert any("spark" in type(thing).__module__ for thing in shown), "a table, by Databricks' own display"
        # What the next task gets, by the bundle's own words.
        job = Target("dev").jobs["train"]
        register = next(task for task in job["tasks"] if task["task_key"] == "register")
        given = passed(job, register, {"train_and_log": trained})
        assert given["run_id"] == done.info.run_id
        assert (os.environ["DATABRICKS_RUNTIME_VERSION"], "run_id" in parameters(job)) == ("18.0", False)

    def test_train_score_and_clean_up(self, jobs_of, shown, spark, azure, databricks):
        """The target staging, with both."""
        where = {name: getattr(azure, name) for name in ("subscription_id", "resource_group", "workspace_name")}
        run = jobs_of("staging", secret_scope="azure", **where)
        link, _ = run("train", "link")
        assert "'Reader'" in link["link"].notes[0]
        _, trained = run("train", "train_and_log", epochs="3")
        assert set(trained) == {"run_id", "spark_run_id"}
        run("train", "catch_up")
        _, registered = run("train", "register")
        deployed, _ = run("train", "deploy")
        assert deployed["endpoint"].name == "diabetes-staging"

        _, scored = run("score", "batch_score")
        _, watched = run("score", "monitor")
        caught_up, _ = run("score", "catch_up")
        assert (registered["model_version"], scored["model_version"]) == ("1", "1")
        assert watched["drift"]
        assert [(one.settled, one.written) for one in caught_up["made_up"].runs] == [(True, 0)] * 3
        assert any("spark" in type(thing).__module__ for thing in shown), "a table, by Databricks' own display"
        predictions = spark.table("spark_catalog.default.diabetes_predictions")
        assert predictions.count() == predictions.select("patient_id").distinct().count() == 178

        client = mlflow.MlflowClient("databricks")
        done = client.get_run(trained["run_id"])
        assert done.info.status == "FINISHED"
        assert len(client.get_metric_history(done.info.run_id, "epoch_loss")) == 3
        experiment = client.get_experiment(done.info.experiment_id).name
        assert experiment == "/Users/someone@example.com/adbazureml_diabetes_staging"
        assert list(databricks.models) == ["spark_catalog.default.diabetes", "spark_catalog.default.diabetes_spark"]
        (theirs,) = azure.find_model_versions("spark_catalog--default--diabetes")
        mirrored = link["workspace"].client().get_run(theirs["run_id"])
        assert mirrored.data.tags["adbazureml.databricks.run_id"] == done.info.run_id

        listed, _ = run("clean_up", "clean_up")
        assert {item.kind for item in listed["found"].items} >= {"run", "model version", "table", "checkpoint"}
        run("clean_up", "clean_up", delete="true", confirm=experiment)
        assert databricks.models == {}
        assert azure.find_model_versions("spark_catalog--default--diabetes") == []
        assert client.search_runs([done.info.experiment_id]) == []
        assert not any(spark.catalog.tableExists(f"spark_catalog.default.diabetes_{table}") for table in self.TABLES)
