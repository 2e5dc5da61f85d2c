"""Clean-up between the local backends: what is this project's goes, whatever has such a name and is not stays."""

import re
import signal
import subprocess
import sys
import textwrap
import uuid

import mlflow
import pytest
from mlflow.entities import ViewType

from adbazureml import DatabricksWorkspace, Settings, clean_up, inventory, monitor, register, score, track
from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.errors import CleanUpError
from adbazureml.samples.diabetes import diabetes_tables, is_sample, new_patients
from adbazureml.tracking.run_tags import DATABRICKS_RUN_ID

EXPERIMENT = "/Users/ada@example.com/houses/prices"
SETTINGS = Settings(experiment=EXPERIMENT, model_name="prices")


@pytest.fixture
def train(workspace, log_model):
    """Log and register a model in both workspaces, by default as this project does."""
    track(workspace)

    def run_once(experiment=EXPERIMENT, name="prices"):
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name="trained") as run:
            log_model()
        return run, register(run, name=name, workspace=workspace)

    return run_once


def active_runs(client, experiment):
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_id for run in client.search_runs([found.experiment_id])} if found else set()


def versions(client, name):
    return sorted(version.version for version in client.search_model_versions(f"name = '{name}'"))


def kinds(found):
    return [item.kind for item in found.items]


def test_lists_both_workspaces_in_the_order_of_deletion_with_age_and_link(workspace, train):
    run, _ = train()
    found = inventory(SETTINGS, workspace=workspace)
    assert kinds(found) == ["model version", "model version", "model", "model", "run", "run"]
    assert {item.where for item in found.items} == {DatabricksWorkspace.current().tracking_uri, workspace.tracking_uri}
    assert found.items[4].name == run.info.run_id
    assert found.left == ()
    table = found.to_pandas()
    assert set(table[table.kind == "run"].age) <= {"just now", "1 min", "2 min", "3 min"}
    shown = found._repr_html_()
    assert "There is, and nothing was deleted: 2 model versions, 2 models, 2 runs." in shown
    assert f'<a href="http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"' in shown


def test_a_dry_run_is_the_default_and_a_wrong_name_deletes_nothing(workspace, train, databricks):
    train()
    found = inventory(SETTINGS, workspace=workspace)
    assert clean_up(found) == found
    for wrong in ("", "prices", EXPERIMENT.upper(), f"{EXPERIMENT} "):
        with pytest.raises(CleanUpError, match=re.escape(f"type the experiment's name: {EXPERIMENT!r}")):
            clean_up(found, confirm=wrong)
    assert inventory(SETTINGS, workspace=workspace) == found


def test_neighbours_survive(workspace, train, azureml, databricks):
    """Another experiment, a version of the same model from there, another model, another workspace's counterparts."""
    ours, _ = train()
    theirs, version = train(experiment="/Users/ada@example.com/houses/rents")
    assert version.databricks == "2"
    train(experiment="/Users/ada@example.com/houses/rents", name="rents")
    counterpart = azureml.get_experiment_by_name(azureml_experiment_name(EXPERIMENT))
    stray = azureml.create_run(counterpart.experiment_id, tags={DATABRICKS_RUN_ID: "f" * 32}).info.run_id
    found = inventory(SETTINGS, workspace=workspace)
    assert kinds(found) == ["model version", "model version", "run", "run"]
    assert [sentence.partition(" in ")[0] for sentence in found.left] == [
        "1 runs of that experiment",
        "version 2 of model prices",
        "version 2 of model prices",
    ]
    assert "Left alone" in found._repr_html_()
    deleted = clean_up(found, confirm=EXPERIMENT)
    assert "Deleted: 2 model versions, 2 runs." in deleted._repr_html_()
    for client in (databricks, azureml):
        assert versions(client, "prices") == [2]
        assert versions(client, "rents") == [1]
    rents = "/Users/ada@example.com/houses/rents"
    assert len(active_runs(databricks, rents)) == len(active_runs(azureml, azureml_experiment_name(rents))) == 2
    assert active_runs(databricks, EXPERIMENT) == set()
    assert active_runs(azureml, azureml_experiment_name(EXPERIMENT)) == {stray}
    assert databricks.get_run(ours.info.run_id).info.lifecycle_stage == "deleted"
    assert mlflow.pyfunc.load_model("models:/prices/2").metadata.run_id == theirs.info.run_id
    assert inventory(SETTINGS, workspace=workspace).items == ()


def test_only_what_was_chosen(workspace, train, databricks):
    train()
    found = inventory(SETTINGS, workspace=workspace)
    clean_up(found.only("model version", "model"), confirm=EXPERIMENT)
    assert kinds(inventory(SETTINGS, workspace=workspace)) == ["run", "run"]
    with pytest.raises(CleanUpError, match="kinds 'runs, tables': expected some of endpoint, model version"):
        found.only("runs", "table", "tables")


def test_what_is_gone_or_new_since_it_was_listed(workspace, train, databricks, azureml):
    run, _ = train()
    found = inventory(SETTINGS, workspace=workspace)
    databricks.delete_model_version("prices", "1")
    azureml.delete_model_version("prices", "1")
    azureml.delete_registered_model("prices")
    databricks.create_model_version("prices", source=f"{run.info.artifact_uri}/model")
    clean_up(found, confirm=EXPERIMENT)
    assert versions(databricks, "prices") == [2]
    assert active_runs(databricks, EXPERIMENT) == set()


