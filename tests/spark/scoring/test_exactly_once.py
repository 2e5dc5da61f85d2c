"""Processes that are killed while they score, and two that score at once: each row has one prediction in the end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from adbazureml import runtime
from adbazureml.scoring import backfill as backfills
from adbazureml.scoring import score

# A second JVM, killed; test_incremental.py and test_full_rescore.py die at the same steps within a process.
pytestmark = pytest.mark.full
ROWS = 12_000
TABLES = ("killed_before_writing", "killed_in_model", "killed_after_writing", "raced_for", "killed_between_parts")


class Holding(mlflow.pyfunc.PythonModel):
    """Doubles `x`; while the file named by its configuration exists, stops in the middle of a table and says so."""

    def __init__(self, hold):
        self.hold = hold

    def predict(self, context, model_input):
        if model_input["x"].max() >= 10_000 and os.path.exists(self.hold):
            Path(self.hold + ".reached").touch()
            time.sleep(300)
        return model_input["x"] * 2


@pytest.fixture(scope="module")
def killed(spark, store, tmp_path_factory):
    """A job that scores a table in a race with this process, then is killed while it scores into four more targets."""
    folder = tmp_path_factory.mktemp("jobs")
    hold, ready = folder / "hold", folder / "ready"
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    for name, file in (("holding", hold), ("doubling", folder / "never"), ("doubling", folder / "never")):
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                python_model=Holding(str(file)),
                name="model",
                signature=signature,
                registered_model_name=name,
                pip_requirements=["mlflow"],
            )
    grow(spark, 0, ROWS)
    hold.touch()
    command = [sys.executable, str(Path(__file__).parent / "job.py"), store, str(folder)]
    job = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not ready.exists():
            assert time.monotonic() < deadline
            assert job.poll() is None, "ended too early"
            time.sleep(0.05)
        (folder / "go").touch()
        score(table="grown", model="models:/doubling/1", into="raced_for")
        code = job.wait(timeout=500)
    finally:
        # The group holds the job's Java and its workers, which outlive it.
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    hold.unlink()
    yield code, (folder / "raced").exists()
    for table in ("grown", *TABLES):
        runtime.drop_table(table)


def grow(spark, first, last):
    rows = spark.range(first, last, numPartitions=1).selectExpr("id", "CAST(id AS DOUBLE) AS x")
    rows.write.saveAsTable("grown", format="delta", mode="append")


def held(table):
    """Rows, distinct rows and right predictions."""
    found = (
        runtime.spark()
        .table(table)
        .selectExpr("count(*)", "count(DISTINCT id)", "count_if(prediction = 2 * x)")
        .first()
    )
    return tuple(found)


def test_two_processes_at_once(spark, killed):
    _, both_raced = killed
    assert both_raced
    assert held("raced_for") == (ROWS, ROWS, ROWS)


def test_killed_between_the_offsets_and_the_rows(spark, killed):
    assert killed[0] == -signal.SIGKILL
    assert held("killed_before_writing") == (0, 0, 0)
    assert score(table="grown", model="models:/doubling/1", into="killed_before_writing").rows == ROWS
    assert held("killed_before_writing") == (ROWS, ROWS, ROWS)


def test_killed_in_the_middle_of_the_model(spark, killed):
    assert killed[0] == -signal.SIGKILL
    assert held("killed_in_model") == (0, 0, 0)
    assert score(table="grown", model="models:/holding/1", into="killed_in_model").rows == ROWS
    assert held("killed_in_model") == (ROWS, ROWS, ROWS)


def test_killed_between_the_rows_and_the_checkpoint(spark, killed):
    assert killed[0] == -signal.SIGKILL
    assert held("killed_after_writing") == (ROWS, ROWS, ROWS)
    assert score(table="grown", model="models:/doubling/1", into="killed_after_writing").rows == 0
    assert held("killed_after_writing") == (ROWS, ROWS, ROWS)


def test_killed_between_the_parts_of_a_backfill(spark, killed, monkeypatch):
    """Its first part is there, of version 2; the same call scores the rest, beside what version 1 predicted."""
    assert killed[0] == -signal.SIGKILL
    monkeypatch.setattr(backfills, "_ROWS_A_PART", 4_000)
    by_version = "SELECT count(*), count(DISTINCT id) FROM killed_between_parts WHERE model_version = '2'"
    first = spark.sql(by_version).first()[0]
    assert 0 < first < ROWS
    how = {"table": "grown", "model": "models:/doubling/2", "into": "killed_between_parts", "mode": "backfill"}
    assert score(**how).rows == ROWS - first
    assert tuple(spark.sql(by_version).first()) == (ROWS, ROWS)
    assert score(**how).rows == 0
    assert held("killed_between_parts") == (2 * ROWS, ROWS, 2 * ROWS)
    spark.sql("DELETE FROM killed_between_parts WHERE model_version = '2'")


def test_all_of_them_go_on_as_the_table_grows(spark, killed):
    grow(spark, ROWS, ROWS + 10)
    for table, model in zip(TABLES, ("doubling", "holding", "doubling", "doubling", "doubling"), strict=True):
        assert score(table="grown", model=f"models:/{model}/1", into=table).rows == 10
        assert held(table) == (ROWS + 10,) * 3
