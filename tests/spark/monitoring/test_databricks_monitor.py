"""Databricks' own monitor of a table of predictions, set up by the real client in an emulated workspace."""

import mlflow
import pytest
from databricks.sdk import WorkspaceClient
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from tests.emulators.databricks import TOKEN, DatabricksEmulator
from tests.emulators.databricks.data_quality import DataQuality

from adbazureml import runtime
from adbazureml.errors import SettingsError, TableError, WorkspaceError
from adbazureml.monitoring import create_databricks_monitor, databricks_monitor, monitor, profile

TABLE, BASELINE = "spark_catalog.default.scored_here", "spark_catalog.default.baseline_here"


class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return model_input["x"] * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory, spark):
    """A registered model whose run holds a baseline."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("watch", (folder / "artifacts").as_uri()))
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            python_model=Doubling(),
            name="model",
            signature=signature,
            registered_model_name="watched_here",
            pip_requirements=["mlflow"],
        )
        profile(spark.range(200).selectExpr("CAST(id AS DOUBLE) AS x", "CAST(id * 2 AS DOUBLE) AS prediction")).log()
    yield "models:/watched_here/1"
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def scored(spark, model):
    """A table as `score` writes it."""
    rows = spark.range(50).selectExpr(
        "id AS patient",
        "CAST(id AS DOUBLE) AS x",
        "CAST(id * 2 AS DOUBLE) AS prediction",
        f"'{model}' AS model_uri",
        "current_timestamp() AS scored_at",
    )
    rows.write.saveAsTable(TABLE, format="delta")
    yield TABLE
    runtime.drop_table(TABLE)


@pytest.fixture
def workspace(scored):
    with DatabricksEmulator() as emulator:
        emulator.catalog.add_table(scored, table_id="table-1")
        emulator.quality = DataQuality(emulator.catalog)
        emulator.add(emulator.quality.routes())
        yield emulator
    runtime.drop_table(BASELINE)


@pytest.fixture
def client(workspace):
    return WorkspaceClient(host=workspace.host, token=TOKEN)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(databricks_monitor, "_FIRST_PAUSE", 0.01)


def test_a_table_is_watched_with_the_models_own_baseline(spark, workspace, client, model):
    watched = create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client)
    assert (watched.status, watched.drift_table) == ("ACTIVE", f"{TABLE}_drift_metrics")
    config = workspace.quality.monitors["table-1"]["data_profiling_config"]
    assert config["baseline_table_name"] == BASELINE
    assert config["inference_log"] == {
        "problem_type": "INFERENCE_PROBLEM_TYPE_REGRESSION",
        "timestamp_column": "scored_at",
        "granularities": ["AGGREGATION_GRANULARITY_1_DAY"],
        "prediction_column": "prediction",
        "model_id_column": "model_uri",
    }
    written = spark.table(BASELINE)
    assert written.schema == spark.table(TABLE).schema
    assert written.select("model_uri").distinct().collect() == [(model,)]
    assert monitor(written, baseline=model).drifted == ()
    assert f'href="{workspace.host}/explore/data/spark_catalog/default/scored_here' in watched._repr_html_()
    # Again: the one that is there.
    assert create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client) == watched
    with pytest.raises(WorkspaceError, match=f"is watched already, with the baseline {BASELINE}"):
        create_databricks_monitor(TABLE, model=model, baseline_table="a.b.c", client=client)


def test_what_the_service_refuses_is_told(workspace, client, model):
    workspace.quality.forbidden = True
    with pytest.raises(WorkspaceError, match=r"does not have MANAGE on Table.*It takes MANAGE and SELECT"):
        create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client)
    workspace.quality.forbidden = False
    # The baseline that was written before is replaced, and a monitor made.
    workspace.quality.failure = "The warehouse is gone."
    with pytest.raises(WorkspaceError, match=r"could not set up the monitor .*: The warehouse is gone\."):
        create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client)


def test_a_monitor_that_is_never_ready_ends_at_the_deadline(workspace, client, model):
    workspace.quality.looks = 10**6
    with pytest.raises(WorkspaceError, match=r"had not set up .* after 0\.1 s"):
        create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, timeout=0.1, client=client)


def test_a_service_that_is_busy_is_asked_again(workspace, client, model):
    workspace.fail_next(1, "data-quality/v1/monitors", status=429, retry_after=0)
    made = create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client)
    assert made.status == "ACTIVE"


def test_names_and_tables_that_do_not_fit(spark, workspace, client, model):
    with pytest.raises(SettingsError, match="baseline_table: 'here' is not in three parts"):
        create_databricks_monitor(TABLE, model=model, baseline_table="here", client=client)
    with pytest.raises(TableError, match=r"table: a\.b\.c can't be watched: .*does not exist"):
        create_databricks_monitor("a.b.c", model=model, baseline_table=BASELINE, client=client)
    with pytest.raises(TableError, match="target_column: 'y' is not in the baseline"):
        create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, target_column="y", client=client)
    spark.range(1).write.saveAsTable(BASELINE, format="delta")
    with pytest.raises(TableError, match=f"baseline_table: {BASELINE} is a table of another kind"):
        create_databricks_monitor(TABLE, model=model, baseline_table=BASELINE, client=client)
    assert spark.table(BASELINE).columns == ["id"]