def test_killed_in_the_middle_it_goes_on_when_called_again(workspace, train, databricks):
    for _ in range(3):
        train()
    code = f"""
        import os, signal
        import mlflow
        from adbazureml import AzureMLWorkspace, Settings, clean_up, inventory
        left, delete_run = [3], mlflow.MlflowClient.delete_run
        def counted(client, run_id):
            delete_run(client, run_id)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        mlflow.MlflowClient.delete_run = counted
        settings = Settings(experiment={EXPERIMENT!r}, model_name="prices")
        clean_up(inventory(settings, workspace=AzureMLWorkspace.of(settings)), confirm={EXPERIMENT!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    rest = inventory(SETTINGS, workspace=workspace)
    assert kinds(rest) == ["run", "run", "run"]
    clean_up(rest, confirm=EXPERIMENT)
    assert inventory(SETTINGS, workspace=workspace).items == ()
    found = databricks.get_experiment_by_name(EXPERIMENT)
    assert len(databricks.search_runs([found.experiment_id], run_view_type=ViewType.DELETED_ONLY)) == 3


class TestTables:
    """In the session's warehouse, which the session's Spark writes to."""

    @pytest.fixture
    def names(self, spark, home):
        suffix = uuid.uuid4().hex[:8]
        yield {
            "experiment": EXPERIMENT,
            "tracking": "databricks",
            "registry": "databricks",
            "model_name": f"prices_{suffix}",
            "predictions_table": f"predictions_{suffix}",
            "drift_table": f"drift_{suffix}",
        }
        for table in (f"predictions_{suffix}", f"drift_{suffix}", "diabetes_training", "diabetes_new"):
            spark.sql(f"DROP TABLE IF EXISTS {table}")

    @pytest.fixture
    def model_uri(self, names, log_model):
        """A version in the local Databricks backend, whose run is not of the experiment."""
        track(mode="databricks")
        mlflow.set_experiment("/Users/ada@example.com/elsewhere")
        with mlflow.start_run():
            log_model(registered_model_name=names["model_name"])
        return f"models:/{names['model_name']}/1"

    def listed(self, names):
        found = inventory(Settings(**names))
        return [item.name for item in found.items if item.kind == "table"], found

    def test_the_samples_are_known_by_what_wrote_them_and_not_by_their_name(self, names, spark):
        diabetes_tables(training_table="diabetes_training", scoring_table="diabetes_new")
        assert is_sample("diabetes_training")
        assert new_patients("diabetes_new") == 89
        tables, found = self.listed(names)
        assert tables == ["diabetes_new", "diabetes_training"]
        assert all(item.made is not None for item in found.items)
        spark.sql("DROP TABLE diabetes_new")
        spark.createDataFrame([(1, 2.0)], "patient_id int, bmi double").write.saveAsTable(
            "diabetes_new", format="delta"
        )
        assert not is_sample("diabetes_new")
        assert not is_sample("there_is_none")
        assert new_patients("diabetes_new") == 0
        tables, found = self.listed(names)
        assert tables == ["diabetes_training"]
        assert found.left == ("table diabetes_new: it is not the sample, so it is your own.",)
        clean_up(found, confirm=EXPERIMENT)
        assert not spark.catalog.tableExists("diabetes_training")
        assert spark.table("diabetes_new").count() == 1

    def test_predictions_go_with_their_checkpoint_unless_another_model_wrote_there_too(
        self, names, spark, home, rows, model_uri
    ):
        source = f"rows_{names['model_name']}"
        spark.createDataFrame(rows).write.saveAsTable(source, format="delta")
        score(table=source, model=model_uri, into=names["predictions_table"])
        frame = spark.table(source)
        monitor(frame, baseline=frame).append_to(names["drift_table"], model_uri=model_uri)
        neighbour = home / "checkpoints" / "neighbour"
        neighbour.mkdir()
        tables, found = self.listed(names)
        assert tables == [names["predictions_table"], names["drift_table"]]
        (checkpoint,) = (item for item in found.items if item.kind == "checkpoint")
        assert (home / "checkpoints" / checkpoint.name).is_dir()

        spark.sql(
            f"INSERT INTO {names['drift_table']} SELECT 'models:/other/3', * EXCEPT (model_uri) FROM"
            f" {names['drift_table']} LIMIT 1"
        )
        tables, found = self.listed(names)
        assert tables == [names["predictions_table"]]
        assert f"table {names['drift_table']}: it holds rows of other models (other)." in found.left

        clean_up(found, confirm=EXPERIMENT)
        assert not spark.catalog.tableExists(names["predictions_table"])
        assert not (home / "checkpoints" / checkpoint.name).exists()
        assert neighbour.is_dir()
        assert spark.table(source).count() == len(rows)
        assert spark.table(names["drift_table"]).count() > 0
        neighbour.rmdir()
        spark.sql(f"DROP TABLE {source}")
