"""The notebooks as the bundle's jobs run them: `dbutils` in their namespace, parameters and task values as text."""

import os
from contextlib import closing

import mlflow
import pytest
from mlflow.utils.rest_utils import get_workspace_client
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from tests.bundle import GIVEN, ROOT, Target, cells, notebook, parameters, passed
from tests.emulators.databricks import TOKEN, DatabricksEmulator
from tests.emulators.databricks_serving import Serving
from tests.emulators.databricks_whole import WholeWorkspace
from tests.emulators.dbutils import Dbutils
from tests.emulators.mlflow_server import MLflowServer

from adbazureml import track


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
            deployed = Target(target, catalog="spark_catalog", schema="default", **given)
            # The deployment makes the experiment, in the folder of the identity that deploys.
            experiment = deployed.resources["experiments"]["runs"]["name"]
            databricks.folders.add(experiment.rpartition("/")[0])
            mlflow.MlflowClient("databricks").create_experiment(experiment)
            jobs, handed = deployed.jobs, {}

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

    @pytest.mark.full
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
        assert (
            client.get_experiment(done.info.experiment_id).name == "/Users/someone@example.com/[dev someone] adbazureml"
        )
        assert any("spark" in type(thing).__module__ for thing in shown), "a table, by Databricks' own display"
        # What the next task gets, by the bundle's own words.
        job = Target("dev").jobs["train"]
        register = next(task for task in job["tasks"] if task["task_key"] == "register")
        given = passed(job, register, {"train_and_log": trained})
        assert given["run_id"] == done.info.run_id
        assert (os.environ["DATABRICKS_RUNTIME_VERSION"], "run_id" in parameters(job)) == ("18.0", False)

    def test_train_score_and_clean_up(self, jobs_of, shown, spark, azure, databricks):
        """The target staging, with both; then two models of another training, a better one and a worse one."""
        where = {name: getattr(azure, name) for name in ("subscription_id", "resource_group", "workspace_name")}
        run = jobs_of("staging", secret_scope="azure", **where)
        link, _ = run("train", "link")
        assert "'Reader'" in link["link"].notes[0]
        # So small steps lead nowhere: a champion that is easily beaten.
        training, trained = run("train", "train_and_log", epochs="3", learning_rate="0.0001")
        assert set(trained) == {"run_id", "spark_run_id"}
        run("train", "catch_up")
        _, registered = run("train", "register")
        _, judged = run("train", "validate")
        deployed, _ = run("train", "deploy")
        assert deployed["endpoint"].name == "diabetes-staging"

        _, scored = run("score", "batch_score")
        _, watched = run("score", "monitor")
        caught_up, _ = run("score", "catch_up")
        assert (registered["model_version"], judged["model_version"], scored["model_version"]) == ("1", "1", "1")
        assert databricks.models["spark_catalog.default.diabetes"].aliases == {"champion": "1"}
        assert watched["drift"]
        assert [(one.in_sync, one.written) for one in caught_up["made_up"].runs] == [(True, 0)] * 6
        assert any("spark" in type(thing).__module__ for thing in shown), "a table, by Databricks' own display"
        predictions = spark.table("spark_catalog.default.diabetes_predictions")
        assert predictions.count() == predictions.select("patient_id").distinct().count() == 178

        client = mlflow.MlflowClient("databricks")
        done = client.get_run(trained["run_id"])
        assert done.info.status == "FINISHED"
        assert len(client.get_metric_history(done.info.run_id, "epoch_loss")) == 3
        experiment = client.get_experiment(done.info.experiment_id).name
        assert experiment == f"/Users/{GIVEN['service_principal_name']}/[staging] adbazureml"
        assert list(databricks.models) == ["spark_catalog.default.diabetes", "spark_catalog.default.diabetes_spark"]
        (theirs,) = azure.find_model_versions("spark_catalog--default--diabetes")
        counterpart = link["workspace"].client().get_run(theirs["run_id"])
        assert counterpart.data.tags["adbazureml.databricks.run_id"] == done.info.run_id

        for model, said in (
            (LinearRegression(), "/2 may take the place of version 1: mean absolute error 4"),
            (DummyRegressor(), "/3 fails, version 2 stays: mean absolute error 6"),
        ):
            with mlflow.start_run() as retrained:
                mlflow.sklearn.log_model(
                    model.fit(training["X_train"], training["y_train"]),
                    name="model",
                    signature=training["table"].signature(),
                    pip_requirements=["scikit-learn"],
                )
            run("train", "register", run_id=retrained.info.run_id, spark_run_id="")
            _, judged = run("train", "validate")
            assert judged["model_version"] == "2"
            assert said in judged["verdict"]
        assert databricks.models["spark_catalog.default.diabetes"].aliases == {"champion": "2"}
        alias = link["workspace"].client().get_model_version_by_alias("spark_catalog--default--diabetes", "champion")
        assert (alias.version, "/2 may take the place of version 1: " in alias.description) == ("2", True)

        listed, _ = run("clean_up", "clean_up")
        assert {item.kind for item in listed["found"].items} >= {"run", "model version", "table", "checkpoint"}
        run("clean_up", "clean_up", delete="true", confirm=experiment)
        assert databricks.models == {}
        assert azure.find_model_versions("spark_catalog--default--diabetes") == []
        assert client.search_runs([done.info.experiment_id]) == []
        assert not any(spark.catalog.tableExists(f"spark_catalog.default.diabetes_{table}") for table in self.TABLES)
