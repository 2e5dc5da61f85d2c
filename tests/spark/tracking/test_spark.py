"""What Spark's workers and Spark ML's autologging write, which are other processes and other threads."""

import os

import mlflow
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression

from adbazureml.tracking import status


def log_part(uri, run_id, variables):
    """A function that logs in Spark's workers; they have the driver's variables only where the cluster sets them."""

    def log(batches):
        os.environ.update(variables)
        client = mlflow.MlflowClient(tracking_uri=uri)
        for batch in batches:
            for number in batch["id"]:
                client.log_metric(run_id, "part", float(number), step=int(number))
                client.set_tag(run_id, f"part{number}", os.getpid())
            yield batch

    return log


@pytest.mark.parametrize("has_variables", [False, True])
def test_spark_workers_log_into_the_run(both, spark, tmp_path, monkeypatch, has_variables):
    names = ("_ADBAZUREML_BOTH", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    variables = {name: os.environ[name] for name in names} if has_variables else {}
    with mlflow.start_run() as run:
        mlflow.log_metric("part", -1.0, step=-1)
        log = log_part(mlflow.get_tracking_uri(), run.info.run_id, variables)
        assert spark.range(6, numPartitions=2).mapInPandas(log, "id long").count() == 6
    both.assert_equal(tmp_path)
    assert len(both.replica.get_metric_history(both.counterpart_of(run.info.run_id).info.run_id, "part")) == 7
    assert status(both.experiment).out_of_sync == ()


def test_spark_ml_autologging_reaches_both(both, spark, rows, tmp_path):
    frame = spark.createDataFrame(rows.assign(label=rows["a"] * 2 + rows["b"]))
    mlflow.pyspark.ml.autolog(log_models=False, log_datasets=False)
    try:
        with mlflow.start_run() as run:
            Pipeline(
                stages=[
                    VectorAssembler(inputCols=["a", "b", "c"], outputCol="features"),
                    LinearRegression(labelCol="label", maxIter=3),
                ]
            ).fit(frame)
    finally:
        mlflow.pyspark.ml.autolog(disable=True)
    both.assert_equal(tmp_path)
    counterpart = both.counterpart_of(run.info.run_id)
    assert counterpart.data.params["LinearRegression.maxIter"] == "3"
    assert [entry.path for entry in both.replica.list_artifacts(counterpart.info.run_id)] == ["estimator_info.json"]
